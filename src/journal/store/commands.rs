//! Commands for streams with properties: creation, appends of producers, lifetimes, forks.
//!
//! Promises: a command is judged by what was applied before it and by the time of its batch alone, so that all
//! hubs of a cluster decide alike; the state of a producer is committed with its data.

use super::super::batch::{ItemResult, Outcome, Refusal};
use super::super::keys::{self, StreamNumber};
use super::super::stream_record::{ProducerState, StreamRecord};
use super::StreamRow;
use super::staging::{NewItems, Staging};
use crate::event::durable::{
    Append, CommandRefusal, ContentType, Creation, ForkSource, Lifetime, ProducerWrite,
    StreamChange, StreamCommand, StreamProperties,
};
use crate::event::{Body, Draft, EndReason, Position, StreamName};
use crate::journal::error::{Damaged, JournalError};

/// Result of a command: nothing, or the reason why it was not applied.
type Applied = Result<(), Refusal>;

impl Staging<'_> {
    /// Applies a command, or returns why it is refused and changes nothing.
    pub(super) fn apply_command(
        &mut self,
        command: StreamCommand,
    ) -> Result<Outcome, JournalError> {
        let StreamCommand { stream, change } = command;
        let entries = self.staged.entries.len();
        let applied = match change {
            StreamChange::Create(creation) => self.create(stream, creation)?,
            StreamChange::Append(append) => self.append_messages(stream, append)?,
            StreamChange::Expire { created } => self.expire(stream, created)?,
            StreamChange::Touch { created } => self.touch(&stream, created),
        };
        let duplicate = self.staged.entries.len() == entries;
        let position = self.staged.totals.last;
        Ok(applied.map(|()| vec![ItemResult { position, duplicate }]))
    }

    /// Returns the record of a stream with a number, if it has one.
    fn record(&self, number: StreamNumber) -> Option<StreamRecord> {
        match self.staged.records.get(&number) {
            Some(record) => record.clone(),
            None => self.store.streams.record(number).map(|record| StreamRecord::clone(&record)),
        }
    }

    fn put_record(&mut self, row: &StreamRow, stream: &StreamName, record: StreamRecord) {
        self.staged.changes.put_again(keys::record(row.number), record.write());
        let mut row = *row;
        row.set_record(&record);
        self.staged.records.insert(row.number, Some(record));
        self.staged.rows.insert(stream.clone(), Some(row));
    }

    /// Forgets the record of a stream that is as one without properties again.
    fn forget_record(&mut self, row: &StreamRow, stream: StreamName) {
        self.staged.changes.remove(keys::record(row.number));
        self.staged.records.insert(row.number, None);
        let mut row = *row;
        row.has_record = false;
        self.staged.rows.insert(stream, Some(row));
    }

    /// Returns a stream that was created at a position, with its record.
    fn created_at(
        &self,
        stream: &StreamName,
        created: Position,
    ) -> Result<(StreamRow, StreamRecord), CommandRefusal> {
        let row = self.row(stream).ok_or(CommandRefusal::Unknown)?;
        let record = self.record(row.number).map_or_else(without_properties, Ok)?;
        if record.is_deleted {
            return Err(CommandRefusal::Gone);
        }
        if record.created == created { Ok((row, record)) } else { Err(CommandRefusal::Unknown) }
    }

    fn next_position(&self) -> Position {
        Position::of(self.number(), self.staged.entries.len())
    }

    fn create(&mut self, stream: StreamName, creation: Creation) -> Result<Applied, JournalError> {
        let existing = self.row(&stream);
        let replaced = existing.and_then(|row| self.record(row.number));
        match (existing, &replaced) {
            (None, _) => {}
            (_, Some(record)) if record.is_deleted => return refuse(CommandRefusal::Gone),
            (Some(row), Some(record)) if self.is_replaced(&row, record, &creation) => {
                if record.forks > 0 {
                    return refuse(CommandRefusal::Gone);
                }
            }
            _ => return refuse(CommandRefusal::Exists),
        }
        let source = creation.properties.source.as_ref();
        if source.is_some_and(|source| self.created_at(&source.stream, source.created).is_err()) {
            return refuse(CommandRefusal::SourceGone);
        }
        if existing.is_none() {
            let mut new = NewItems::default();
            new.streams.push(stream.clone());
            if let Err(refusal) = self.acquire_streams(&mut new) {
                return Ok(Err(refusal));
            }
        } else {
            self.delete(stream.clone(), self.next_position())?;
        }
        // Its record may have changed with the deletion above.
        if let Some(source) = &creation.properties.source
            && let Ok((row, record)) = self.created_at(&source.stream, source.created)
        {
            let record = StreamRecord { forks: record.forks + 1, ..record };
            self.put_record(&row, &source.stream, record);
        }
        let created = self.next_position();
        self.append([stream.clone()].into(), created, Body::Created, None)?;
        let record = StreamRecord::new(creation.properties, created, self.staged.totals.time);
        if let Some(row) = self.row(&stream) {
            self.put_record(&row, &stream, record);
        }
        self.append_all(&stream, &creation.drafts, creation.close)?;
        Ok(Ok(()))
    }

    /// Returns true if a creation replaces a stream, whose lifetime is over.
    fn is_replaced(&self, row: &StreamRow, record: &StreamRecord, creation: &Creation) -> bool {
        creation.replaces == Some(record.created) && self.is_over(row, record)
    }

    /// Returns true if the lifetime of a stream is over at the time of the batch, as far as its use is recorded.
    fn is_over(&self, row: &StreamRow, record: &StreamRecord) -> bool {
        let used = record.used.max(row.last_time);
        record.properties.lifetime.is_over(used, self.staged.totals.time)
    }

    fn append_messages(
        &mut self,
        stream: StreamName,
        append: Append,
    ) -> Result<Applied, JournalError> {
        let (row, record) = match self.created_at(&stream, append.created) {
            Ok(found) => found,
            Err(refusal) => return refuse(refusal),
        };
        let state = match &append.producer {
            Some(write) => self.producer(row.number, &write.id)?,
            None => None,
        };
        if let Err(refusal) = check_append(&row, &record, &append, state) {
            return refuse(refusal);
        }
        self.append_all(&stream, &append.drafts, append.close)?;
        let time = self.staged.totals.time;
        if append.seq.is_some() || append.close && append.producer.is_some() {
            let closed_by = append.producer.clone().filter(|_| append.close);
            let record = StreamRecord { seq: append.seq.or(record.seq), closed_by, ..record };
            if let Some(row) = self.row(&stream) {
                self.put_record(&row, &stream, record);
            }
        }
        if let Some(ProducerWrite { id, epoch, seq }) = append.producer {
            let state = ProducerState { epoch, seq, time };
            self.staged.changes.put_again(keys::producer(row.number, &id), state.write());
            self.producers.insert((row.number, id), state);
        }
        Ok(Ok(()))
    }

    /// Returns the last append of a producer, if it is remembered.
    fn producer(
        &self,
        number: StreamNumber,
        id: &str,
    ) -> Result<Option<ProducerState>, JournalError> {
        if let Some(state) = self.producers.get(&(number, id.into())) {
            return Ok(Some(*state));
        }
        let Some(value) = self.store.kv.get(&keys::producer(number, id))? else { return Ok(None) };
        let state = ProducerState::read(&value)
            .ok_or_else(|| JournalError::Damaged(Damaged::Producer(id.into())))?;
        Ok(Some(state).filter(|state| state.is_remembered(self.staged.totals.time)))
    }

    fn append_all(
        &mut self,
        stream: &StreamName,
        drafts: &[Draft],
        close: bool,
    ) -> Result<(), JournalError> {
        for draft in drafts {
            self.append_event(draft, self.next_position())?;
        }
        if close {
            self.append_end(stream.clone(), self.next_position())?;
        }
        Ok(())
    }

    fn expire(&mut self, stream: StreamName, created: Position) -> Result<Applied, JournalError> {
        let (row, record) = match self.created_at(&stream, created) {
            Ok(found) => found,
            Err(refusal) => return refuse(refusal),
        };
        if !self.is_over(&row, &record) {
            return refuse(CommandRefusal::InUse);
        }
        self.delete(stream, self.next_position())?;
        Ok(Ok(()))
    }

    fn touch(&mut self, stream: &StreamName, created: Position) -> Applied {
        let (row, record) = self.created_at(stream, created)?;
        let used = record.used.max(self.staged.totals.time);
        self.put_record(&row, stream, StreamRecord { used, ..record });
        Ok(())
    }

    /// Ends a stream that is deleted while forks read its entries; returns false if it has none.
    pub(super) fn keep_for_forks(
        &mut self,
        stream: &StreamName,
        position: Position,
    ) -> Result<bool, JournalError> {
        let Some(row) = self.row(stream) else { return Ok(false) };
        let Some(record) = self.record(row.number).filter(|record| record.forks > 0) else {
            return Ok(false);
        };
        self.append([stream.clone()].into(), position, Body::End(EndReason::Deleted), None)?;
        if let Some(row) = self.row(stream) {
            self.put_record(&row, stream, StreamRecord { is_deleted: true, ..record });
        }
        Ok(true)
    }

    /// Forgets the record of a stream that was deleted. Sources that were deleted before and have no other fork
    /// are removed, too.
    pub(super) fn release_source(&mut self, row: &StreamRow) {
        let mut number = row.number;
        while let Some(record) = self.record(number) {
            self.staged.changes.remove(keys::record(number));
            self.staged.records.insert(number, None);
            let Some(ForkSource { stream, created, .. }) = record.properties.source else { return };
            let Some(row) = self.row(&stream) else { return };
            let Some(source) = self.record(row.number).filter(|found| found.created == created)
            else {
                return;
            };
            let source = StreamRecord { forks: source.forks.saturating_sub(1), ..source };
            let is_plain = source.created == Position::ZERO && source.seq.is_none();
            if source.forks == 0 && !source.is_deleted && is_plain && source.closed_by.is_none() {
                return self.forget_record(&row, stream);
            }
            if source.forks > 0 || !source.is_deleted {
                return self.put_record(&row, &stream, source);
            }
            self.remove_row(stream, &row, row.last);
            number = row.number;
        }
    }
}

