//! Metrics of searches.

use super::super::reasons::SearchOutcome;
use super::{MetricFactory, Telemetry};
use prometheus::{IntCounter, IntCounterVec};

pub(super) struct SearchMetrics {
    searches: IntCounterVec,
    events: IntCounter,
}

impl SearchMetrics {
    pub(super) fn new(make: &MetricFactory) -> Result<Self, prometheus::Error> {
        Ok(Self {
            searches: make.counters(
                "fanfare_searches_total",
                "Searches of stored events, by result",
                "outcome",
                SearchOutcome::ALL.iter().map(|outcome| outcome.as_str()),
            )?,
            events: make.counter("fanfare_search_events_total", "Events that searches examined")?,
        })
    }
}

impl Telemetry {
    /// Counts an ended search that examined `events` events.
    pub fn search_ended(&self, outcome: SearchOutcome, events: u64) {
        self.0.search.searches.with_label_values(&[outcome.as_str()]).inc();
        self.0.search.events.inc_by(events);
    }
}
