//! Totals for a dashboard, available without a scrape.

use super::Telemetry;
use prometheus::IntCounterVec;
use prometheus::core::Collector as _;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Totals since the start, and current values.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Totals {
    /// Open sessions.
    pub sessions: u64,
    /// Sessions that read from history.
    pub sessions_catching_up: u64,
    /// Sessions that were opened.
    pub sessions_opened: u64,
    /// Sessions that were closed.
    pub sessions_closed: u64,
    /// Subscribers that were refused.
    pub subscribers_refused: u64,
    /// Events that were published.
    pub events_published: u64,
    /// Bytes of the data of published events.
    pub published_bytes: u64,
    /// Publish requests that were refused.
    pub publishes_refused: u64,
    /// Events that were delivered to live sessions.
    pub deliveries: u64,
    /// Bytes of the events that were delivered to live sessions.
    pub delivered_bytes: u64,
    /// Events that were sent to sessions from history.
    pub events_replayed: u64,
    /// Gaps: times that retention removed events before a session read them.
    pub session_gaps: u64,
    /// Credentials that were refused.
    pub credentials_refused: u64,
    /// Bytes in memory that at least one live session has not taken.
    pub session_queue_bytes: u64,
    /// Bytes of the retained entries.
    pub journal_bytes: u64,
    /// Bytes of entries above which the oldest are removed.
    pub journal_max_bytes: u64,
    /// Streams with history.
    pub journal_streams: u64,
    /// Bytes of the journal's files.
    pub journal_disk_bytes: u64,
    /// Free bytes on the journal's disk.
    pub journal_disk_free_bytes: u64,
}

/// Durations since the start, as a histogram.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct Latency {
    /// Number of observations.
    pub count: u64,
    /// Sum of all observations, in seconds.
    pub sum_s: f64,
    /// Cumulative buckets.
    pub buckets: Vec<Bucket>,
}

/// A bucket of a histogram.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct Bucket {
    /// Upper bound, in seconds.
    pub le_s: f64,
    /// Number of observations up to the bound.
    pub count: u64,
}

/// Refusals by kind and reason, without reasons that never occurred.
pub type Refusals = BTreeMap<&'static str, BTreeMap<String, u64>>;

/// Returns the values of `counters` that are not 0, by their only label.
fn by_label(counters: &IntCounterVec) -> BTreeMap<String, u64> {
    let families = counters.collect();
    let series = families.iter().flat_map(|family| family.get_metric());
    let counts = series.filter_map(|metric| {
        let label = metric.get_label().first()?.value().to_owned();
        Some((label, metric.get_counter().get_value() as u64))
    });
    counts.filter(|(_, count)| *count > 0).collect()
}

/// Returns the sum over all label values.
pub(super) fn sum(counters: &IntCounterVec) -> u64 {
    let families = counters.collect();
    let series = families.iter().flat_map(|family| family.get_metric());
    series.map(|metric| metric.get_counter().get_value() as u64).sum()
}

impl Telemetry {
    /// Returns the totals.
    pub fn totals(&self) -> Totals {
        let (sessions, publishes, journal) = (&self.0.sessions, &self.0.publishes, &self.0.journal);
        let current = |gauge: &prometheus::IntGauge| u64::try_from(gauge.get()).unwrap_or_default();
        Totals {
            sessions: current(&sessions.live),
            sessions_catching_up: current(&sessions.catching_up),
            sessions_opened: sum(&sessions.opened),
            sessions_closed: sum(&sessions.closed),
            subscribers_refused: sum(&sessions.refused),
            events_published: publishes.events.iter().map(prometheus::IntCounter::get).sum(),
            published_bytes: publishes.bytes.get(),
            publishes_refused: sum(&publishes.refused),
            deliveries: sessions.deliveries.get(),
            delivered_bytes: sessions.delivered_bytes.get(),
            events_replayed: sum(&sessions.replayed),
            session_gaps: sessions.gaps.get(),
            credentials_refused: sum(&self.0.access.credentials),
            session_queue_bytes: current(&sessions.queued_bytes),
            journal_bytes: current(&journal.bytes),
            journal_max_bytes: current(&journal.max_bytes),
            journal_streams: current(&journal.streams),
            journal_disk_bytes: current(&journal.disk_bytes),
            journal_disk_free_bytes: current(&journal.disk_free_bytes),
        }
    }

    /// Returns the durations from the commit of a batch until it is written to the sockets of all
    /// its live sessions.
    pub fn fan_out(&self) -> Latency {
        let families = self.0.sessions.fanout.collect();
        let metric = families.iter().flat_map(|family| family.get_metric()).next();
        let histogram = metric.map(|metric| metric.get_histogram().clone()).unwrap_or_default();
        let bucket = |bucket: &prometheus::proto::Bucket| Bucket {
            le_s: bucket.upper_bound(),
            count: bucket.cumulative_count(),
        };
        Latency {
            count: histogram.get_sample_count(),
            sum_s: histogram.get_sample_sum(),
            buckets: histogram.get_bucket().iter().map(bucket).collect(),
        }
    }

    /// Returns all refusals, by kind and reason.
    pub fn refusals(&self) -> Refusals {
        let access = &self.0.access;
        BTreeMap::from([
            ("subscribers", by_label(&self.0.sessions.refused)),
            ("publishes", by_label(&self.0.publishes.refused)),
            ("credentials", by_label(&access.credentials)),
            ("connections", by_label(&access.connections)),
            ("requests", by_label(&access.requests)),
        ])
    }
}
