//! `docs/configuration.md`, generated from the table of settings.

use super::settings::{SETTINGS, env_name};
use std::fmt::Write;

const HEAD: &str = "# Configuration

<!-- Generated from the table in src/config/settings.rs by `fanfare config docs`; a test compares
them. -->

Every setting is a flag of `fanfare serve`, an environment variable, and a member of an optional
file. The file is the one that `--config FILE` or `FANFARE_CONFIG` names, otherwise `fanfare.toml`
in the working directory. A flag takes precedence over the variable, and the variable over the file.
If a setting is invalid, the hub does not start; it reports all errors at once, each with its place.
`fanfare config check` does the same without starting the hub. On SIGHUP the hub reads the
configuration again. It applies the settings that are marked so, and the tables `[[key]]` and
`[[limit]]`; of the others it logs the names of those that have changed and require a restart.

Durations are written as `500ms`, `3s`, `10m`, `1h30m` or `7d`; sizes as `1048576`, `256KiB`, `8MiB`
or `10GB`. The values of a repeatable setting are a list in the file, and can be separated by commas
in a flag or the environment.

| flag | variable | default | meaning |
|---|---|---|---|
";

const TAIL: &str = "
## Retention per stream

To keep the events of some streams longer or shorter than those of others, add `[[retention]]` rules
to the file:

```toml
max-events = 100000

[[retention]]
streams = [\"builds.**\", \"deploys\"]
max-age = \"7d\"
max-bytes = \"64MiB\"
```

The first rule with a selector that matches a stream applies to it; the flags apply to all other
streams. A limit that the rule does not set is none, even if a flag sets it.

## Limits per stream

To set other limits for some streams, add `[[limit]]` rules to the file:

```toml
[[limit]]
streams = [\"chat.**\"]
max-connections-per-subject = 20
publish-events-per-client = 50
```

- A rule may set `max-connections`, `max-connections-per-client`, `max-connections-per-subject`,
  `max-connections-per-stream`, `max-streams`, and the four rates `publish-…-per-…`. What it sets
  applies to clients on the hub's own machine, too.
- The first rule that matches a stream applies to it. To a subscription to a pattern, the first rule
  that covers the whole pattern applies.
- For a limit that the rule does not set, the limit of the hub applies.
- What is counted under a rule is not counted under the limit of the hub with the same name. Two
  limits are exceptions: `max-connections` and `max-streams` of a rule apply in addition to those of
  the hub.

`GET /stats` (for admins) shows each limit with its use, its peak and its number of refusals.

## API keys

To create an API key, run `fanfare token key NAME`. It prints the secret and the lines for the file.
A publisher or subscriber sends the secret as `Authorization: Bearer SECRET`; the file contains only
its SHA-256.

```toml
[[key]]
name = \"ci\"
sha256 = \"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\"
publish = [\"builds.**\"]
end = [\"builds.**\"]
subscribe = [\"builds.**\", \"deploys\"]
admin = false
```

- `publish` and `subscribe` grant publishing to streams and reading them. They are lists of
  selectors.
- `end` and `delete` grant ending and deleting streams. They are lists of selectors.
- `run`, `files` and `chat` grant running jobs, downloading from folders and chatting with models.
  They are lists of names; `*` is all of them.
- `admin = true` grants what is for operators: deleting any stream, metrics, `hub.**`. It grants no
  stream other than those that are named.

What is not granted is refused. A subscription to more than is granted is narrowed to what is
granted.

## Jobs

To let clients run a command by name, define a job:

```toml
[job.backup]
command = [\"/usr/local/bin/backup\", \"--all\"]     # program and arguments; not read by a shell
directory = \"/srv\"                               # default: the working directory of the hub
environment = { LEVEL = \"9\" }                    # in addition to PATH, HOME, LANG and the like
pass-env = [\"BACKUP_KEY\"]                        # further variables to inherit from the hub
timeout = \"2h\"                                   # default: none
user = \"backup\"                                  # requires a hub that runs as root
at-most = 1                                      # maximum concurrent runs; further ones get a 429
stop-after = \"10s\"                               # time from TERM to KILL
```

A client with the grant `run = [\"backup\"]` starts a run with `POST /jobs/backup/runs`. Clients
cannot change the command; only the file defines it.

The output is published to the stream `jobs.backup.RUN` while the command runs: a `start` event, a
`log` event for each line, and an `exit` event. The stream is kept for a week unless a
`[[retention]]` rule says otherwise. The command finds the name of its run in `FANFARE_RUN` and that
of its stream in `FANFARE_STREAM`.

Processes that the command starts and leaves behind end with it. When the hub stops, it stops its
jobs within `--drain`. If the hub is killed, the commands continue to run; when it starts again, it
ends their streams with the reason `hub_restarted`.

## Chats

