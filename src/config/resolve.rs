//! Resolution of raw settings into the configuration.

use super::access::{parse_host, parse_origin};
use super::invalid_value::InvalidValue;
use super::limits::connections_by_file_limit;
#[cfg(any(feature = "chat", feature = "files", feature = "jobs", feature = "tail"))]
use super::raw::Table;
use super::raw::{ConfigError, FixedSettings, RawConfig, RawValue};
use super::settings::SETTINGS;
use super::units;
use crate::access::Access;
use crate::event::Selector;
use crate::journal::{Durability, RetentionPolicy};
use crate::limits::Limits;
use crate::source::GracePeriods;
use crate::telemetry::{InvalidFilter, LogFormat, check_log_filter};
use ipnet::IpNet;
use std::fmt::Display;
use std::io::IsTerminal;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Range of the system monitor's interval.
#[cfg(feature = "system")]
const SYSTEM_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3600);
/// Range of heartbeat intervals that a connection may request.
pub(crate) const HEARTBEAT_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3600);

/// Resolved configuration of the hub.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to serve.
    pub listen: Vec<SocketAddr>,
    /// Addresses that serve only `/metrics`, `/healthz` and `/readyz`.
    pub metrics_listen: Vec<SocketAddr>,
    /// Selectors whose streams are counted separately in the metrics.
    pub metrics_streams: Vec<Selector>,
    /// Certificate and private key, if TLS is on.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// True if HTTP/2 is served without TLS.
    pub h2c: bool,
    /// Directory of the journal.
    pub data_dir: PathBuf,
    /// Durability that a publish waits for.
    pub durability: Durability,
    /// Base reconnection time for clients; each gets a time spread around it.
    pub retry: Duration,
    /// Default interval of heartbeats.
    pub heartbeat: Duration,
    /// Retention.
    pub retention: RetentionPolicy,
    /// Free bytes below which publishes are refused.
    pub min_free_bytes: u64,
    /// Memory for the newest events.
    pub recent_bytes: usize,
    /// Interval of the system monitor, if it is on.
    #[cfg(feature = "system")]
    pub system: Option<Duration>,
    /// Times without a heartbeat after which a service is late, and down.
    pub grace: GracePeriods,
    /// True if the hub's own log is published.
    pub publish_log: bool,
    /// Settings of chats.
    #[cfg(feature = "chat")]
    pub chats: crate::source::ChatSettings,
    /// Commands that may be run by name.
    #[cfg(feature = "jobs")]
    pub jobs: Vec<crate::source::JobSpec>,
    /// Folders to download from, by name.
    #[cfg(feature = "files")]
    pub folders: Vec<(String, PathBuf)>,
    /// Files that are followed.
    #[cfg(feature = "tail")]
    pub tails: Arc<[crate::source::TailSpec]>,
    /// Maximum bytes of one event's data.
    pub max_event_bytes: usize,
    /// Maximum bytes of one request's body.
    pub max_body_bytes: usize,
    /// Limits.
    pub limits: Arc<Limits>,
    /// Memory budget of the process, in bytes.
    pub memory_budget: u64,
    /// Proxies whose `Forwarded` or `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Maximum number of connections of any kind, so that the journal can always open files.
    pub max_sockets: usize,
    /// Maximum number of refused subscribers per second that are asked to reconnect.
    pub refusal_return_rate: u64,
    /// Maximum time for which a connection may take no bytes.
    pub write_timeout: Duration,
    /// Time over which a drain spreads the disconnects, and its maximum duration.
    pub drain: Duration,
    /// Worker threads.
    pub workers: usize,
    /// Origins whose pages may use the hub.
    pub cors_origins: Vec<String>,
    /// Cluster that this hub belongs to.
    #[cfg(feature = "cluster")]
    pub cluster: Option<crate::cluster::ClusterSettings>,
    /// Settings of the Mercure protocol, if it is on.
    #[cfg(feature = "mercure")]
    pub mercure: Option<super::mercure::MercureSettings>,
    /// Settings of the Durable Streams protocol, if it is on.
    #[cfg(feature = "durable-streams")]
    pub durable: Option<super::durable::DurableSettings>,
    /// Host names of the hub, besides those of its own machine.
    pub public_hosts: Vec<String>,
    /// Keys and grants that credentials are checked against.
    pub access: Access,
    /// True if other machines may reach the hub and neither keys nor tokens are configured.
    pub needs_admin_key: bool,
    /// URL of the key set.
    #[cfg(feature = "remote-keys")]
    pub jwks_url: Option<String>,
    /// Settings that only a restart applies.
    pub fixed: FixedSettings,
    /// Log filter.
    pub log: String,
    /// Log format.
    pub log_format: LogFormat,
}

