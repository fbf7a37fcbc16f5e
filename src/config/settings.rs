//! Table that defines every setting.

use super::features::missing_for_setting;
use clap::{Arg, ArgAction, Command};

/// A setting: `--name VALUE`, `FANFARE_NAME`, or `name = …` in the file.
pub struct Setting {
    /// Name, in kebab case.
    pub name: &'static str,
    /// Name of the value, in capitals.
    pub value: &'static str,
    /// Default value in its written form; empty if there is none.
    pub default: &'static str,
    /// True if it may be given several times (a list in the file, commas in the environment).
    pub repeatable: bool,
    /// Help text, one or two sentences.
    pub help: &'static str,
}

/// Value of a switch: `--name` alone means `on`.
const SWITCH: &str = "on|off";

macro_rules! settings {
    ($($name:literal $value:literal = $default:literal $($list:ident)? : $help:literal;)*) => {
        /// Every setting, in the order of `--help`.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            name: $name,
            value: $value,
            default: $default,
            repeatable: settings!(@list $($list)?),
            help: $help,
        },)*];
    };
    (@list list) => { true };
    (@list) => { false };
}

settings! {
    "listen" "ADDR" = "127.0.0.1:8080" list:
        "Address and port to serve on; port 0 takes a free one.";
    "tls-cert" "FILE" = "":
        "Serves by TLS with this certificate (PEM, with those between it and the root), and HTTP/2 to those who ask for it. Read again on SIGHUP, and when it has changed.";
    "tls-key" "FILE" = "":
        "Its private key (PEM).";
    "h2c" "on|off" = "off":
        "Speaks HTTP/2 without TLS to those who begin so, as a proxy does that was told to.";
    "metrics-listen" "ADDR" = "" list:
        "Address and port for `/metrics`, `/healthz` and `/readyz` alone, without credential and without TLS: for Prometheus, on an address that the public does not reach.";
    "metrics-streams" "SELECTOR" = "" list:
        "A stream, or a pattern of their names, whose events and deliveries are counted apart in the metrics, with the selector as their label.";
    "data-dir" "DIR" = "./data":
        "Where the journal lives. Created where needed; one hub at a time.";
    "durability" "MODE" = "sync":
        "When a publish is answered: `sync` once it is on the medium, `os` once the operating system has it (survives a killed hub, not power loss), `memory` at once (no data directory; a restart is a new epoch).";
    "retry" "DURATION" = "3s":
        "How long clients wait before they reconnect; each is told a time spread by 20 % around it.";
    "heartbeat" "DURATION" = "15s":
        "A quiet connection gets a sign of life this often (1s to 1h).";
    "max-age" "DURATION" = "":
        "Events of a stream older than this go.";
    "max-events" "N" = "":
        "Events of a stream beyond this many go, oldest first.";
    "max-bytes" "BYTES" = "":
        "Events of a stream beyond this many stored bytes go, oldest first.";
    "journal-max-bytes" "BYTES" = "10GiB":
        "Stored bytes of all streams; the oldest of the whole hub go first. With durability `memory` the default is 256MiB.";
    "min-free-bytes" "BYTES" = "256MiB":
        "Publishes are refused while the disk has less than this left, so that compaction always has room, and streams can be ended and deleted: until a quarter of it is left.";
    "recent-bytes" "BYTES" = "64MiB":
        "Memory for the newest events, from which reconnecting clients are served without a disk.";
    "max-event-bytes" "BYTES" = "256KiB":
        "The data of one event at most.";
    "max-body-bytes" "BYTES" = "8MiB":
        "The body of one request at most.";
    "system" "TIME|off" = "2s":
        "How often the system monitor publishes how this machine is, to the stream `system`, which is kept for an hour unless a `[[retention]]` says otherwise; or `off`.";
    "publish-log" "on|off" = "on":
        "Publishes the hub's own log to the stream `hub.logs`, which admins read; it is kept for an hour unless a `[[retention]]` says otherwise.";
    "heartbeat-late" "DURATION" = "30s":
        "A service that sends `heartbeat` events is told of as late after so long without one, on the stream `heartbeats`.";
    "heartbeat-down" "DURATION" = "90s":
        "And as down after so long.";
    "max-connections" "N" = "":
        "Subscriber sessions at most; without it what the open file limit allows, less a reserve.";
    "max-connections-per-client" "N" = "1000":
        "Sessions of one client, by its address (IPv6: by /64), at most. By itself it does not bind clients on the hub's own machine; set, it does.";
    "max-connections-per-subject" "N" = "10000":
        "Sessions of one key, or of one `sub` of tokens, at most; those by a ticket are its maker's.";
    "max-connections-per-stream" "N" = "":
        "Sessions that name one stream, or one pattern, at most; without it as many as the hub takes.";
    "max-selectors" "N" = "100":
        "Selectors of one subscription at most (1 to 100).";
    "max-streams" "N" = "200000":
        "Streams with history at most; each takes about 1 KB of memory. Events for further ones are refused.";
    "publish-events-per-client" "N" = "10000":
        "Events that one client, by its address, may publish in a second. Like all four, it lets one whole request through at once, and by itself it does not bind clients on the hub's own machine.";
    "publish-bytes-per-client" "BYTES" = "64MiB":
        "Bytes of data that one client may publish in a second.";
    "publish-events-per-subject" "N" = "20000":
        "Events that one key, or one `sub` of tokens, may publish in a second.";
    "publish-bytes-per-subject" "BYTES" = "128MiB":
        "Bytes of data that one key, or one `sub` of tokens, may publish in a second.";
    "max-chats" "N" = "200":
        "Chats that run at most.";
    "max-chats-per-subject" "N" = "20":
        "Chats of one key, of one `sub` of tokens, or of one address of those who show neither, that run at most. By itself it does not bind clients on the hub's own machine; set, it does.";
    "chat-connect-timeout" "DURATION" = "10s":
        "How long connecting to an upstream of chats may take.";
    "chat-first-token-timeout" "DURATION" = "2m":
        "How long the first token of an answer may take.";
    "chat-idle-timeout" "DURATION" = "1m":
        "How long an upstream may say nothing in the middle of an answer; comments are signs of life.";
    "chat-total-timeout" "DURATION" = "15m":
        "How long an answer may take.";
    "chat-max-tokens" "N" = "":
        "Tokens of an answer at most, whatever is asked for.";
    "chat-max-output-bytes" "BYTES" = "1MiB":
        "Bytes of an answer at most.";
    "chat-max-request-bytes" "BYTES" = "4MiB":
        "Bytes of what is asked at most; `--max-body-bytes` holds, too.";
    "chat-kept" "DURATION" = "1h":
        "How long a chat is kept after its end.";
    "chat-keep-prompts" "on|off" = "off":
        "Journals what is asked, too, in the first event of each chat.";
    "memory-budget" "BYTES" = "":
        "Memory that the process may have. From 90 % of it on nobody new is let in, from 95 % on no connection is accepted; without it 80 % of what the machine or its control group has.";
    "refusal-return-rate" "N" = "500":
        "Subscribers that are turned away are told to come back at different times: at most this many a second.";
    "write-timeout" "DURATION" = "30s":
        "A connection that takes no byte for this long is closed.";
    "drain" "DURATION" = "10s":
        "On SIGTERM readers are told to go, spread over this window.";
    "workers" "N" = "":
        "Worker threads; without it one for each core.";
    "cors-origin" "ORIGIN" = "" list:
        "Origins whose pages may use the hub, like `https://app.example`, or `*`; without it only the hub's own. Pages of the same site may also publish without a credential if anonymous clients may.";
    "trusted-proxy" "CIDR" = "" list:
        "Proxies, like `10.0.0.0/8` or `127.0.0.1`, whose `Forwarded` or `X-Forwarded-For` tells who a client is. Without it everybody behind a proxy is one client, and behind one on the hub's own machine one that no default binds.";
    "public-host" "NAME" = "" list:
        "A host name of the hub. Requests without a credential that are granted something are answered only under these names, the names of the hub's own machine and its addresses, which prevents DNS rebinding.";
    "anonymous" "WHAT" = "" list:
        "What those may do who show no credential: `subscribe`, `publish`, `end` (streams), `metrics`, `chat`. Without it everything on a loopback address where neither a key nor a token is configured, and nothing otherwise.";
    "jwt-secret" "SECRET" = "":
        "Takes tokens signed with this secret (32 bytes or more, HS256). Better in the environment or the file than on a command line, which others can see.";
    "jwt-public-key" "FILE" = "":
        "Takes tokens that this public key (PEM: RSA, EC, Ed25519) verifies.";
    "jwks" "FILE|URL" = "":
        "Takes tokens that a key of this key set (RFC 7517) verifies. One at a URL is fetched every 5 minutes, and, at most every 10 seconds, where a token names a key that is not there.";
    "jwt-algorithms" "NAME" = "" list:
        "The algorithms that are taken, of those the keys can be used with; without it HS256, RS256, ES256 or ES384, EdDSA, or what a key set says.";
    "jwt-issuer" "TEXT" = "":
        "The `iss` that a token must have.";
    "jwt-audience" "TEXT" = "":
        "The `aud` that a token must have.";
    "jwt-max-lifetime" "DURATION" = "24h":
        "Maximum lifetime of a token: from its `iat`, or from now if it has none, to its `exp`, which every token needs.";
    "log" "FILTER" = "info":
        "What is logged to standard error, as `warn` or `info,fanfare::hub=debug`.";
    "log-format" "FORMAT" = "auto":
        "`text`, `json`, or `auto`: text on a terminal, JSON otherwise.";
}

/// Returns the command `serve`, built from the table.
pub fn command() -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("A file of settings, `fanfare.toml`-style. Flags come first, then FANFARE_… variables, then the file. [env: FANFARE_CONFIG]");
    let args = SETTINGS.iter().map(|setting| {
        let mut help = setting.help.to_owned();
        if !setting.default.is_empty() {
            help.push_str(&format!(" [default: {}]", setting.default));
        }
        help.push_str(&format!(" [env: {}]", env_name(setting.name)));
        let action = if setting.repeatable { ArgAction::Append } else { ArgAction::Set };
        let arg = Arg::new(setting.name)
            .long(setting.name)
            .value_name(setting.value)
            .action(action)
            .allow_hyphen_values(true)
            .hide(missing_for_setting(setting.name).is_some())
            .help(help);
        match setting.value {
            SWITCH => arg.num_args(0..=1).require_equals(true).default_missing_value("on"),
            _ => arg,
        }
    });
    Command::new("serve").about("Serve the hub").arg(config).args(args)
}

/// Returns the environment variable of a setting.
pub fn env_name(name: &str) -> String {
    format!("FANFARE_{}", name.to_uppercase().replace('-', "_"))
}
