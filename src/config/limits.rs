//! Configuration of limits.

use super::invalid_value::InvalidValue;
use super::raw::Table;
use super::resolve::{Resolver, parse_count, parse_positive_bytes};
use crate::event::{MAX_SELECTORS, Selector};
use crate::limits::{Bound, Bounds, Limit, Limits, Rule, machine_memory_bytes};
use ipnet::IpNet;
use std::net::IpAddr;

/// Default memory budget, in percent of the machine's memory.
const MEMORY_PERCENT: u64 = 80;
/// Open files that are not connections: the journal's tables and logs, listeners, and files of
/// threads.
const RESERVED_FILES: u64 = 512;
/// Divisor of the connections: this share is not for sessions.
const OTHER_CONNECTIONS_SHARE: u64 = 16;

/// Limits and their settings; the first nine can also be set for some streams.
const LIMITS: [(Limit, &str); 12] = [
    (Limit::Connections, "max-connections"),
    (Limit::ConnectionsPerClient, "max-connections-per-client"),
    (Limit::ConnectionsPerSubject, "max-connections-per-subject"),
    (Limit::ConnectionsPerStream, "max-connections-per-stream"),
    (Limit::Streams, "max-streams"),
    (Limit::PublishEventsPerClient, "publish-events-per-client"),
    (Limit::PublishBytesPerClient, "publish-bytes-per-client"),
    (Limit::PublishEventsPerSubject, "publish-events-per-subject"),
    (Limit::PublishBytesPerSubject, "publish-bytes-per-subject"),
    (Limit::Selectors, "max-selectors"),
    (Limit::Chats, "max-chats"),
    (Limit::ChatsPerSubject, "max-chats-per-subject"),
];

fn parse(limit: Limit, text: &str) -> Result<u64, InvalidValue> {
    match limit {
        Limit::PublishBytesPerClient | Limit::PublishBytesPerSubject => parse_positive_bytes(text),
        Limit::Selectors => match parse_count(text)? {
            count if count <= MAX_SELECTORS as u64 => Ok(count),
            _ => Err(InvalidValue::range(text, format!("1 to {MAX_SELECTORS}"))),
        },
        _ => parse_count(text),
    }
}

impl Resolver {
    /// Returns the limits of the hub, and those of `[[limit]]` rules for some streams.
    pub(super) fn limits(&mut self) -> Limits {
        let mut hub = Bounds::default();
        for (limit, name) in LIMITS {
            let is_explicit = self.raw.of(name).is_some();
            let max = self.value(name, |text| parse(limit, text));
            hub.set(limit, max.map(|max| Bound { max, is_explicit }));
        }
        if hub.get(Limit::Connections).is_none() {
            let max = sessions_by_file_limit();
            hub.set(Limit::Connections, Some(Bound { max, is_explicit: false }));
        }
        let tables = self.raw.take_tables("limit");
        let rules =
            tables.into_iter().filter_map(|(location, table)| self.limit_rule(&location, table));
        Limits { hub, rules: rules.collect() }
    }

    fn limit_rule(&mut self, location: &str, mut table: Table) -> Option<Rule> {
        let streams = table.remove("streams");
        let mut bounds = Bounds::default();
        let is_of_streams = |limit: &Limit| {
            !matches!(limit, Limit::Selectors | Limit::Chats | Limit::ChatsPerSubject)
        };
        for (limit, name) in LIMITS.into_iter().filter(|(limit, _)| is_of_streams(limit)) {
            let Some(value) = table.remove(name) else { continue };
            let max = self.parse(&value, |text| parse(limit, text)).pop();
            bounds.set(limit, max.map(|max| Bound { max, is_explicit: true }));
        }
        for (name, value) in table {
            self.raw.add_error(value.location, format!("unknown member {name:?} in [[limit]]"));
        }
        let Some(streams) = streams else {
            let why = "missing `streams` in [[limit]]: a selector or a list of selectors";
            self.raw.add_error(location, why);
            return None;
        };
        let streams = self.parse(&streams, |text| Selector::parse(text).map_err(|e| e.detail));
        Some(Rule { streams, bounds })
    }

    pub(super) fn memory_budget(&mut self) -> u64 {
        self.value("memory-budget", parse_positive_bytes)
            .unwrap_or_else(|| machine_memory_bytes() / 100 * MEMORY_PERCENT)
    }

    pub(super) fn trusted_proxies(&mut self) -> Vec<IpNet> {
        self.list("trusted-proxy", |text| {
            let address = text.parse::<IpAddr>().map(IpNet::from);
            text.parse()
                .or(address)
                .map_err(|_| format!("{text:?} is not an IP address or a network like 10.0.0.0/8"))
        })
    }
}

/// Returns the number of sessions that the open file limit allows, without the share for publishers
/// and refused subscribers.
fn sessions_by_file_limit() -> u64 {
    let connections = connections_by_file_limit() as u64;
    (connections - connections / OTHER_CONNECTIONS_SHARE).max(1)
}

/// Returns the number of connections of any kind that the open file limit allows.
pub(super) fn connections_by_file_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    // The hub raises its limit to the maximum before it serves.
    let files = limit.maximum.unwrap_or(u64::from(u32::MAX));
    files.saturating_sub(RESERVED_FILES).clamp(2, u64::from(u32::MAX)) as usize
}
