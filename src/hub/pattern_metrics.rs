//! Figures of some streams: of the patterns that the configuration names, and of no others, so that
//! labels stay bounded.

use crate::event::{Entry, Selector};
use crate::telemetry::{PatternFigures, Telemetry};

/// The patterns with their figures.
pub(super) struct PatternMetrics(Vec<(Selector, PatternFigures)>);

impl PatternMetrics {
    pub(super) fn new(patterns: &[Selector], telemetry: &Telemetry) -> Self {
        let shown = patterns.iter().map(|pattern| {
            let figures = telemetry.of_pattern(pattern.as_str());
            (pattern.clone(), figures)
        });
        Self(shown.collect())
    }

    /// An event that so many sessions are sent; it is counted once for each pattern.
    pub(super) fn note(&self, entry: &Entry, subscribers: u32) {
        for (pattern, figures) in &self.0 {
            if entry.streams.iter().any(|stream| pattern.matches(stream)) {
                figures.published(subscribers);
            }
        }
    }
}