impl Config {
    /// Resolves all settings, or returns all errors.
    pub fn resolve(raw: RawConfig) -> Result<Self, Vec<ConfigError>> {
        let mut r = Resolver::of(raw);
        let durability = r.value("durability", parse_durability).unwrap_or(Durability::Sync);
        #[cfg(feature = "chat")]
        let chats = r.chats();
        #[cfg(feature = "chat")]
        let chat_records_kept = chats.records_kept();
        #[cfg(not(feature = "chat"))]
        let chat_records_kept = crate::source::OWN_STREAM_KEPT;
        #[cfg(feature = "tail")]
        let tails: Arc<[_]> = r.tails().into();
        #[cfg(feature = "tail")]
        let tailed_files = if tails.is_empty() { 0 } else { crate::source::MAX_TAILED };
        #[cfg(not(feature = "tail"))]
        let tailed_files = 0;
        let access = r.access();
        #[cfg(feature = "mercure")]
        let (mercure, access) = r.with_mercure(access);
        let config = Self {
            fixed: r.raw.fixed(),
            listen: r.list("listen", parse_address).concat(),
            metrics_listen: r.list("metrics-listen", parse_address).concat(),
            metrics_streams: r.list("metrics-streams", parse_selector),
            tls: r.tls(),
            h2c: r.value("h2c", parse_switch).unwrap_or_default(),
            data_dir: r.value("data-dir", path).unwrap_or_default(),
            durability,
            retry: r.value("retry", units::duration).unwrap_or_default(),
            heartbeat: r.value("heartbeat", parse_heartbeat).unwrap_or_default(),
            retention: r.retention(durability, chat_records_kept),
            min_free_bytes: r.value("min-free-bytes", units::bytes).unwrap_or_default(),
            recent_bytes: r.value("recent-bytes", parse_size).unwrap_or_default(),
            #[cfg(feature = "system")]
            system: r.value("system", parse_system).flatten(),
            grace: r.grace(),
            publish_log: r.value("publish-log", parse_switch).unwrap_or_default(),
            #[cfg(feature = "chat")]
            chats,
            #[cfg(feature = "jobs")]
            jobs: r.jobs(),
            #[cfg(feature = "files")]
            folders: r.folders(),
            #[cfg(feature = "tail")]
            tails,
            max_event_bytes: r.value("max-event-bytes", parse_size).unwrap_or_default(),
            max_body_bytes: r.value("max-body-bytes", parse_size).unwrap_or_default(),
            // Each followed file takes an open file.
            max_sockets: connections_by_file_limit().saturating_sub(tailed_files).max(2),
            limits: Arc::new(r.limits()),
            memory_budget: r.memory_budget(),
            trusted_proxies: r.trusted_proxies(),
            refusal_return_rate: r.value("refusal-return-rate", parse_count).unwrap_or_default(),
            write_timeout: r.value("write-timeout", parse_positive_duration).unwrap_or_default(),
            drain: r.value("drain", units::duration).unwrap_or_default(),
            workers: r.value("workers", parse_count).map_or_else(cores, |n| n as usize),
            cors_origins: r.list("cors-origin", parse_origin),
            #[cfg(feature = "cluster")]
            cluster: r.cluster(durability),
            #[cfg(feature = "mercure")]
            mercure,
            #[cfg(feature = "durable-streams")]
            durable: r.durable(),
            public_hosts: r.list("public-host", parse_host),
            needs_admin_key: access.has_no_credentials() && r.is_reachable(),
            access,
            #[cfg(feature = "remote-keys")]
            jwks_url: r.jwks_url(),
            log: r.value("log", parse_log).unwrap_or_default(),
            log_format: r.value("log-format", parse_log_format).unwrap_or(LogFormat::Text),
        };
        if r.raw.errors.is_empty() { Ok(config) } else { Err(r.raw.errors) }
    }
}

