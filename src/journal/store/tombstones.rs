//! The limit on tombstones of streams that were deleted or emptied.
//!
//! A tombstone records that a stream was removed, for clients that resume. Names that are used only
//! once would fill the disk with tombstones, outside every limit, so the oldest are dropped. The
//! hub then knows nothing about streams removed up to some position: a client that resumes before
//! it gets a gap.

use super::super::keys::{self, StreamNumber, Tombstone};
use super::super::kv::Kv;
use super::Store;
use crate::event::{Position, StreamName};
use crate::journal::error::JournalError;
use std::collections::VecDeque;

/// Maximum number of tombstones; each takes about 60 bytes and its name. A resume by pattern reads
/// all.
const MAX_TOMBSTONES: usize = 1 << 17;
/// Interval between two samples, in tombstones.
const SAMPLED: usize = 1 << 8;

impl Store {
    /// Returns the number under which the idempotency keys of a stream that does not exist are
    /// stored. They outlive a stream that retention emptied, but not one that was deleted.
    pub(super) fn keys_number_of_removed(
        &self,
        name: &StreamName,
    ) -> Result<Option<StreamNumber>, JournalError> {
        let tombstone = match self.pending_tombstones.get(name) {
            Some(tombstone) => Some(*tombstone),
            None => {
                let value = self.kv.get(&keys::tombstone(name.as_str()))?;
                value.and_then(|value| Tombstone::read(&value))
            }
        };
        let is_kept = |tombstone: &keys::Tombstone| {
            !tombstone.deleted && tombstone.position > self.totals.tombstones_lost_to
        };
        Ok(tombstone.filter(is_kept).map(|tombstone| tombstone.keys_number))
    }
}

/// Finds the position up to which tombstones are dropped.
pub(super) struct TombstoneLimit {
    /// Heads at the time of the samples, ascending.
    samples: VecDeque<Position>,
    since_sample: usize,
    max_samples: usize,
    sample_interval: usize,
}

impl TombstoneLimit {
    /// Starts with the tombstones that are stored.
    pub(super) fn load(kv: &Kv) -> Result<Self, JournalError> {
        let mut positions = Vec::new();
        for pair in kv.walk(vec![keys::TOMBSTONE], keys::end_of(keys::TOMBSTONE)) {
            let (_, value) = pair?;
            positions.extend(Tombstone::read(&value).map(|tombstone| tombstone.position));
        }
        Ok(Self::with_limits(MAX_TOMBSTONES, SAMPLED, positions))
    }

    fn with_limits(max: usize, sample_interval: usize, mut positions: Vec<Position>) -> Self {
        positions.sort_unstable();
        let max_samples = (max / sample_interval).max(1);
        let samples = VecDeque::new();
        let mut limit = Self { samples, since_sample: 0, max_samples, sample_interval };
        for position in positions {
            limit.add(position);
        }
        limit
    }

    /// Counts another tombstone, created while `head` is the last entry. If there are too many,
    /// returns the position up to which they are dropped.
    pub(super) fn add(&mut self, head: Position) -> Option<Position> {
        self.since_sample += 1;
        if self.since_sample < self.sample_interval {
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
    fn limit_keeps_the_maximum_and_at_most_one_sample_more() {
        let mut limit = TombstoneLimit::with_limits(100, 10, Vec::new());
        let mut lost_to = 0;
        for n in 1..=1_000 {
            if let Some(dropped_to) = limit.add(Position::from_stored(n)) {
                assert!(dropped_to.get() > lost_to);
                lost_to = dropped_to.get();
            }
            let left = n - lost_to;
            assert!(left <= 110, "{left} are left after {n}");
            assert!(n < 100 || left >= 100, "{left} are left after {n}");
        }
    }

    #[test]
    fn existing_tombstones_count_by_their_positions() {
        let positions = (1..=95).rev().map(Position::from_stored).collect();
        let mut limit = TombstoneLimit::with_limits(100, 10, positions);
        let dropped_to = (500..600).find_map(|n| limit.add(Position::from_stored(n)));
        assert_eq!(dropped_to, Some(Position::from_stored(10)));
    }
}
