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
    /// True if SIGHUP applies a new value.
    pub is_reloaded: bool,
    /// Help text, one or two sentences.
    pub help: &'static str,
}

/// Value of a switch: `--name` alone means `on`.
const SWITCH: &str = "on|off";

macro_rules! settings {
    ($($name:literal $value:literal = $default:literal $($flag:ident)* : $help:literal;)*) => {
        /// Every setting, in the order of `--help`.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            name: $name,
            value: $value,
            default: $default,
            repeatable: settings!(@list $($flag)*),
            is_reloaded: settings!(@reloaded $($flag)*),
            help: $help,
        },)*];
    };
    (@list list $($rest:ident)*) => { true };
    (@list $other:ident $($rest:ident)*) => { settings!(@list $($rest)*) };
    (@list) => { false };
    (@reloaded reloaded $($rest:ident)*) => { true };
    (@reloaded $other:ident $($rest:ident)*) => { settings!(@reloaded $($rest)*) };
    (@reloaded) => { false };
}

settings! {
    "listen" "ADDR" = "127.0.0.1:8080" list:
        "Address and port to serve on; port 0 selects a free one.";
    "tls-cert" "FILE" = "":
        "Certificate chain (PEM) for TLS: the certificate, then its intermediates. Requires \
         `--tls-key`. Clients that negotiate HTTP/2 (ALPN) get it. The file is read again on SIGHUP \
         and when it changes.";
    "tls-key" "FILE" = "":
        "Private key (PEM) of `--tls-cert`.";
    "h2c" "on|off" = "off":
        "Accept HTTP/2 without TLS from clients with prior knowledge, such as a reverse proxy that \
         is configured for it.";
    "metrics-listen" "ADDR" = "" list:
        "Address and port of a separate listener that serves only `/metrics`, `/healthz` and \
         `/readyz`, without credentials and TLS. For Prometheus, on an address that the public \
         cannot reach.";
    "metrics-streams" "SELECTOR" = "" list:
        "Stream or pattern of streams whose events and deliveries are counted separately in the \
         metrics, with the selector as label `streams`.";
    "data-dir" "DIR" = "./data":
        "Directory of the journal; created if missing. Only one hub can use it at a time.";
    "durability" "MODE" = "sync":
        "When a publish is acknowledged: `sync` once it is synced to disk, `os` once the operating \
         system has it (survives a killed hub, not power loss), `memory` immediately (no data \
         directory; a restart begins a new epoch).";
    "cluster-nats" "URL" = "" list:
        "Address of a NATS server with JetStream, such as `nats://10.0.0.1:4222`, or `tls://…`; with \
         credentials, `nats://USER:PASSWORD@…` or `nats://TOKEN@…`. All hubs with the same `--cluster-name` \
         on its cluster then order their events in one log, and each has a copy of them.";
    "cluster-credentials" "FILE" = "":
        "File with an nkey seed, or with a JWT and its seed (`.creds`), for the NATS servers.";
    "cluster-tls-ca" "FILE" = "":
        "Certificates (PEM) of authorities that the NATS servers are checked against, in addition to those of \
         the system.";
    "cluster-tls-cert" "FILE" = "":
        "Certificate chain (PEM) with which this hub identifies itself to the NATS servers. Requires \
         `--cluster-tls-key`.";
    "cluster-tls-key" "FILE" = "":
        "Private key (PEM) of `--cluster-tls-cert`.";
    "cluster-name" "NAME" = "fanfare":
        "Name of the cluster, which is also that of the JetStream stream of its log.";
    "cluster-replicas" "N" = "3":
        "Number of NATS servers that store the log (1, 3 or 5). With one, the log is lost with its server.";
    "cluster-log-max-age" "DURATION" = "24h":
        "Time for which the log keeps events. A hub that was away for longer cannot continue.";
    "cluster-log-max-bytes" "BYTES" = "10GiB":
        "Maximum size of the log; the oldest events are deleted first.";
    "cluster-isolation-timeout" "DURATION" = "30s":
        "Time without the log after which a hub disconnects its subscribers, so that they resume at another \
         hub, and refuses new ones.";
    "node" "NAME" = "":
        "Name of this hub in its cluster; by default the name of the host.";
    "mercure" "off|1.0|0.x|both" = "off":
        "Serve the Mercure protocol at `/.well-known/mercure`: its version 1.0 (draft-08), the earlier ones, \
         or both.";
    "mercure-url" "URL" = "":
        "URL of the Mercure hub for its clients, such as `https://example.com/.well-known/mercure`: the base \
         of URL patterns and the audience of tokens. Required for 1.0.";
    "mercure-subscriptions" "on|off" = "off":
        "Publish an update when a Mercure subscription begins or ends, and list active subscriptions.";
    "mercure-publisher-key" "KEY" = "" reloaded:
        "Secret, or public key as PEM text, that verifies publishers' tokens of Mercure 0.x. Without it: the \
         keys of other tokens.";
    "mercure-subscriber-key" "KEY" = "" reloaded:
        "Secret, or public key as PEM text, that verifies subscribers' tokens of Mercure 0.x. Without it: the \
         keys of other tokens.";
    "mercure-cookie" "NAME" = "":
        "Name of the cookie with a Mercure token. Without it: `__Secure-mercure_access_token` for 1.0, \
         `mercureAuthorization` for 0.x.";
    "mercure-streams" "on|off" = "off":
        "Deliver the events of a stream to Mercure subscribers of a topic with its name, if they may read the \
         stream.";
    "mercure-updates" "on|off" = "off":
        "Let admins read all Mercure updates as the stream `hub.mercure`.";
    "durable-streams" "on|off" = "off":
        "Serve the Durable Streams protocol.";
    "durable-streams-path" "PATH" = "/v1/stream":
        "Path below which the Durable Streams protocol has its streams.";
    "durable-streams-poll" "DURATION" = "30s":
        "Time for which a long-poll of the Durable Streams protocol waits for data (1s to 1h).";
    "durable-streams-sse" "DURATION" = "60s":
        "Time after which a stream of Server-Sent Events of the Durable Streams protocol is closed, so that its          reader continues with a new request (1s to 1h).";
    "retry" "DURATION" = "3s":
        "Time that clients wait before they reconnect; each client gets a random value within 20 % \
         of it.";
    "heartbeat" "DURATION" = "15s":
        "Interval of heartbeats on idle connections (1s to 1h).";
    "max-age" "DURATION" = "":
        "Maximum age of the events of a stream; older ones are deleted.";
    "max-events" "N" = "":
        "Maximum events kept per stream; the oldest are deleted first.";
    "max-bytes" "BYTES" = "":
        "Maximum stored bytes per stream; the oldest events are deleted first.";
    "journal-max-bytes" "BYTES" = "10GiB":
        "Maximum stored bytes of all streams; the oldest events of the whole hub are deleted \
         first. With durability `memory` the default is 256MiB.";
    "min-free-bytes" "BYTES" = "256MiB":
        "Minimum free disk space; below it publishes are refused, so that compaction always has \
         room. Streams can still be ended and deleted until a quarter of it is left.";
    "recent-bytes" "BYTES" = "64MiB":
        "Memory for the newest events; reconnecting clients are served from it without reading the \
         disk.";
    "max-event-bytes" "BYTES" = "256KiB":
        "Maximum bytes of the data of one event.";
    "max-body-bytes" "BYTES" = "8MiB":
        "Maximum bytes of the body of one request.";
    "system" "TIME|off" = "2s":
        "Interval at which the system monitor publishes the state of this machine to the stream \
         `system`, and figures of the hub to `hub.stats` (100ms to 1h), or `off`. Events are kept for 1 hour unless a `[[retention]]` \
         rule says otherwise.";
    "publish-log" "on|off" = "on":
        "Publish the hub's own log to the stream `hub.logs`, which admins can read. Events are \
         kept for 1 hour unless a `[[retention]]` rule says otherwise.";
    "heartbeat-late" "DURATION" = "30s":
        "Time without a `heartbeat` event after which a service that sends them is reported as \
         late on the stream `heartbeats`.";
    "heartbeat-down" "DURATION" = "90s":
        "Time without a `heartbeat` event after which a service is reported as down.";
    "max-connections" "N" = "" reloaded:
        "Maximum subscriber sessions. Without it: as many as the open file limit allows, less a \
         reserve.";
    "max-connections-per-client" "N" = "1000" reloaded:
        "Maximum sessions of one client, identified by its address (IPv6: by its /64). The default \
         does not apply to clients on the hub's own machine; a configured value does.";
    "max-connections-per-subject" "N" = "10000" reloaded:
        "Maximum sessions of one API key, or of one `sub` of tokens. Sessions with a ticket count \
         for the subject that created it.";
    "max-connections-per-stream" "N" = "" reloaded:
        "Maximum sessions that name one stream or one pattern. Without it: only \
         `--max-connections` applies.";
    "max-selectors" "N" = "100" reloaded:
        "Maximum selectors of one subscription (1 to 100).";
    "max-streams" "N" = "200000" reloaded:
        "Maximum streams with history; each takes about 1 KB of memory. Events for further streams \
         are refused.";
    "publish-events-per-client" "N" = "10000" reloaded:
        "Maximum events per second that one client, identified by its address, may publish. Like \
         the other three publish rates, it always allows one whole request at once, and the \
         default does not apply to clients on the hub's own machine.";
    "publish-bytes-per-client" "BYTES" = "64MiB" reloaded:
        "Maximum bytes of event data per second that one client may publish.";
    "publish-events-per-subject" "N" = "20000" reloaded:
        "Maximum events per second that one API key, or one `sub` of tokens, may publish.";
    "publish-bytes-per-subject" "BYTES" = "128MiB" reloaded:
        "Maximum bytes of event data per second that one API key, or one `sub` of tokens, may \
         publish.";
    "max-chats" "N" = "200" reloaded:
        "Maximum running chats.";
    "max-chats-per-subject" "N" = "20" reloaded:
        "Maximum running chats of one API key, of one `sub` of tokens, or of one address without a \
         credential. The default does not apply to clients on the hub's own machine; a configured \
         value does.";
    "chat-connect-timeout" "DURATION" = "10s":
        "Maximum time to connect to an upstream of chats.";
    "chat-first-token-timeout" "DURATION" = "2m":
        "Maximum time until the first token of an answer.";
    "chat-idle-timeout" "DURATION" = "1m":
        "Maximum time between two chunks of an answer; comments reset it.";
    "chat-total-timeout" "DURATION" = "15m":
        "Maximum duration of an answer.";
    "chat-max-tokens" "N" = "":
        "Maximum tokens of an answer, whatever the request asks for.";
    "chat-max-output-bytes" "BYTES" = "1MiB":
        "Maximum bytes of an answer.";
    "chat-max-request-bytes" "BYTES" = "4MiB":
        "Maximum bytes of a chat request; `--max-body-bytes` applies, too.";
    "chat-kept" "DURATION" = "1h":
        "Time for which a chat is kept after its end.";
    "chat-keep-prompts" "on|off" = "off":
        "Also store the prompt of each chat in the journal, in its first event.";
    "memory-budget" "BYTES" = "" reloaded:
        "Memory budget of the process. At 90 % of it new subscribers and publishes are refused, at \
         95 % no connection is accepted. Without it: 80 % of the memory of the machine or its \
         control group.";
    "refusal-return-rate" "N" = "500":
        "Maximum rate at which refused subscribers reconnect, per second; the hub spreads their \
         retry times accordingly.";
    "write-timeout" "DURATION" = "30s":
        "Time after which a connection that accepts no bytes is closed.";
    "drain" "DURATION" = "10s":
        "Time over which subscribers are disconnected after SIGTERM.";
    "workers" "N" = "":
        "Number of worker threads. Without it: one per core.";
    "cors-origin" "ORIGIN" = "" list:
        "Origin whose pages may use the hub, such as `https://app.example`, or `*` for any. \
         Without it: only the hub's own. Pages of the same site may also publish without a \
         credential if anonymous clients may.";
    "trusted-proxy" "CIDR" = "" list:
        "Proxy, such as `10.0.0.0/8` or `127.0.0.1`, whose `Forwarded` or `X-Forwarded-For` header \
         identifies the client. Without it, all clients behind a proxy count as one, and behind a \
         proxy on the hub's own machine the default limits do not apply to them.";
    "public-host" "NAME" = "" list:
        "Host name of the hub. If anonymous clients have grants, requests without a credential are \
         answered only under these names, `localhost` and IP addresses, which prevents DNS \
         rebinding.";
    "anonymous" "WHAT" = "" list reloaded:
        "Grant of requests without a credential: `subscribe`, `publish`, `end`, `delete` (streams), \
         `metrics`, `chat`. Without it: everything on a loopback address if neither a key nor a \
         token is configured, otherwise nothing.";
    "jwt-secret" "SECRET" = "" reloaded:
        "Secret that verifies tokens (HS256; at least 32 bytes). Set it in the environment or the \
         file, because other users can see a command line.";
    "jwt-public-key" "FILE" = "" reloaded:
        "Public key (PEM: RSA, EC, Ed25519) that verifies tokens.";
    "jwks" "FILE|URL" = "" reloaded:
        "Key set (RFC 7517) whose keys verify tokens. A key set at a URL is fetched every 5 \
         minutes, and when a token names an unknown key, at most every 10 seconds.";
    "jwt-algorithms" "NAME" = "" list reloaded:
        "Accepted algorithm of tokens, among those that the keys can be used with. Without it: \
         HS256, RS256, ES256 or ES384, EdDSA, according to the key, or the algorithm that a key \
         set names.";
    "jwt-issuer" "TEXT" = "" reloaded:
        "Required `iss` of tokens.";
    "jwt-audience" "TEXT" = "" reloaded:
        "Required `aud` of tokens.";
    "jwt-max-lifetime" "DURATION" = "24h" reloaded:
        "Maximum lifetime of a token: from its `iat`, or from now if it has none, to its `exp`, \
         which every token needs.";
    "log" "FILTER" = "info" reloaded:
        "Filter of the log on standard error, such as `warn` or `info,fanfare::hub=debug`.";
    "log-format" "FORMAT" = "auto":
        "Format of the log: `text`, `json`, or `auto` (text on a terminal, JSON otherwise).";
}

/// Returns the command `serve`, built from the table.
pub fn command() -> Command {
    let config = Arg::new("config").long("config").value_name("FILE").help(
        "Configuration file (TOML); without it `fanfare.toml`, if that exists. Flags override \
         FANFARE_… variables, which override the file. [env: FANFARE_CONFIG]",
    );
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
            // Without a value it is on, so that another flag may follow it.
            SWITCH => arg.num_args(0..=1).allow_hyphen_values(false).default_missing_value("on"),
            _ => arg,
        }
    });
    Command::new("serve").about("Run the hub").arg(config).args(args)
}

/// Returns the environment variable of a setting.
pub fn env_name(name: &str) -> String {
    format!("FANFARE_{}", name.to_uppercase().replace('-', "_"))
}