pub(super) struct Resolver {
    pub(super) raw: RawConfig,
}

impl Resolver {
    /// Creates a resolver, and notes the settings that this build does not have.
    fn of(mut raw: RawConfig) -> Self {
        raw.refuse_missing_features();
        Self { raw }
    }

    /// Returns the parsed value of a setting or of its default; `None` if that is empty or invalid.
    pub(super) fn value<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.list(name, parse).pop()
    }

    pub(super) fn list<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let value = self.raw.of(name).unwrap_or_else(|| default(name));
        self.parse(&value, parse)
    }

    pub(super) fn parse<T, E: Display>(
        &mut self,
        raw_value: &RawValue,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let mut parsed = Vec::new();
        for value in &raw_value.values {
            match parse(value) {
                Ok(value) => parsed.push(value),
                Err(error) => self.raw.add_error(raw_value.location.clone(), error.to_string()),
            }
        }
        parsed
    }

    /// Returns the parsed value of a table's member; `None` if it is missing or invalid.
    #[cfg(any(feature = "chat", feature = "files", feature = "jobs", feature = "tail"))]
    pub(super) fn member<T, E: Display>(
        &mut self,
        rule: &mut Table,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = rule.remove(name)?;
        self.parse(&value, parse).pop()
    }

    /// Reports the members that are left of a table as unknown.
    #[cfg(any(feature = "chat", feature = "files", feature = "jobs", feature = "tail"))]
    pub(super) fn refuse_others(&mut self, table_name: &str, rule: Table) {
        for (name, value) in rule {
            self.raw.add_error(value.location, format!("unknown member {name:?} in {table_name}"));
        }
    }

    fn grace(&mut self) -> GracePeriods {
        let late = self.value("heartbeat-late", parse_positive_duration).unwrap_or_default();
        let down = self.value("heartbeat-down", parse_positive_duration).unwrap_or_default();
        if late > down {
            let location =
                ["heartbeat-late", "heartbeat-down"].into_iter().find_map(|n| self.raw.of(n));
            let location = location.map(|value| value.location).unwrap_or_default();
            self.raw.add_error(location, "heartbeat-late must not exceed heartbeat-down");
        }
        GracePeriods { late, down }
    }
}

fn default(name: &str) -> RawValue {
    let setting = SETTINGS.iter().find(|setting| setting.name == name);
    let default = setting.map_or("", |setting| setting.default);
    let values = if default.is_empty() { Vec::new() } else { vec![default.to_owned()] };
    RawValue { location: format!("the default of {name}"), values }
}

fn parse_address(text: &str) -> Result<Vec<SocketAddr>, InvalidValue> {
    let found = text
        .to_socket_addrs()
        .map_err(|source| InvalidValue::Address { value: text.to_owned(), source })?;
    // `localhost` may have two addresses, which cannot share a free port.
    Ok(found.take(1).collect())
}

pub(super) fn parse_selector(text: &str) -> Result<Selector, InvalidValue> {
    Ok(Selector::parse(text)?)
}

#[cfg(feature = "system")]
fn parse_system(text: &str) -> Result<Option<Duration>, InvalidValue> {
    if text == "off" {
        return Ok(None);
    }
    let interval = units::duration(text)?;
    if SYSTEM_RANGE.contains(&interval) {
        Ok(Some(interval))
    } else {
        Err(InvalidValue::range(text, "off, or 100ms to 1h"))
    }
}

