//! What the hub publishes by itself.

use super::{Maker, Telemetry};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// The sources there may be.
const SOURCES: [&str; 3] = ["heartbeats", "log", "system"];
/// What a source of heartbeats may be.
const STATUSES: [&str; 3] = ["up", "late", "down"];

pub(super) struct Figures {
    up: IntGaugeVec,
    events: IntCounterVec,
    refused: IntCounterVec,
    restarts: IntCounterVec,
    heartbeats: HeartbeatFigures,
}

/// How many sources of heartbeats are `up`, `late` and `down`.
#[derive(Clone)]
pub struct HeartbeatFigures([IntGauge; STATUSES.len()]);

impl HeartbeatFigures {
    /// So many are each.
    pub fn set(&self, counts: [usize; STATUSES.len()]) {
        for (gauge, count) in self.0.iter().zip(counts) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// The figures of one source.
#[derive(Clone)]
pub struct SourceFigures {
    up: IntGauge,
    events: IntCounter,
    refused: IntCounter,
    restarts: IntCounter,
}

impl Figures {
    pub(super) fn new(make: &Maker) -> Result<Self, prometheus::Error> {
        let up = make.gauges(
            (
                "fanfare_source_up",
                "1 while a source runs; 0 where it is off or waits to be restarted",
            ),
            &["source"],
        )?;
        for source in SOURCES {
            up.with_label_values(&[source]).set(0);
        }
        let heartbeats = make.gauges(
            ("fanfare_heartbeat_sources", "Services that send heartbeats, by how they are"),
            &["status"],
        )?;
        let heartbeats = STATUSES.map(|status| heartbeats.with_label_values(&[status]));
        let counters = |name, help| make.counters((name, help), "source", SOURCES.into_iter());
        Ok(Self {
            up,
            heartbeats: HeartbeatFigures(heartbeats),
            events: counters(
                "fanfare_source_events_total",
                "Events that a source of the hub's own has published",
            )?,
            refused: counters(
                "fanfare_source_events_refused_total",
                "Events of a source that were refused, and are lost",
            )?,
            restarts: counters(
                "fanfare_source_restarts_total",
                "Times a source has failed and was started again",
            )?,
        })
    }
}

impl Telemetry {
    /// How many sources of heartbeats are what.
    pub fn heartbeats(&self) -> HeartbeatFigures {
        self.0.sources.heartbeats.clone()
    }

    /// The figures of a source, which runs from here on.
    pub fn of_source(&self, name: &str) -> SourceFigures {
        let sources = &self.0.sources;
        let up = sources.up.with_label_values(&[name]);
        up.set(1);
        SourceFigures {
            up,
            events: sources.events.with_label_values(&[name]),
            refused: sources.refused.with_label_values(&[name]),
            restarts: sources.restarts.with_label_values(&[name]),
        }
    }
}

impl SourceFigures {
    /// So many events were published.
    pub fn published(&self, events: u64) {
        self.events.inc_by(events);
    }

    /// So many were refused.
    pub fn refused(&self, events: u64) {
        self.refused.inc_by(events);
    }

    /// It failed.
    pub fn stopped(&self) {
        self.up.set(0);
    }

    /// It was started again.
    pub fn restarted(&self) {
        self.up.set(1);
        self.restarts.inc();
    }
}
