//! Deletion of a stream, as a part of a batch that is being applied.

use super::super::keys::{self, StreamNumber, Tombstone};
use super::StreamRow;
use super::staging::Staging;
use crate::event::{Body, EndReason, Entry, Position, StreamName};
use crate::journal::error::JournalError;

/// A stream that was deleted.
pub(super) struct Deletion {
    pub(super) name: StreamName,
    pub(super) number: StreamNumber,
    /// Position of the stream's last entry.
    pub(super) last: Position,
    /// Position up to which its entries had been removed before.
    pub(super) floor: Position,
    /// True if the stream shares entries with others, which are subtracted later.
    pub(super) is_shared: bool,
}

impl Staging<'_> {
    /// Deletes a stream. One with forks stays for them.
    pub(super) fn delete(
        &mut self,
        stream: StreamName,
        position: Position,
    ) -> Result<(), JournalError> {
        if self.keep_for_forks(&stream, position)? {
            return Ok(());
        }
        // A stream without history gets a number only to record its deletion.
        let row = match self.row(&stream) {
            Some(row) => row,
            None => self.new_row(&stream)?,
        };
        self.keys.retain(|(name, _), _| *name != stream);
        let time = self.staged.totals.time;
        let body = Body::End(EndReason::Deleted);
        let entry = Entry { position, time, streams: [stream.clone()].into(), body };
        let value = keys::write_entry(&entry, &[row.number], None);
        self.staged.changes.put(keys::entry(position), value);
        self.staged.totals.last = position;
        self.staged.entries.push(entry);
        self.remove_row(stream, &row, position);
        self.release_source(&row);
        Ok(())
    }

    /// Removes the row of a stream that was deleted at a position.
    pub(super) fn remove_row(&mut self, stream: StreamName, row: &StreamRow, position: Position) {
        let time = self.staged.totals.time;
        let tombstone =
            Tombstone { position, last: row.last, time, deleted: true, keys_number: row.keys };
        let changes = &mut self.staged.changes;
        changes.remove(keys::head(row.number));
        changes.remove(keys::name(stream.as_str()));
        changes.put(keys::tombstone(stream.as_str()), tombstone.write());
        let totals = &mut self.staged.totals;
        totals.bytes = totals.bytes.saturating_sub(row.sole_bytes);
        self.staged.removed_bytes += row.sole_bytes;
        totals.removed_to = totals.removed_to.max(row.last);
        totals.forgotten_to = totals.forgotten_to.max(position);
        let is_shared = row.shared_bytes > 0;
        if is_shared {
            let until = row.floor.get().to_be_bytes().to_vec();
            self.staged.changes.put(keys::deleted_stream(row.number), until);
        }
        let (number, last, floor) = (row.number, row.last, row.floor);
        self.staged.deleted.push(Deletion { name: stream.clone(), number, last, floor, is_shared });
        self.staged.rows.insert(stream, None);
    }
}