fn parse_durability(text: &str) -> Result<Durability, InvalidValue> {
    match text {
        "sync" => Ok(Durability::Sync),
        "os" => Ok(Durability::Os),
        "memory" => Ok(Durability::Memory),
        _ => Err(InvalidValue::word(text, "sync, os, memory")),
    }
}

pub(super) fn parse_switch(text: &str) -> Result<bool, InvalidValue> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(InvalidValue::word(text, "on, off, true, false")),
    }
}

fn parse_log(text: &str) -> Result<String, InvalidFilter> {
    check_log_filter(text)?;
    Ok(text.to_owned())
}

fn parse_log_format(text: &str) -> Result<LogFormat, InvalidValue> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        "auto" if std::io::stderr().is_terminal() => Ok(LogFormat::Text),
        "auto" => Ok(LogFormat::Json),
        _ => Err(InvalidValue::word(text, "text, json, auto")),
    }
}

pub(super) fn parse_heartbeat(text: &str) -> Result<Duration, InvalidValue> {
    let duration = units::duration(text)?;
    if HEARTBEAT_RANGE.contains(&duration) {
        Ok(duration)
    } else {
        Err(InvalidValue::range(text, "1s to 1h"))
    }
}

/// Takes a value as a path.
#[expect(clippy::unnecessary_wraps, reason = "the signature of parsers")]
pub(super) fn path(text: &str) -> Result<PathBuf, InvalidValue> {
    Ok(PathBuf::from(text))
}

pub(super) fn parse_positive_duration(text: &str) -> Result<Duration, InvalidValue> {
    let duration = units::duration(text)?;
    match duration.as_millis() {
        0 => Err(InvalidValue::range(text, "1ms or more")),
        _ => Ok(duration),
    }
}

pub(super) fn parse_count(text: &str) -> Result<u64, InvalidValue> {
    match text.parse() {
        Ok(0) | Err(_) => Err(InvalidValue::form(text, "a positive integer")),
        Ok(n) => Ok(n),
    }
}

pub(super) fn parse_positive_bytes(text: &str) -> Result<u64, InvalidValue> {
    match units::bytes(text)? {
        0 => Err(InvalidValue::range(text, "1 byte or more")),
        n => Ok(n),
    }
}

pub(super) fn parse_size(text: &str) -> Result<usize, InvalidValue> {
    let bytes = parse_positive_bytes(text)?;
    usize::try_from(bytes).map_err(|_| InvalidValue::range(text, "an addressable size"))
}

