//! Configuration of retention, and retention of the hub's own streams.

use super::raw::Table;
use super::resolve::{
    Resolver, parse_count, parse_positive_bytes, parse_positive_duration, parse_selector,
};
use crate::event::Selector;
use crate::journal::{Durability, RetentionLimits, RetentionPolicy};
use crate::source::{
    CHAT_STREAMS, CHATS_STREAM, HEARTBEATS_KEPT, HEARTBEATS_STREAM, JOB_STREAMS, JOBS_KEPT,
    LOG_STREAM, OWN_STREAM_KEPT, REVOCATIONS_STREAM, STATS_STREAM, SYSTEM_STREAM, TAIL_KEPT_EVENTS,
    TAIL_STREAM,
};
use std::time::Duration;

/// Default of `--journal-max-bytes` in mode `memory`.
const MEMORY_JOURNAL_MAX_BYTES: u64 = 256 * 1024 * 1024;

impl Resolver {
    pub(super) fn retention(
        &mut self,
        durability: Durability,
        chat_records_kept: Duration,
    ) -> RetentionPolicy {
        let default_limits = RetentionLimits {
            max_age_ms: self
                .value("max-age", parse_positive_duration)
                .map(|age| age.as_millis() as u64),
            max_events: self.value("max-events", parse_count),
            max_bytes: self.value("max-bytes", parse_positive_bytes),
        };
        let mut total_bytes =
            self.value("journal-max-bytes", parse_positive_bytes).unwrap_or_default();
        if durability == Durability::Memory && self.raw.of("journal-max-bytes").is_none() {
            total_bytes = MEMORY_JOURNAL_MAX_BYTES;
        }
        let is_cluster = self.raw.of("cluster-nats").is_some();
        let rules = self.raw.take_tables("retention");
        let mut rules: Vec<_> =
            rules.into_iter().flat_map(|(location, rule)| self.rule(&location, rule)).collect();
        // After the configured rules, so that a configured rule takes precedence.
        let own_streams = [SYSTEM_STREAM, LOG_STREAM, STATS_STREAM]
            .into_iter()
            .flat_map(|stream| of_each_hub(stream, is_cluster));
        let hour = RetentionLimits {
            max_age_ms: Some(OWN_STREAM_KEPT.as_millis() as u64),
            ..default_limits
        };
        rules.extend(own_streams.map(|stream| (stream, hour)));
        // Before the configured rules: without the read positions lines would be published twice.
        let positions =
            RetentionLimits { max_events: Some(TAIL_KEPT_EVENTS), ..RetentionLimits::default() };
        // Likewise chats would lose their beginnings, or their keys would start a second run.
        let aged = |age: Duration| RetentionLimits {
            max_age_ms: Some(age.as_millis() as u64),
            ..RetentionLimits::default()
        };
        let records = aged(chat_records_kept);
        // Chats delete their streams; a build without them removes those of another build by age.
        let chats = if cfg!(feature = "chat") {
            RetentionLimits::default()
        } else {
            aged(chat_records_kept)
        };
        for (stream, limits) in [(TAIL_STREAM, positions), (CHATS_STREAM, records)] {
            rules.splice(0..0, of_each_hub(stream, is_cluster).map(|stream| (stream, limits)));
        }
        // A hub that was away must find all of them.
        let kept = RetentionLimits::default();
        rules.splice(0..0, Selector::parse(REVOCATIONS_STREAM).map(|stream| (stream, kept)));
        rules.splice(0..0, Selector::parse(CHAT_STREAMS).map(|streams| (streams, chats)));
        let week =
            RetentionLimits { max_age_ms: Some(JOBS_KEPT.as_millis() as u64), ..default_limits };
        rules.extend(Selector::parse(JOB_STREAMS).map(|streams| (streams, week)));
        let day = RetentionLimits {
            max_age_ms: Some(HEARTBEATS_KEPT.as_millis() as u64),
            ..default_limits
        };
        rules.extend(Selector::parse(HEARTBEATS_STREAM).map(|stream| (stream, day)));
        RetentionPolicy { rules, otherwise: default_limits, total_bytes }
    }

    fn rule(&mut self, location: &str, mut rule: Table) -> Vec<(Selector, RetentionLimits)> {
        let mut take = |name: &str| rule.remove(name);
        let (streams, age) = (take("streams"), take("max-age"));
        let (events, bytes) = (take("max-events"), take("max-bytes"));
        for (name, value) in rule {
            self.raw.add_error(value.location, format!("unknown member {name:?} in [[retention]]"));
        }
        let Some(streams) = streams else {
            let why = "missing `streams` in [[retention]]: a selector or a list of selectors";
            self.raw.add_error(location, why);
            return Vec::new();
        };
        let selectors = self.parse(&streams, parse_selector);
        let limits = RetentionLimits {
            max_age_ms: age
                .and_then(|w| self.parse(&w, parse_positive_duration).pop())
                .map(|age| age.as_millis() as u64),
            max_events: events.and_then(|w| self.parse(&w, parse_count).pop()),
            max_bytes: bytes.and_then(|w| self.parse(&w, parse_positive_bytes).pop()),
        };
        selectors.into_iter().map(|selector| (selector, limits)).collect()
    }
}
/// Returns the selectors of a stream that each hub of a cluster has for itself: that of a single hub, or those
/// of all hubs.
fn of_each_hub(stream: &str, is_cluster: bool) -> impl Iterator<Item = Selector> + use<> {
    let of_cluster = is_cluster.then(|| format!("{stream}.*"));
    std::iter::once(stream.to_owned()).chain(of_cluster).flat_map(|text| Selector::parse(&text))
}
