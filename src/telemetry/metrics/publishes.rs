//! Published events, and refused publishes.

use super::super::reasons::{Protocol, PublishRefused};
use super::factory::LATENCY_BUCKETS;
use super::{MetricFactory, Telemetry};
use prometheus::{Histogram, IntCounter, IntCounterVec};
use std::time::Duration;

/// Event types with a label value of their own; others are `other`, so that labels stay bounded.
const TYPES: [&str; 4] = ["message", "log", "metric", "heartbeat"];
/// Label value of all other types.
const OTHER: &str = "other";

pub(super) struct PublishMetrics {
    /// Counters by type, those of [`TYPES`] first.
    pub(super) events: Vec<IntCounter>,
    by_protocol: IntCounterVec,
    pub(super) bytes: IntCounter,
    pub(super) refused: IntCounterVec,
    latency: Histogram,
    pattern_events: IntCounterVec,
    pattern_deliveries: IntCounterVec,
}

/// Counts of one batch, collected without shared state.
#[derive(Default)]
pub struct Published {
    events: [u64; TYPES.len() + 1],
    bytes: u64,
    due: u64,
}

impl Published {
    /// Counts an event of a type, with the bytes of its data and the number of sessions that it
    /// matches.
    pub fn add(&mut self, kind: &str, bytes: usize, subscribers: u32) {
        let index = TYPES.iter().position(|known| *known == kind).unwrap_or(TYPES.len());
        self.events[index] += 1;
        self.bytes += bytes as u64;
        self.due += u64::from(subscribers);
    }
}

/// Metrics of the streams of one configured pattern.
pub struct PatternMetrics {
    events: IntCounter,
    deliveries: IntCounter,
}

impl PatternMetrics {
    /// Counts an event and its deliveries, one for each subscriber.
    pub fn published(&self, subscribers: u32) {
        self.events.inc();
        self.deliveries.inc_by(u64::from(subscribers));
    }
}

impl PublishMetrics {
    pub(super) fn new(make: &MetricFactory) -> Result<Self, prometheus::Error> {
        let labels = TYPES.into_iter().chain([OTHER]);
        let events = make.counters(
            "fanfare_events_published_total",
            "Events published, by type",
            "type",
            labels.clone(),
        )?;
        Ok(Self {
            events: labels.map(|label| events.with_label_values(&[label])).collect(),
            by_protocol: make.counters(
                "fanfare_published_by_protocol_total",
                "Events published by clients, by protocol",
                "protocol",
                Protocol::ALL.iter().map(|protocol| protocol.as_str()),
            )?,
            bytes: make
                .counter("fanfare_published_bytes_total", "Bytes of the data of published events")?,
            refused: make.counters(
                "fanfare_publishes_refused_total",
                "Publish requests refused, by reason",
                "reason",
                PublishRefused::ALL.iter().map(|r| r.as_str()),
            )?,
            latency: make.histogram(
                "fanfare_publish_seconds",
                "Time from a publish request's body to its receipt, or until its client disconnected",
                &LATENCY_BUCKETS,
            )?,
            pattern_events: make.open_counters(
                "fanfare_stream_events_published_total",
                "Events published to the streams of each pattern in --metrics-streams; no \
                     series without one",
                &["streams"],
            )?,
            pattern_deliveries: make.open_counters(
                "fanfare_stream_deliveries_total",
                "Deliveries of those events; no series without a pattern",
                &["streams"],
            )?,
        })
    }
}

impl Telemetry {
    /// Counts events of a client that were published.
    pub fn accepted(&self, protocol: Protocol, events: u64) {
        self.0.publishes.by_protocol.with_label_values(&[protocol.as_str()]).inc_by(events);
    }

    /// Counts a published batch.
    pub fn events_published(&self, published: &Published) {
        let publishes = &self.0.publishes;
        for (counter, events) in publishes.events.iter().zip(published.events) {
            if events > 0 {
                counter.inc_by(events);
            }
        }
        publishes.bytes.inc_by(published.bytes);
        self.0.sessions.due.inc_by(published.due);
    }

    /// Returns the metrics of a pattern.
    pub fn of_pattern(&self, pattern: &str) -> PatternMetrics {
        let publishes = &self.0.publishes;
        PatternMetrics {
            events: publishes.pattern_events.with_label_values(&[pattern]),
            deliveries: publishes.pattern_deliveries.with_label_values(&[pattern]),
        }
    }

    /// Records the time until a publish request was answered, or its client gave up.
    pub fn publish_took(&self, duration: Duration) {
        self.0.publishes.latency.observe(duration.as_secs_f64());
    }

    /// Counts a refused publish request.
    pub fn publish_refused(&self, reason: PublishRefused) {
        self.0.publishes.refused.with_label_values(&[reason.as_str()]).inc();
    }
}