To make models available, define their upstreams: OpenAI, Azure OpenAI, vLLM, Ollama, llama.cpp,
LiteLLM, or any other server with OpenAI's Chat Completions API. The model `echo`, which repeats
what it is sent, is always available.

```toml
[chat.upstream.openai]
url = \"https://api.openai.com/v1\"
api-key-env = \"OPENAI_API_KEY\"     # variable with the API key; the key must not be in the file
models = [\"gpt-5\", \"gpt-5-mini\"]   # the first model of the first upstream is the default

[chat.upstream.local]
url = \"http://127.0.0.1:11434/v1\"
models = [\"llama3.3\"]
max-running = 4                    # maximum concurrent chats; further ones wait in a queue
first-token-timeout = \"5m\"         # also connect-timeout, idle-timeout; default: --chat-…-timeout
headers = { X-Title = \"status\" }   # additional headers of each request
stream-usage = \"auto\"              # request usage in the stream: auto, always or never

[chat.upstream.azure]
kind = \"azure\"                     # deployments; azure-v1 is /openai/v1/, without api-version
url = \"https://example.openai.azure.com\"
api-version = \"2024-10-21\"
api-key-env = \"AZURE_OPENAI_KEY\"
models = [\"my-deployment\"]
```

With `stream-usage = \"auto\"` the hub requests the number of tokens of an answer
(`stream_options.include_usage`) unless the client decides that itself. If the upstream refuses the
option, the hub no longer sends it to that upstream. Then, and with `never`, it estimates the usage.

A key or a token can use the models that it is granted: `chat = [\"gpt-5\"]`, or `[\"*\"]` for all.
The owner of a chat and admins can read it. `/chat` is a page for chats (log in on the dashboard,
under Access). [chats.md](chats.md) describes how to use chats.

## File downloads

To serve the files of a folder, give it a name:

```toml
[files.releases]
path = \"/srv/releases\"
```

A client with the grant `files = [\"releases\"]` downloads a file with
`GET /files/releases/v42/app.tar.gz`, as a whole or in ranges, with an `ETag`. The hub needs
constant memory for it. It sends nothing outside the folder, whatever the path or a link says, and
no file or folder whose name starts with a dot.

To follow the progress of a download, add `?progress=STREAM`; the client must be granted to publish
to that stream. The hub publishes `progress` events to it (`file`, `state`, `bytes_sent`,
`total_size`, `percentage`), at most ten per second; the `state` of the last one is `done` or
`aborted`.

At most 128 downloads run at once, and at most 16 of one client (clients on the hub's own machine
have no such limit). Further ones are refused.

## Followed files

To publish each new line of log files as an event, follow the files:

```toml
[[source.tail]]
paths = [\"/var/log/app/*.log\"]
stream = \"logs.{name}\"     # default; also {file} and {dir}
type = \"log\"               # a line that already is such an object is published unchanged
multiline = \"indented\"     # or a pattern of first lines, such as '^\\d{4}-'; default: off
from = \"end\"               # default; \"start\" also publishes the content at first sight
follow-symlinks = false    # true if the paths are symbolic links, as for logs of containers
```

- In `stream`, `{name}` is the name of the file without its extension, `{file}` the name with it,
  and `{dir}` the name of its folder.
- With `multiline`, lines that belong together are one event; otherwise each line is an event.
- With `from = \"start\"`, what a file contains when the hub first finds it is published, too.
- Each line is published once and in order, even if the hub is killed: the read position is
  committed together with the lines, on the stream `hub.tail`.
- A file that is renamed is read to its end first. A file that was renamed while the hub was not
  running is found beside it, as `app.log.1` or `app.log-20261125`, also if it was copied and then
  emptied, but not if it was compressed.
- A file that is emptied, or gets new content, is read from its start.
- If `max-streams` is reached, only files whose streams do not exist yet wait.
- The hub looks for a level in each line.
- Bytes that are not valid UTF-8 are replaced and counted (`fanfare_tail_lines_replaced_total`).
- A line of more than 64 KiB is split into several events.
- At most 256 files are followed. New files are found within a second.
";

/// Returns the page.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for setting in SETTINGS {
        let repeat = if setting.repeatable { " (repeatable)" } else { "" };
        let default = match setting.default {
            "" => "none".to_owned(),
            default => format!("`{default}`"),
        };
        let reload = if setting.is_reloaded { " Reloaded on SIGHUP." } else { "" };
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            page,
            "| `--{} {}`{repeat} | `{}` | {default} | {}{reload} |",
            setting.name,
            setting.value.replace('|', "\\|"),
            env_name(setting.name),
            setting.help
        );
    }
    page.push_str(TAIL);
    page
}

#[cfg(test)]
mod tests {
    #[test]
    fn page_matches_the_settings_table() {
        let page = include_str!("../../docs/configuration.md");
        assert_eq!(page, super::markdown(), "run `fanfare config docs > docs/configuration.md`");
    }
}