/// Parses the path of a directory that exists.
#[cfg(any(feature = "files", feature = "jobs"))]
pub(super) fn parse_directory(text: &str) -> Result<PathBuf, InvalidValue> {
    let path = PathBuf::from(text);
    if path.is_dir() { Ok(path) } else { Err(InvalidValue::NoDirectory(text.to_owned())) }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::command;

    fn resolve(
        flags: &[&str],
        env: &[(&str, &str)],
        file: &str,
    ) -> Result<Config, Vec<ConfigError>> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f.toml");
        std::fs::write(&path, file).expect("writes");
        let path = path.display().to_string();
        let args = ["serve", "--config", &path].into_iter().chain(flags.iter().copied());
        let flags = command().try_get_matches_from(args).expect("flags");
        let env =
            |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Config::resolve(RawConfig::collect(&flags, env))
    }

    #[test]
    fn flags_override_the_environment_which_overrides_the_file() {
        let file = "retry = \"1s\"\nheartbeat = \"2s\"\ndrain = \"3s\"\n";
        let env = [("FANFARE_RETRY", "4s"), ("FANFARE_HEARTBEAT", "5s")];
        let config = resolve(&["--retry", "6s"], &env, file).expect("ok");
        let seconds = [config.retry, config.heartbeat, config.drain].map(|d| d.as_secs());
        assert_eq!(seconds, [6, 5, 3]);
        assert_eq!(config.write_timeout.as_secs(), 30);
        assert_eq!(config.listen, ["127.0.0.1:8080".parse().expect("ok")]);
    }

    #[test]
    fn switches_take_their_value_with_and_without_an_equals_sign() {
        let switches = |config: Config| (config.publish_log, config.h2c);
        for (flags, expected) in [
            (&["--publish-log", "--h2c"][..], (true, true)),
            (&["--publish-log", "off", "--h2c", "on"], (false, true)),
            (&["--publish-log=false", "--h2c=off"], (false, false)),
            (&["--h2c", "true", "--publish-log", "--retry", "1s"], (true, true)),
        ] {
            assert_eq!(switches(resolve(flags, &[], "").expect("ok")), expected, "{flags:?}");
        }
        let (env, file) = ([("FANFARE_PUBLISH_LOG", "off")], "h2c = true\n");
        assert_eq!(switches(resolve(&[], &env, file).expect("ok")), (false, true));
        let errors = resolve(&["--h2c", "maybe"], &[], "").expect_err("wrong");
        assert!(errors[0].to_string().contains("on, off, true, false"), "{}", errors[0]);
        let tls = "tls-cert = \"c\"\ntls-key = \"k\"\n";
        assert!(resolve(&["--h2c", "true"], &[], tls).is_err(), "h2c is HTTP/2 without TLS");
    }

    #[test]
    fn all_errors_are_reported_with_their_places() {
        let file = "\nretries = 3\n[[retention]]\nstreams = \"a**\"\nmax-agee = \"1s\"\n";
        let env = [("FANFARE_HEARTBEAT", "2h")];
        let flags = ["--durability", "maybe", "--listen", "nowhere", "--max-events", "0"];
        let errors = resolve(&flags, &env, file).expect_err("wrong");
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for location in [
            "--durability: ",
            "--listen: ",
            "--max-events: ",
            "FANFARE_HEARTBEAT: ",
            "f.toml:2: ",
            "f.toml:4: ",
            "f.toml:5: ",
        ] {
            assert!(text.contains(location), "{location} in\n{text}");
        }
        assert_eq!(errors.len(), 7, "{text}");
    }

    #[test]
    fn retention_is_set_for_each_pattern() {
        let file = "max-events = 9\n[[retention]]\nstreams = [\"a.*\", \"b\"]\nmax_age = \"1h\"\nmax-bytes = \"1KiB\"\n";
        let retention = resolve(&[], &[], file).expect("ok").retention;
        assert_eq!(retention.otherwise.max_events, Some(9));
        assert_eq!(retention.rules.len(), 11);
        assert_eq!(retention.rules[3].0.as_str(), "hub.tail", "before the configured rules");
        assert_eq!(retention.rules[6].0.as_str(), "system", "after the configured rules");
        let (selector, limits) = &retention.rules[4];
        assert_eq!(selector.as_str(), "a.*");
        assert_eq!((limits.max_age_ms, limits.max_bytes), (Some(3_600_000), Some(1024)));
        assert_eq!(limits.max_events, None);
    }

    #[test]
    fn setting_given_in_both_spellings_is_a_duplicate() {
        let file = "max-age = \"1h\"\nmax_age = \"2h\"\n[[retention]]\nstreams = \"a\"\nmax-events = 1\nmax_events = 2\n";
        let errors = resolve(&[], &[], file).expect_err("wrong");
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(text.contains("max-age is given twice"), "{text}");
        assert!(text.contains("max-events is given twice"), "{text}");
        assert_eq!(errors.len(), 2, "{text}");
    }

    #[test]
    fn syntax_error_names_the_file_and_line() {
        let errors = resolve(&[], &[], "a = 1\nb = [\n").expect_err("wrong");
        assert!(errors[0].place.contains("f.toml:"), "{errors:?}");
    }

    #[test]
    fn memory_durability_lowers_the_default_journal_size() {
        let cap = |flags: &[&str]| resolve(flags, &[], "").expect("ok").retention.total_bytes;
        assert_eq!(cap(&[]), 10 << 30);
        assert_eq!(cap(&["--durability", "memory"]), 256 << 20);
        assert_eq!(cap(&["--durability", "memory", "--journal-max-bytes", "1GiB"]), 1 << 30);
    }
}
