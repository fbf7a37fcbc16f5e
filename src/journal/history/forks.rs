//! Forks: streams whose entries begin with those of another stream.

use super::History;
use crate::event::{Entry, Position, StreamName, Timestamp};
use crate::journal::keys::StreamNumber;
use crate::journal::store::StreamRow;
use crate::journal::stream_record::StreamRecord;
use std::sync::Arc;

/// Maximum number of streams of which a fork of a fork of a stream consists.
pub const MAX_FORK_DEPTH: usize = 32;

/// Entries of one stream that are also those of another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) number: StreamNumber,
    /// Position up to which they were removed.
    pub(super) floor: Position,
    /// Position of the last one.
    pub(super) until: Position,
    /// Number of the removal that last moved the floor.
    pub(super) removal: u64,
    /// True if they are those of another stream.
    pub(super) is_inherited: bool,
}

/// State of a stream for those that read it from an offset.
#[derive(Clone, Debug)]
pub struct StreamState {
    /// Position of the creation; zero for a stream without properties.
    pub created: Position,
    /// Position up to which it has everything: that of its last entry, or of the last entry that readers may see.
    pub last: Position,
    /// Time of the last entry.
    pub last_time: Timestamp,
    /// True if the stream has ended at or before `last`.
    pub is_ended: bool,
    /// Position up to which entries were removed; zero if none was.
    pub removed_to: Position,
    /// Record of the stream, if it was created with properties.
    pub record: Option<Arc<StreamRecord>>,
}

impl History {
    /// Returns the state of a stream; that of a deleted stream with forks is marked so in its record.
    pub fn stream_state(&self, name: &StreamName) -> Option<StreamState> {
        // Rows change before the batch is in memory for readers, who would miss its entries.
        let head = self.head();
        let row = self.streams.get(name)?;
        let record = if row.has_record { self.streams.record(row.number) } else { None };
        let removed = self.segments(&row).iter().map(|segment| segment.floor).max();
        Some(StreamState {
            created: record.as_ref().map_or(Position::ZERO, |record| record.created),
            last: row.last.min(head),
            last_time: row.last_time,
            is_ended: row.end.is_some_and(|end| end <= head),
            removed_to: removed.unwrap_or_default(),
            record,
        })
    }

    /// Returns the number of streams of which a stream consists.
    pub fn depth(&self, name: &StreamName) -> usize {
        self.streams.get(name).map_or(0, |row| self.segments(&row).len())
    }

    /// Returns the position of the last entry of a stream.
    pub fn tail(&self, name: &StreamName) -> Option<Position> {
        self.streams.get(name).map(|row| row.last)
    }

    /// Calls `visit` for every stream that has a lifetime.
    pub fn for_each_lifetime(&self, visit: impl FnMut(&StreamName, &StreamRecord)) {
        self.streams.for_each_lifetime(visit);
    }

    /// Returns the entries of which a stream consists, the newest first.
    pub(super) fn segments(&self, row: &StreamRow) -> Vec<Segment> {
        let of = |row: &StreamRow, until: Position, is_inherited| Segment {
            number: row.number,
            floor: row.floor.min(until),
            until,
            removal: row.removal,
            is_inherited,
        };
        let mut until = Position::from_stored(u64::MAX);
        let mut segments = vec![of(row, until, false)];
        let mut number = row.number;
        while row.has_record && segments.len() < MAX_FORK_DEPTH {
            let Some(record) = self.streams.record(number) else { break };
            let Some(source) = record.source() else { break };
            let Some(row) = self.streams.get(&source.stream) else { break };
            until = until.min(source.until);
            segments.push(of(&row, until, true));
            number = row.number;
        }
        segments
    }
}

/// Returns an entry of another stream as one of a fork; `None` for its creation and its end.
pub(super) fn inherited(entry: Entry, fork: &StreamName) -> Option<Entry> {
    entry.is_event().then(|| Entry { streams: [fork.clone()].into(), ..entry })
}
