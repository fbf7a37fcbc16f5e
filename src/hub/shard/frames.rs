//! The frames of a batch: built once for a view, sliced for every group.

use super::shared_queue::SharedQueue;
#[cfg(feature = "durable-streams")]
use crate::event::{Body, EndReason};
use crate::event::{Entry, Interest};
use crate::journal::{CommittedBatch, History};
use crate::wire::{self, View};
use bytes::Bytes;

/// Divisor of a batch's bytes: a part of at least this fraction is sliced, a smaller one copied.
const SLICED_SHARE: usize = 4;

/// Appends the frame of a stored entry. It is built after the commit, so that a reader of the Durable Streams
/// protocol sees whether it has everything.
pub(in crate::hub) fn frame(
    out: &mut Vec<u8>,
    history: &History,
    entry: &Entry,
    view: &View,
    reader: Option<&Interest>,
) {
    let id = history.id(entry.position);
    wire::entry(out, id, entry, view, reader);
    #[cfg(feature = "durable-streams")]
    if let Some(follow) = &view.follow {
        let followed = reader.and_then(|reader| reader.exact_streams()?.first().copied());
        let followed = followed.or(entry.streams.first());
        let tail = followed.and_then(|stream| history.tail(stream));
        let is_last = tail == Some(entry.position);
        let (is_closed, is_up_to_date) = match entry.body {
            Body::Event { .. } => (false, is_last),
            Body::End(EndReason::Ended) => (true, true),
            // Tells the reader of an empty stream that it has everything.
            Body::Created if is_last => (false, true),
            Body::Created | Body::End(EndReason::Deleted) => return,
        };
        let state = wire::FollowState { next: id, is_up_to_date, is_closed };
        wire::follow_control(out, follow, &state, crate::journal::now());
    }
}

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
                frame(&mut all, history, entry, view, None);
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
            frame(&mut frames, history, entry, view, Some(&queue.interest));
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
