//! The table of streams: one row each, read by every thread, written only by the store.

use super::super::keys::{self, Decoder, Encoder, StreamNumber};
use super::super::kv::Kv;
use super::super::stream_record::StreamRecord;
use crate::event::durable::Lifetime;
use crate::event::{Position, StreamName, Timestamp};
use crate::journal::error::JournalError;
use dashmap::DashMap;
use std::sync::Arc;

/// The head of one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct StreamRow {
    pub(crate) number: StreamNumber,
    /// Number of stored events.
    pub(crate) events: u64,
    /// Bytes of the stored entries.
    pub(crate) bytes: u64,
    /// Stored bytes of the entries that belong to no other stream.
    pub(super) sole_bytes: u64,
    /// Stored bytes of the entries that also belong to other streams.
    pub(super) shared_bytes: u64,
    /// Number of events ever published.
    pub(crate) ordinal: u64,
    /// Position of the last entry.
    pub(crate) last: Position,
    pub(crate) last_time: Timestamp,
    /// Position of the last entry that retention removed; readers see nothing up to here.
    pub(crate) floor: Position,
    /// Position above which the index still holds removed entries, so that they can be counted.
    pub(crate) counted_from: Position,
    /// Position of the stream's end.
    pub(crate) end: Option<Position>,
    /// Number under which the idempotency keys are stored: that of the previous stream of the same
    /// name if retention emptied it, otherwise the stream's own.
    pub(super) keys: StreamNumber,
    /// True if there is a [`StreamRecord`] for it.
    pub(crate) has_record: bool,
    /// True if it was deleted, and only forks read its entries.
    pub(crate) is_gone: bool,
    /// Last position that it has from another stream; zero unless it is a fork.
    pub(crate) inherits_to: Position,
    /// Number of the removal that last moved the floor, counted over the hub since the start.
    pub(crate) removal: u64,
    /// Next value of `counted_from`, and the ordinal there.
    mark: (Position, u64),
}

/// Minimum number of removed entries that stay countable; beyond it, a gap's size is unknown.
const COUNTABLE_REMOVALS: u64 = 1024;

impl StreamRow {
    pub(super) fn new(number: StreamNumber, keys: StreamNumber) -> Self {
        Self { number, keys, ..Self::default() }
    }

    /// Returns true if the stream has no entries, and is not one that exists without any.
    pub(super) fn is_empty(&self) -> bool {
        !self.has_record && self.events == 0 && self.end.is_none_or(|end| end <= self.floor)
    }

    /// Sets the fields that depend on the record.
    pub(super) fn set_record(&mut self, record: &StreamRecord) {
        self.has_record = true;
        self.is_gone = record.is_deleted;
        self.inherits_to = record.source().map_or(Position::ZERO, |source| source.until);
    }

    /// Returns the ordinal of the last removed event.
    pub(crate) fn removed_ordinal(&self) -> u64 {
        self.ordinal - self.events
    }

    /// Accounts for the removal of the front entry, which is at `position`.
    pub(super) fn remove_front(
        &mut self,
        position: Position,
        bytes: u64,
        is_sole: bool,
        is_event: bool,
    ) {
        self.floor = position;
        if is_event {
            self.events -= 1;
            self.bytes -= bytes;
        }
        if is_sole {
            self.sole_bytes -= bytes;
        } else {
            self.shared_bytes -= bytes;
        }
        if self.removed_ordinal() >= self.mark.1 + COUNTABLE_REMOVALS {
            self.counted_from = self.mark.0;
            self.mark = (position, self.removed_ordinal());
        }
    }

    pub(super) fn write(&self) -> Vec<u8> {
        Encoder(Vec::with_capacity(84))
            .u64(self.events)
            .u64(self.bytes)
            .u64(self.sole_bytes)
            .u64(self.shared_bytes)
            .u64(self.ordinal)
            .u64(self.last.get())
            .u64(self.last_time.ms())
            .u64(self.floor.get())
            .u64(self.counted_from.get())
            .u64(self.end.map_or(0, Position::get))
            .u32(self.keys)
            .0
    }

    fn read(number: StreamNumber, value: &[u8]) -> Option<Self> {
        let mut fields = Decoder(value);
        let mut row = Self {
            number,
            events: fields.u64()?,
            bytes: fields.u64()?,
            sole_bytes: fields.u64()?,
            shared_bytes: fields.u64()?,
            ordinal: fields.u64()?,
            last: fields.position()?,
            last_time: Timestamp::from_ms(fields.u64()?),
            floor: fields.position()?,
            counted_from: fields.position()?,
            end: fields.position().map(|end| (end != Position::ZERO).then_some(end))?,
            // Format 1 lacks this field.
            keys: if fields.0.is_empty() { number } else { fields.u32()? },
            has_record: false,
            is_gone: false,
            inherits_to: Position::ZERO,
            removal: 1,
            mark: (Position::ZERO, 0),
        };
        row.mark = (row.floor, row.removed_ordinal());
        Some(row)
    }
}

