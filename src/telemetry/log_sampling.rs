//! Limits frequent log lines: some of each kind are written, the others are counted.
//!
//! A storm of reconnects must show in the log without being made worse by it.

use dashmap::DashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Maximum number of lines of one kind in a second.
const LINES_A_SECOND: u64 = 100;

/// The kind of nearly all lines.
const OK_OUTCOME: &str = "ok";

/// Number of lines by kind in the current second.
#[derive(Default, Debug)]
pub(super) struct LogSampler {
    usual: AtomicU64,
    others: DashMap<&'static str, AtomicU64>,
}

impl LogSampler {
    /// Counts a line; returns true if it may be written. The number of kinds is that of the
    /// reasons.
    pub(super) fn admit(&self, kind: &'static str) -> bool {
        let count = |lines: &AtomicU64| lines.fetch_add(1, Ordering::Relaxed) < LINES_A_SECOND;
        if kind == OK_OUTCOME {
            return count(&self.usual);
        }
        match self.others.get(kind) {
            Some(lines) => count(&lines),
            None => count(&self.others.entry(kind).or_default()),
        }
    }

    /// Returns true if another line of the usual kind would be written, for values that only a line
    /// needs.
    pub(super) fn has_capacity(&self) -> bool {
        self.usual.load(Ordering::Relaxed) < LINES_A_SECOND
    }

    /// Returns the number of suppressed lines of each kind since the last call.
    pub(super) fn suppressed(&self) -> Vec<(&'static str, u64)> {
        let others =
            self.others.iter().map(|lines| (*lines.key(), lines.swap(0, Ordering::Relaxed)));
        let usual = (OK_OUTCOME, self.usual.swap(0, Ordering::Relaxed));
        let suppressed =
            others.chain([usual]).map(|(kind, lines)| (kind, lines.saturating_sub(LINES_A_SECOND)));
        suppressed.filter(|(_, lines)| *lines > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_of_a_kind_are_suppressed_and_counted() {
        let lines = LogSampler::default();
        let written = (0..1000).filter(|_| lines.admit("draining")).count() as u64;
        assert_eq!(written, LINES_A_SECOND);
        assert!(lines.admit("expired"), "another kind has its own limit");
        assert_eq!(lines.suppressed(), [("draining", 900)]);
        assert!(lines.admit("draining") && lines.suppressed().is_empty(), "the next second");
    }
}
