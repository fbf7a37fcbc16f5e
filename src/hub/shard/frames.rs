//! The frames of a batch: built once for a view, sliced for every group.

use super::shared_queue::SharedQueue;
use crate::journal::{CommittedBatch, History};
use crate::wire::{self, View};
use bytes::Bytes;

/// Divisor of a batch's bytes: a part of at least this fraction is sliced, a smaller one copied.
const SLICED_SHARE: usize = 4;

/// The frames of a batch in one view: built once, sliced for every group.
pub(in crate::hub) struct Frames {
    all: Bytes,
    /// End of the frame of each entry; a frame begins at the end of the one before.
    ends: Vec<usize>,
}

impl Frames {
    pub(in crate::hub) fn of(
        batch: &CommittedBatch,
        view: &View,
        history: &History,
        indexes: impl Iterator<Item = u32>,
    ) -> Self {
        let (mut is_needed, mut count) = (vec![false; batch.entries.len()], 0);
        for index in indexes {
            is_needed[index as usize] = true;
            count += 1;
        }
        let mut all = Vec::with_capacity(256 * count.min(is_needed.len()));
        let mut ends = Vec::with_capacity(is_needed.len());
        for (entry, is_needed) in batch.entries.iter().zip(is_needed) {
            if is_needed {
                wire::entry(&mut all, history.id(entry.position), entry, view, None);
            }
            ends.push(all.len());
        }
        Self { all: all.into(), ends }
    }

    /// Builds the frames of some entries for one group.
    pub(in crate::hub) fn of_group(
        batch: &CommittedBatch,
        entries: &[u32],
        history: &History,
        view: &View,
        queue: &SharedQueue,
    ) -> Bytes {
        let mut frames = Vec::new();
        for entry in entries.iter().filter_map(|index| batch.entries.get(*index as usize)) {
            let id = history.id(entry.position);
            wire::entry(&mut frames, id, entry, view, Some(&queue.interest));
        }
        frames.into()
    }

    fn range(&self, entry: u32) -> std::ops::Range<usize> {
        let entry = entry as usize;
        let start = entry.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[entry]
    }

    /// Returns the frames of some entries: a slice if they are contiguous and large enough,
    /// otherwise a copy.
    pub(in crate::hub) fn of_entries(&self, entries: &[u32]) -> Bytes {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Bytes::new();
        };
        let span = self.range(*first).start..self.range(*last).end;
        let length: usize = entries.iter().map(|entry| self.range(*entry).len()).sum();
        // A slice keeps the whole batch in memory until its slowest reader has read it.
        if length == span.len() && length >= self.all.len() / SLICED_SHARE {
            return self.all.slice(span);
        }
        let mut copy = Vec::with_capacity(length);
        for entry in entries {
            copy.extend_from_slice(&self.all[self.range(*entry)]);
        }
        copy.into()
    }
}
