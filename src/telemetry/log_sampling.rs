//! Log lines that come in masses: some of each kind, and how many were left out.
//!
//! A storm of reconnects must show in the log and must not be made worse by it.

use dashmap::DashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Lines of one kind that are written in a second.
const LINES_A_SECOND: u64 = 100;

/// The kind of nearly all lines.
const USUAL: &str = "ok";

/// Lines by kind, in the second that runs.
#[derive(Default, Debug)]
pub(super) struct LogSampler {
    usual: AtomicU64,
    others: DashMap<&'static str, AtomicU64>,
}

impl LogSampler {
    /// Returns true if another line of this kind is written. There are as many kinds as reasons.
    pub(super) fn admit(&self, kind: &'static str) -> bool {
        let counted = |lines: &AtomicU64| lines.fetch_add(1, Ordering::Relaxed) < LINES_A_SECOND;
        if kind == USUAL {
            return counted(&self.usual);
        }
        match self.others.get(kind) {
            Some(lines) => counted(&lines),
            None => counted(&self.others.entry(kind).or_default()),
        }
    }

    /// Returns true if another line of the usual kind would be written, for values that only a line
    /// needs.
    pub(super) fn has_room(&self) -> bool {
        self.usual.load(Ordering::Relaxed) < LINES_A_SECOND
    }

    /// Returns the number of suppressed lines of each kind since the last call.
    pub(super) fn suppressed(&self) -> Vec<(&'static str, u64)> {
        let others =
            self.others.iter().map(|lines| (*lines.key(), lines.swap(0, Ordering::Relaxed)));
        let usual = (USUAL, self.usual.swap(0, Ordering::Relaxed));
        let left =
            others.chain([usual]).map(|(kind, lines)| (kind, lines.saturating_sub(LINES_A_SECOND)));
        left.filter(|(_, lines)| *lines > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_of_each_kind_are_written_and_the_others_are_counted() {
        let lines = LogSampler::default();
        let written = (0..1000).filter(|_| lines.admit("draining")).count() as u64;
        assert_eq!(written, LINES_A_SECOND);
        assert!(lines.admit("expired"), "another kind has its own");
        assert_eq!(lines.suppressed(), [("draining", 900)]);
        assert!(lines.admit("draining") && lines.suppressed().is_empty(), "the next second");
    }
}
