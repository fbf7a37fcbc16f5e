//! The limit on tombstones: traces of streams that are gone.
//!
//! A trace of each tells whoever comes back what became of it. Names that are used once and never again
//! would fill the disk with them, outside every limit; so the oldest go, up to a place before which
//! the hub cannot tell any more: whoever resumes before it is told of a gap.

use crate::event::Position;
use std::collections::VecDeque;

/// Traces that are kept; each takes about 60 bytes and its name. A resume by a pattern reads all.
const MAX_TRACES: usize = 1 << 17;
/// Interval between two samples, in traces.
const SAMPLED: usize = 1 << 8;

/// Finds the place up to which traces go.
pub(super) struct TombstoneLimit {
    /// Last entries at the moments of the samples, ascending.
    samples: VecDeque<Position>,
    since_sample: usize,
    max_samples: usize,
    sampled: usize,
}

impl TombstoneLimit {
    /// Begins with the places of the traces that are there.
    pub(super) fn new(places: Vec<Position>) -> Self {
        Self::of(MAX_TRACES, SAMPLED, places)
    }

    fn of(max: usize, sampled: usize, mut places: Vec<Position>) -> Self {
        places.sort_unstable();
        let max_samples = (max / sampled).max(1);
        let samples = VecDeque::new();
        let mut limit = Self { samples, since_sample: 0, max_samples, sampled };
        for place in places {
            limit.note(place);
        }
        limit
    }

    /// Notes another trace, made while `head` is the last entry. Where there are too many, returns the
    /// place up to which they go.
    pub(super) fn note(&mut self, head: Position) -> Option<Position> {
        self.since_sample += 1;
        if self.since_sample < self.sampled {
            return None;
        }
        self.since_sample = 0;
        self.samples.push_back(head);
        if self.samples.len() > self.max_samples { self.samples.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_stay_as_may_and_no_fewer_than_that_without_a_sample() {
        let mut limit = TombstoneLimit::of(100, 10, Vec::new());
        let mut lost_to = 0;
        for n in 1..=1_000 {
            if let Some(moved) = limit.note(Position::from_stored(n)) {
                assert!(moved.get() > lost_to);
                lost_to = moved.get();
            }
            let left = n - lost_to;
            assert!(left <= 110, "{left} are left after {n}");
            assert!(n < 100 || left >= 100, "{left} are left after {n}");
        }
    }

    #[test]
    fn those_that_are_there_at_a_start_count_with_their_places() {
        let places = (1..=95).rev().map(Position::from_stored).collect();
        let mut limit = TombstoneLimit::of(100, 10, places);
        let moved = (500..600).find_map(|n| limit.note(Position::from_stored(n)));
        assert_eq!(moved, Some(Position::from_stored(10)));
    }
}
