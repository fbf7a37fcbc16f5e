//! Floors: positions up to which compaction may drop entries. Compaction sees only durable floors,
//! so that after a crash no entry is missing that the heads still count.

use super::super::keys::{self, KEY_WINDOW_MS, StoredEntry, StreamNumber};
use super::super::kv::Expiry;
use super::super::stream_record::{PRODUCER_WINDOW_MS, ProducerState};
use super::{DeletedStreams, StreamRow, Streams, Totals};
use crate::event::{Position, Timestamp};
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// Time for which tombstones are kept.
const TOMBSTONE_KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Durable floors by stream number.
#[derive(Default)]
pub(crate) struct Floors {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Floor of each stream, and the position above which its index must stay.
    streams: HashMap<StreamNumber, (Position, Position)>,
    /// Streams with this number or a higher one may be too new for `streams`.
    known_below: StreamNumber,
    now: Timestamp,
    /// The floor of the total cap.
    hub: Position,
    tombstones_lost_to: Position,
}

impl Floors {
    pub(super) fn reset(
        &self,
        streams: &Streams,
        deleted: &DeletedStreams,
        next_stream: StreamNumber,
    ) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.streams.clear();
        streams.for_each(|_, row| {
            inner.streams.insert(row.number, (row.floor, row.counted_from));
        });
        // Indexes of deleted streams still have to be read.
        inner.streams.extend(deleted.iter().map(|(number, until)| (number, (until, until))));
        inner.known_below = next_stream;
    }

    pub(super) fn publish(
        &self,
        rows: impl Iterator<Item = StreamRow>,
        removed: &[StreamNumber],
        totals: &Totals,
        now: Timestamp,
    ) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            inner.streams.insert(row.number, (row.floor, row.counted_from));
        }
        let next_stream = totals.next_stream;
        for number in inner.known_below..next_stream {
            inner.streams.entry(number).or_default();
        }
        for number in removed {
            inner.streams.remove(number);
        }
        inner.known_below = next_stream;
        inner.now = now;
        inner.hub = totals.floor;
        inner.tombstones_lost_to = totals.tombstones_lost_to;
    }
}

impl Inner {
    /// Returns the floors of a stream; everything of a stream that does not exist is below them.
    fn floors_of(&self, number: StreamNumber) -> (Position, Position) {
        let all = Position::from_stored(u64::MAX);
        match self.streams.get(&number) {
            Some(floors) => *floors,
            None if number >= self.known_below => (Position::ZERO, Position::ZERO),
            None => (all, all),
        }
    }

    fn is_removed(&self, number: StreamNumber) -> bool {
        number < self.known_below && !self.streams.contains_key(&number)
    }

    fn try_is_dead(&self, key: &[u8], value: &[u8]) -> Option<bool> {
        let older_than = |time: Timestamp, ms: u64| time.ms() + ms < self.now.ms();
        Some(match *key.first()? {
            keys::ENTRY => {
                let position = keys::position_of(key)?;
                let entry = StoredEntry::read(&bytes::Bytes::copy_from_slice(value))?;
                entry.numbers.iter().all(|number| self.floors_of(*number).0 >= position)
            }
            keys::INDEX => self.floors_of(keys::number_of(key)?).1 >= keys::position_of(key)?,
            keys::UPDATE_ID => self.floors_of(keys::number_of(key)?).0 >= keys::position_of(key)?,
            keys::PRODUCER => {
                self.is_removed(keys::number_of(key)?)
                    || older_than(ProducerState::read(value)?.time, PRODUCER_WINDOW_MS)
            }
            // Idempotency keys outlive a stream that retention emptied.
            keys::KEY => older_than(keys::KeyItem::read(value)?.time, KEY_WINDOW_MS),
            keys::TOMBSTONE => {
                let tombstone = keys::Tombstone::read(value)?;
                tombstone.position <= self.tombstones_lost_to
                    || older_than(tombstone.time, TOMBSTONE_KEPT_MS)
            }
            keys::TIME => u64::from_be_bytes(*value.first_chunk()?) <= self.hub.get(),
            _ => false,
        })
    }
}

impl Expiry for Floors {
    fn is_dead(&self, key: &[u8], value: &[u8]) -> bool {
        // Unreadable items are damaged, and are kept for inspection.
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.try_is_dead(key, value).unwrap_or(false)
    }

    fn dead_range(&self) -> Option<std::ops::RangeInclusive<Vec<u8>>> {
        let hub = self.inner.read().unwrap_or_else(PoisonError::into_inner).hub;
        (hub > Position::ZERO).then(|| keys::entry(Position::ZERO)..=keys::entry(hub))
    }
}