fn refuse(refusal: CommandRefusal) -> Result<Applied, JournalError> {
    Ok(Err(refusal.into()))
}

/// Returns the record of a stream that was created by its first event.
fn without_properties() -> Result<StreamRecord, CommandRefusal> {
    let content_type = ContentType::json();
    let properties = StreamProperties { content_type, lifetime: Lifetime::Unlimited, source: None };
    Ok(StreamRecord::new(properties, Position::ZERO, crate::event::Timestamp::default()))
}

/// Checks an append against the state of its stream and of its producer.
fn check_append(
    row: &StreamRow,
    record: &StreamRecord,
    append: &Append,
    state: Option<ProducerState>,
) -> Result<(), CommandRefusal> {
    let is_empty = append.drafts.is_empty() && !append.close;
    let repeated = state
        .zip(append.producer.as_ref())
        .filter(|(state, write)| state.epoch == write.epoch && write.seq <= state.seq);
    let applied = repeated.map(|(state, _)| CommandRefusal::Applied { seq: Some(state.seq) });
    if row.end.is_some() || is_empty {
        let is_same_close = append.producer.is_some() && append.producer == record.closed_by;
        let closes_again = append.drafts.is_empty() && append.close && append.producer.is_none();
        return Err(match applied {
            Some(applied) if is_same_close || !append.close => applied,
            _ if closes_again => CommandRefusal::Applied { seq: None },
            _ => CommandRefusal::Closed,
        });
    }
    if let Some(write) = &append.producer {
        match state {
            _ if applied.is_some() => {}
            Some(state) if write.epoch < state.epoch => {
                return Err(CommandRefusal::StaleEpoch { current: state.epoch });
            }
            Some(state) if write.epoch == state.epoch && write.seq > state.seq + 1 => {
                let (expected, received) = (state.seq + 1, write.seq);
                return Err(CommandRefusal::SeqGap { expected, received });
            }
            Some(state) if write.epoch > state.epoch && write.seq > 0 => {
                return Err(CommandRefusal::EpochStart);
            }
            None if write.seq > 0 => {
                return Err(CommandRefusal::SeqGap { expected: 0, received: write.seq });
            }
            _ => {}
        }
    }
    if let Some(applied) = applied {
        return Err(applied);
    }
    match (&append.seq, &record.seq) {
        (Some(seq), Some(last)) if seq.as_bytes() <= last.as_bytes() => {
            Err(CommandRefusal::SeqRegression { last: last.to_string() })
        }
        _ => Ok(()),
    }
}