/// Public properties of a stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamView {
    /// True if the stream has ended.
    pub ended: bool,
    /// Number of stored events.
    pub events: u64,
    /// Bytes of the stored entries.
    pub bytes: u64,
    /// Position of the first stored entry.
    pub first: Option<Position>,
    /// Position of the last entry.
    pub last: Position,
    /// Time of the last entry.
    pub last_time: Timestamp,
    /// Number of events ever published.
    pub published: u64,
}

/// All streams that have history.
#[derive(Default)]
pub(crate) struct Streams {
    rows: DashMap<StreamName, StreamRow>,
    names: DashMap<StreamNumber, StreamName>,
    records: DashMap<StreamNumber, Arc<StreamRecord>>,
}

impl Streams {
    pub(in crate::journal) fn load(kv: &Kv) -> Result<Self, JournalError> {
        let streams = Self::default();
        for pair in kv.walk(vec![keys::NAME], keys::end_of(keys::NAME)) {
            let (key, value) = pair?;
            let name = std::str::from_utf8(&key[1..]).ok().and_then(|n| StreamName::parse(n).ok());
            let number = Decoder(&value).u32();
            let (Some(name), Some(number)) = (name, number) else {
                return Err(JournalError::damaged("the table of stream names"));
            };
            streams.names.insert(number, name);
        }
        for pair in kv.walk(vec![keys::RECORD], keys::end_of(keys::RECORD)) {
            let (key, value) = pair?;
            let record = keys::number_of(&key).zip(StreamRecord::read(&value));
            let (number, record) =
                record.ok_or_else(|| JournalError::damaged("the table of stream properties"))?;
            streams.records.insert(number, Arc::new(record));
        }
        for pair in kv.walk(vec![keys::HEAD], keys::end_of(keys::HEAD)) {
            let (key, value) = pair?;
            let row = keys::number_of(&key).and_then(|number| StreamRow::read(number, &value));
            let mut row = row.ok_or_else(|| JournalError::damaged("the table of stream heads"))?;
            if let Some(record) = streams.records.get(&row.number) {
                row.set_record(record.value());
            }
            if let Some(name) = streams.names.get(&row.number) {
                streams.rows.insert(name.clone(), row);
            }
        }
        Ok(streams)
    }

    pub(crate) fn get(&self, name: &StreamName) -> Option<StreamRow> {
        self.rows.get(name).map(|row| *row)
    }

    /// Returns the row of a stream that readers may see.
    pub(crate) fn visible(&self, name: &StreamName) -> Option<StreamRow> {
        self.get(name).filter(|row| !row.is_gone)
    }

    /// Returns the record of a stream, if there is one.
    pub(crate) fn record(&self, number: StreamNumber) -> Option<Arc<StreamRecord>> {
        self.records.get(&number).map(|record| record.clone())
    }

    /// Stores the record of a stream, or removes it.
    pub(super) fn put_record(&self, number: StreamNumber, record: Option<StreamRecord>) {
        match record {
            Some(record) => drop(self.records.insert(number, Arc::new(record))),
            None => drop(self.records.remove(&number)),
        }
    }

    /// Calls `visit` for the record of every stream that has a lifetime.
    pub(crate) fn for_each_lifetime(&self, mut visit: impl FnMut(&StreamName, &StreamRecord)) {
        for item in &self.records {
            let (number, record) = item.pair();
            if record.properties.lifetime != Lifetime::Unlimited
                && !record.is_deleted
                && let Some(name) = self.name_of(*number)
            {
                visit(&name, record);
            }
        }
    }

    pub(crate) fn name_of(&self, number: StreamNumber) -> Option<StreamName> {
        self.names.get(&number).map(|name| name.clone())
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Calls `visit` for every row; rows may be added or removed meanwhile.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&StreamName, &StreamRow)) {
        for item in &self.rows {
            visit(item.key(), item.value());
        }
    }

    /// Stores a head; returns true if the stream is new.
    pub(super) fn put(&self, name: &StreamName, row: StreamRow) -> bool {
        let old = self.rows.insert(name.clone(), row);
        if old.is_none_or(|old| old.number != row.number) {
            self.names.insert(row.number, name.clone());
        }
        old.is_none()
    }

    /// Removes a stream; returns true if it existed.
    pub(super) fn remove(&self, name: &StreamName) -> bool {
        self.rows.remove(name).is_some()
    }

    pub(super) fn forget_number(&self, number: StreamNumber) {
        self.names.remove(&number);
    }
}
