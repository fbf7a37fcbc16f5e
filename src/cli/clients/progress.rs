//! Progress display; without a terminal it prints nothing.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// Interval of updates.
const EVERY: Duration = Duration::from_millis(100);

/// Counter with a progress display.
pub(super) struct ProgressCounter {
    bar: ProgressBar,
}

impl ProgressCounter {
    /// Creates a counter of `unit`, from zero.
    pub(super) fn new(unit: &str) -> Self {
        // The target is hidden if standard error is not a terminal.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let template = format!("{{spinner}} {{human_pos}} {unit}, {{per_sec}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(EVERY);
        Self { bar }
    }

    pub(super) fn add(&mut self, additional: usize) {
        self.bar.inc(additional as u64);
    }

    pub(super) fn count(&self) -> u64 {
        self.bar.position()
    }

    /// Stops updating the display.
    pub(super) fn finish(&self) {
        self.bar.finish();
    }
}
