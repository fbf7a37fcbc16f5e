//! Deleted streams whose shared entries are not subtracted from the totals yet.
//!
//! An entry of several streams is counted as long as one of them exists. So the deletion of a
//! stream has to examine each entry that the stream shares, which the writer does in steps between
//! its other work. Readers see nothing of the stream from its deletion on.

use super::super::keys::{self, IndexItem, StreamNumber};
use super::super::kv::{Changes, Kv};
use super::Store;
use crate::event::Position;
use crate::journal::error::JournalError;
use std::collections::BTreeMap;

/// Maximum number of entries that one step examines.
const STEP: usize = 2 * crate::event::MAX_ENTRIES_PER_BATCH;

/// Maximum number of streams that one step continues.
const STREAMS: usize = 256;

/// The streams, each with the position up to which its entries are subtracted.
#[derive(Default)]
pub(in crate::journal) struct DeletedStreams(BTreeMap<StreamNumber, Position>);

impl DeletedStreams {
    pub(in crate::journal) fn load(kv: &Kv) -> Result<Self, JournalError> {
        let kind = keys::DELETED_STREAM;
        let mut streams = BTreeMap::new();
        for pair in kv.walk(vec![kind], keys::end_of(kind)) {
            let (key, value) = pair?;
            let damaged = || JournalError::damaged("the record of a deleted stream");
            let number = keys::number_of(&key).ok_or_else(damaged)?;
            let mut fields = keys::Decoder(&value);
            streams.insert(number, fields.position().ok_or_else(damaged)?);
        }
        Ok(Self(streams))
    }

    /// Returns true if the entry at `position` is still counted for the stream.
    pub(in crate::journal) fn counts(&self, number: StreamNumber, position: Position) -> bool {
        self.0.get(&number).is_some_and(|until| *until < position)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamNumber, Position)> {
        self.0.iter().map(|(number, until)| (*number, *until))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Records a deletion, or its progress.
    pub(super) fn put(&mut self, number: StreamNumber, until: Position, changes: &mut Changes) {
        self.0.insert(number, until);
        changes.put(keys::deleted_stream(number), until.get().to_be_bytes().to_vec());
    }

    fn remove(&mut self, number: StreamNumber, changes: &mut Changes) {
        self.0.remove(&number);
        changes.remove(keys::deleted_stream(number));
    }
}

impl Store {
    /// Runs one step that subtracts entries of deleted streams.
    pub(super) fn subtract_deleted(&mut self) -> Result<(), JournalError> {
        let mut remaining = STEP;
        for _ in 0..STREAMS {
            let Some((number, until)) = self.deleted.iter().next().filter(|_| remaining > 0) else {
                break;
            };
            remaining -= self.subtract(number, until, remaining)?;
        }
        Ok(())
    }

    /// Subtracts at most `max_entries` entries of a stream; returns the number of entries that it
    /// examined.
    fn subtract(
        &mut self,
        number: StreamNumber,
        until: Position,
        max_entries: usize,
    ) -> Result<usize, JournalError> {
        let from = keys::index(number, Position::from_stored(until.get() + 1));
        let end = keys::index(number, Position::from_stored(u64::MAX));
        let kv = self.kv.clone();
        let (mut last, mut examined) = (until, 0);
        for pair in kv.walk(from, end).take(max_entries) {
            let (key, value) = pair?;
            examined += 1;
            let Some(position) = keys::position_of(&key) else { continue };
            // Advanced past damaged items, too, so that the next step begins after them.
            last = position;
            let shared = IndexItem::read(&value).filter(|item| item.streams > 1);
            if let Some(item) = shared
                && !self.is_counted_elsewhere(position, number)?
            {
                self.subtract_bytes(u64::from(item.bytes));
            }
        }
        if examined < max_entries {
            self.deleted.remove(number, &mut self.pending_changes);
            self.trimmer.release(number);
        } else {
            self.deleted.put(number, last, &mut self.pending_changes);
        }
        Ok(examined)
    }
}
