//! Metrics of streams, only for configured patterns, so that the number of labels stays bounded.

use crate::event::{Entry, Selector};
use crate::telemetry::{self, Telemetry};

/// The configured patterns with their metrics.
pub(in crate::hub) struct PatternMetrics(Vec<(Selector, telemetry::PatternMetrics)>);

impl PatternMetrics {
    pub(in crate::hub) fn new(patterns: &[Selector], telemetry: &Telemetry) -> Self {
        let metrics = patterns
            .iter()
            .map(|pattern| (pattern.clone(), telemetry.of_pattern(pattern.as_str())));
        Self(metrics.collect())
    }

    /// Counts an event that is sent to `subscribers` sessions, once for each pattern it matches.
    pub(in crate::hub) fn record(&self, entry: &Entry, subscribers: u32) {
        for (pattern, metrics) in &self.0 {
            if entry.streams.iter().any(|stream| pattern.matches(stream)) {
                metrics.published(subscribers);
            }
        }
    }
}
