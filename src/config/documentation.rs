//! `docs/configuration.md`, generated from the table of settings.

use super::settings::{SETTINGS, env_name};
use std::fmt::Write;

const HEAD: &str = "# Configuration

<!-- Made from the table in src/config/settings.rs by `fanfare config docs`; a test fails when they
drift. -->

Every setting is a flag of `fanfare serve`, an environment variable, and a member of an optional
file (`--config FILE`, `FANFARE_CONFIG`, or `fanfare.toml` in the working directory). A flag comes
before the variable, and that before the file. Everything that is wrong is reported at once, with
its place, and the hub does not start.

Durations are written `500ms`, `3s`, `10m`, `1h30m`, `7d`; sizes `1048576`, `256KiB`, `8MiB`,
`10GB`. A setting that may be repeated is a list in the file, and may be separated by commas in
a flag or the environment.

| flag | variable | default | meaning |
|---|---|---|---|
";

const TAIL: &str = "
## Retention for some streams

In the file, the first rule whose selector matches a stream decides for it, and the flags for every
other stream. A limit that a rule does not name is none.

```toml
max-events = 100000

[[retention]]
streams = [\"builds.**\", \"deploys\"]
max-age = \"7d\"
max-bytes = \"64MiB\"
```

## Limits for some streams

In the file, the first rule that a stream falls under (or all of a pattern, for those who subscribe
to one) decides for it; what the rule does not set is as everywhere else, and what is counted under
a rule is not counted under the hub's limit of that name. `max-connections` and `max-streams` of a
rule are within the hub's own and not in their place. A rule may set `max-connections`,
`max-connections-per-client`, `max-connections-per-subject`, `max-connections-per-stream`,
`max-streams`, and the four rates `publish-…-per-…`; what it sets binds clients on the hub's own
machine, too.

```toml
[[limit]]
streams = [\"chat.**\"]
max-connections-per-subject = 20
publish-events-per-client = 50
```

`GET /stats` (for admins) shows each limit with its use, its peak and how often it refused somebody.

## Keys

A key is a secret of whoever publishes or reads, shown as `Authorization: Bearer SECRET`. The file
knows it by its SHA-256 alone. `fanfare token key NAME` makes both. Grants are lists of selectors;
what is not granted is refused, and a subscription to more than is granted is narrowed to what is.

```toml
[[key]]
name = \"ci\"
sha256 = \"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\"
publish = [\"builds.**\"]
end = [\"builds.**\"]
subscribe = [\"builds.**\", \"deploys\"]
admin = false
```

`admin = true` grants what is for operators (deleting streams, metrics, `hub.**`), and no stream
beyond those that are named. `end` lists streams that may be ended; `run` lists jobs, `files` folders and `chat` models, by name; `*` is all of
them.

## Jobs

A command that may be run by name (`POST /jobs/backup/runs`, by whoever is granted `run = [\"backup\"]`);
nobody says anything of the command but this file. Its output is the stream `jobs.backup.RUN`, line by line
as `log` events while it runs, between a `start` and an `exit` event, and kept for a week unless a
`[[retention]]` says otherwise.

```toml
[job.backup]
command = [\"/usr/local/bin/backup\", \"--all\"]   # a program and its arguments; no shell reads them
directory = \"/srv\"                               # otherwise where the hub was started
environment = { LEVEL = \"9\" }                    # beside PATH, HOME, LANG and the like
pass-env = [\"BACKUP_KEY\"]                        # further variables of the hub's own environment
timeout = \"2h\"                                   # otherwise none
user = \"backup\"                                  # for a hub that is root
at-most = 1                                        # runs at once; further ones are a 429
stop-after = \"10s\"                               # from TERM to KILL
```

The command finds its run and its stream in `FANFARE_RUN` and `FANFARE_STREAM`. What it has started and
left behind ends with it. A hub that stops stops its jobs, within `--drain`; of a hub that is killed the
commands go on by themselves, and their streams end with the reason `hub_restarted` when it is back.

## Chats

Whoever has models is an upstream: OpenAI, Azure OpenAI, vLLM, Ollama, llama.cpp, LiteLLM, and whatever else
speaks OpenAI's Chat Completions. Beside them there is always the model `echo`, which says what it was told.

```toml
[chat.upstream.openai]
url = \"https://api.openai.com/v1\"
api-key-env = \"OPENAI_API_KEY\"     # the variable that has the key; a file never has it
models = [\"gpt-5\", \"gpt-5-mini\"]   # the first of the first upstream is the usual one

[chat.upstream.local]
url = \"http://127.0.0.1:11434/v1\"
models = [\"llama3.3\"]
max-running = 4                      # chats that it is asked at once; further ones wait in turn
first-token-timeout = \"5m\"         # also `connect-timeout`, `idle-timeout`; otherwise --chat-…-timeout
headers = { X-Title = \"status\" }   # what it is sent beside the key
stream-usage = \"auto\"              # whether it is asked for usage in the stream: auto, always, never

[chat.upstream.azure]
kind = \"azure\"                     # deployments; `azure-v1` is /openai/v1/, without api-version
url = \"https://example.openai.azure.com\"
api-version = \"2024-10-21\"
api-key-env = \"AZURE_OPENAI_KEY\"
models = [\"my-deployment\"]
```

With `stream-usage = \"auto\"` an upstream is asked for the tokens of an answer (`stream_options.include_usage`) unless
the client says otherwise, and no more once it has refused that; then, and with `never`, the hub estimates them.

A key or a token asks the models that it is granted: `chat = [\"gpt-5\"]`, or `[\"*\"]`. Whoever began a chat
reads it, and admins; `/chat` is a page for it (log in on the dashboard, under Access), and [chats.md](chats.md) says how to use them.

## Folders to download from

```toml
[files.releases]
path = \"/srv/releases\"
```

`GET /files/releases/v42/app.tar.gz` sends the file to whoever is granted `files = [\"releases\"]`: by whole or
in ranges, with an `ETag`, in constant memory. Nothing outside of the folder is sent, whatever a path or a link
says, nor what begins with a dot. With `?progress=STREAM`, which the caller must be granted to publish to,
that stream has `progress` events (`file`, `state`, `bytes_sent`, `total_size`, `percentage`), ten a second at
most, the last of them `done` or `aborted`. At most 128 downloads at once, and 16 of one client (not on
the hub's own machine); further ones are refused.

## Files that are followed

```toml
[[source.tail]]
paths = [\"/var/log/app/*.log\"]
stream = \"logs.{name}\"      # {name} without, {file} with its ending, {dir} the folder; this is the default
type = \"log\"               # a line that is such an object already stays as it is
multiline = \"indented\"     # or what a first line looks like, as '^\\d{4}-'; otherwise each line by itself
from = \"end\"               # or \"start\": of what is there when the hub first looks
follow-symlinks = false    # true where the paths are symbolic links, as for logs of containers
```

Each line comes once and in order, also when the hub was killed meanwhile: how far a file was read is committed
with its lines (on the stream `hub.tail`). A file that is renamed is read to its end first; what was renamed
while the hub was away is found beside it, as `app.log.1` or `app.log-20261125`, also where it was copied and
emptied, unless it was compressed; one that is emptied, or gets new content, is read from its start. A stream
that finds no room (`max-streams`) holds up its file alone. A level is looked for in each line. What is no
UTF-8 is replaced, and counted (`fanfare_tail_lines_replaced_total`). Lines of more than 64 KiB become
several. At most 256 files; new ones are found within a second.
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
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            page,
            "| `--{} {}`{repeat} | `{}` | {default} | {} |",
            setting.name,
            setting.value,
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
