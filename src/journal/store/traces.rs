//! How many streams that are gone are remembered.
//!
//! A trace of each tells whoever comes back what became of it. Names that are used once and never again
//! would fill the disk with them, outside every limit; so the oldest go, and with them goes the place
//! from which the hub cannot tell any more: whoever resumes before it is told of a gap.

use crate::event::{Position, Timestamp};
use std::collections::VecDeque;

/// Traces that are kept; each takes about 60 bytes and its name. A resume by a pattern reads all.
const MAX_TRACES: usize = 1 << 17;
/// Of so many the time of one is noted.
const SAMPLED: usize = 1 << 8;

/// A moment, and the last entry at that moment.
type Sample = (Timestamp, Position);

/// Finds the moment before which traces go.
pub(super) struct TraceLimit {
    samples: VecDeque<Sample>,
    since_sample: usize,
    max_samples: usize,
    sampled: usize,
}

impl TraceLimit {
    /// Begins with the times of the traces that are there; `head` is the last entry.
    pub(super) fn new(times: Vec<Timestamp>, head: Position) -> Self {
        Self::of(MAX_TRACES, SAMPLED, times, head)
    }

    fn of(max: usize, sampled: usize, mut times: Vec<Timestamp>, head: Position) -> Self {
        times.sort_unstable();
        let max_samples = (max / sampled).max(1);
        let mut limit = Self { samples: VecDeque::new(), since_sample: 0, max_samples, sampled };
        for time in times {
            limit.note(time, head);
        }
        limit
    }

    /// Notes another trace, made at `time` while `head` is the last entry. Where there are too many,
    /// returns the moment before which they go, and the place up to which their streams may have been.
    pub(super) fn note(&mut self, time: Timestamp, head: Position) -> Option<Sample> {
        self.since_sample += 1;
        if self.since_sample < self.sampled {
            return None;
        }
        self.since_sample = 0;
        self.samples.push_back((time, head));
        if self.samples.len() > self.max_samples { self.samples.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u64) -> Sample {
        (Timestamp::from_ms(n), Position::from_stored(n))
    }

    #[test]
    fn as_many_stay_as_may_and_no_fewer_than_that_without_a_sample() {
        let mut limit = TraceLimit::of(100, 10, Vec::new(), Position::ZERO);
        let mut before = Timestamp::default();
        for n in 1..=1_000 {
            let (time, head) = at(n);
            if let Some((moved, place)) = limit.note(time, head) {
                assert!(moved > before && place == Position::from_stored(moved.ms()));
                before = moved;
            }
            let left = n - before.ms().saturating_sub(1);
            assert!(left <= 111, "{left} are left after {n}");
            assert!(n < 100 || left >= 100, "{left} are left after {n}");
        }
    }

    #[test]
    fn those_that_are_there_at_a_start_count() {
        let times = (1..=95).rev().map(Timestamp::from_ms).collect();
        let mut limit = TraceLimit::of(100, 10, times, Position::from_stored(500));
        let moved = (96..=110).find_map(|n| limit.note(at(n).0, at(n).1));
        assert_eq!(moved, Some((Timestamp::from_ms(10), Position::from_stored(500))));
    }
}
