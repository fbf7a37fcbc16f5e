//! A batch that is being applied, invisible to readers until it is committed.

use super::super::batch::{Item, ItemResult, Outcome, PublishUnit, Refusal};
use super::super::keys::{self, IndexItem, KeyItem, StreamNumber};
use super::super::kv::Changes;
use super::super::stream_record::{ProducerState, StreamRecord};
use super::deletion::Deletion;
use super::quota::{NewStreams, Quota};
use super::{Store, StreamRow, Totals};
#[cfg(feature = "mercure")]
use crate::event::topic::Update;
use crate::event::{Body, Draft, EndReason, Entry, Key, Position, StreamName, Timestamp};
use crate::journal::error::{Damaged, JournalError};
use std::collections::HashMap;

/// Everything a batch changes.
pub(super) struct Staged {
    pub(super) entries: Vec<Entry>,
    pub(super) changes: Changes,
    /// New heads; `None` for a stream that was deleted.
    pub(super) rows: HashMap<StreamName, Option<StreamRow>>,
    /// New records; `None` for a stream that was deleted.
    pub(super) records: HashMap<StreamNumber, Option<StreamRecord>>,
    /// Streams that were deleted.
    pub(super) deleted: Vec<Deletion>,
    pub(super) totals: Totals,
    pub(super) removed_bytes: u64,
}

/// The batch so far, on top of the state before it.
pub(super) struct Staging<'a> {
    pub(super) store: &'a Store,
    quota: &'a Quota,
    number: u64,
    pub(super) keys: HashMap<(StreamName, Key), KeyItem>,
    pub(super) producers: HashMap<(StreamNumber, Box<str>), ProducerState>,
    new_streams: NewStreams,
    pub(super) staged: Staged,
}

/// Keys and streams that a unit adds.
#[derive(Default)]
pub(super) struct NewItems {
    keys: Vec<(StreamName, Key)>,
    pub(super) streams: Vec<StreamName>,
}

impl<'a> Staging<'a> {
    pub(super) fn new(store: &'a Store, quota: &'a Quota, number: u64, time: Timestamp) -> Self {
        let mut totals = store.totals;
        totals.number = number;
        totals.time = totals.time.max(time);
        let staged = Staged {
            entries: Vec::new(),
            changes: Changes::default(),
            rows: HashMap::new(),
            records: HashMap::new(),
            deleted: Vec::new(),
            totals,
            removed_bytes: 0,
        };
        Self {
            store,
            quota,
            number,
            keys: HashMap::new(),
            producers: HashMap::new(),
            new_streams: NewStreams::default(),
            staged,
        }
    }

    pub(super) fn finish(mut self) -> Staged {
        for (name, row) in &self.staged.rows {
            if let Some(row) = row {
                self.staged.changes.put(keys::head(row.number), row.write());
                if self.store.streams.get(name).is_none_or(|old| old.number != row.number) {
                    let number = row.number.to_be_bytes().to_vec();
                    self.staged.changes.put(keys::name(name.as_str()), number);
                }
            }
        }
        self.staged
    }

    /// Applies a whole unit, or returns why it is refused and changes nothing.
    pub(super) fn apply_unit(&mut self, mut unit: PublishUnit) -> Result<Outcome, JournalError> {
        if let [Item::Command(_)] = unit[..]
            && let Some(Item::Command(command)) = unit.pop()
        {
            return self.apply_command(*command);
        }
        let mut new = NewItems::default();
        let mut next = self.staged.entries.len();
        let mut results = Vec::with_capacity(unit.len());
        for item in &unit {
            let checked = self.check_item(item, Position::of(self.number, next), &mut new)?;
            match checked {
                Ok(result) => {
                    next += usize::from(!result.duplicate);
                    results.push(result);
                }
                Err(refusal) => return Ok(Err(self.refuse(new, refusal))),
            }
        }
        if let Err(refusal) = self.acquire_streams(&mut new) {
            return Ok(Err(self.refuse(new, refusal)));
        }
        for (item, result) in unit.into_iter().zip(&results) {
            match item {
                _ if result.duplicate => {}
                Item::Event(draft) => self.append_event(&draft, result.position)?,
                Item::End(stream) => self.append_end(stream, result.position)?,
                Item::Delete { stream, .. } => self.delete(stream, result.position)?,
                // A command is a unit of its own.
                Item::Command(_) => {}
            }
        }
        Ok(Ok(results))
    }

    /// Forgets the keys of a unit that is refused.
    fn refuse(&mut self, new: NewItems, refusal: Refusal) -> Refusal {
        for key in new.keys {
            self.keys.remove(&key);
        }
        refusal
    }

    pub(super) fn acquire_streams(&mut self, new: &mut NewItems) -> Result<(), Refusal> {
        if new.streams.is_empty() {
            return Ok(());
        }
        new.streams.sort_unstable();
        new.streams.dedup();
        self.quota.acquire(&new.streams, &mut self.new_streams).map_err(Refusal::TooManyStreams)
    }

    /// Returns the number of the batch.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn row(&self, name: &StreamName) -> Option<StreamRow> {
        match self.staged.rows.get(name) {
            Some(row) => *row,
            None => self.store.streams.get(name),
        }
    }

    fn check_item(
        &mut self,
        item: &Item,
        position: Position,
        new: &mut NewItems,
    ) -> Result<Result<ItemResult, Refusal>, JournalError> {
        let new_result = ItemResult { position, duplicate: false };
        let draft = match item {
            Item::Event(draft) => draft,
            Item::End(stream) => {
                let row = self.row(stream);
                if row.is_none() {
                    new.streams.push(stream.clone());
                }
                let end = row.and_then(|row| row.end);
                return Ok(Ok(
                    end.map_or(new_result, |position| ItemResult { position, duplicate: true })
                ));
            }
            Item::Command(command) => return Ok(Err(Refusal::Unknown(command.stream.clone()))),
            Item::Delete { stream, has_readers } => {
                let row = self.row(stream);
                let is_gone = row.is_some_and(|row| row.is_gone);
                return Ok(if (*has_readers || row.is_some()) && !is_gone {
                    Ok(new_result)
                } else {
                    Err(Refusal::Unknown(stream.clone()))
                });
            }
        };
        if let Some(key) = draft.key()
            && let Some(previous) = self.key_of(draft.streams(), key)?
        {
            return Ok(if previous.fingerprint == draft.fingerprint() {
                Ok(ItemResult { position: previous.position, duplicate: true })
            } else {
                Err(Refusal::KeyConflict(key.as_str().to_owned()))
            });
        }
        for stream in draft.streams() {
            match self.row(stream) {
                Some(row) if row.end.is_some() => return Ok(Err(Refusal::Ended(stream.clone()))),
                Some(_) => {}
                None => new.streams.push(stream.clone()),
            }
        }
        if let Some(key) = draft.key() {
            let time = self.staged.totals.time;
            let item = KeyItem { position, time, fingerprint: draft.fingerprint() };
            for stream in draft.streams() {
                self.keys.insert((stream.clone(), key.clone()), item);
                new.keys.push((stream.clone(), key.clone()));
            }
        }
        Ok(Ok(new_result))
    }

    /// Returns the value of `key` in the first of `streams` that has it.
    fn key_of(&self, streams: &[StreamName], key: &Key) -> Result<Option<KeyItem>, JournalError> {
        for stream in streams {
            if let Some(item) = self.keys.get(&(stream.clone(), key.clone())) {
                return Ok(Some(*item));
            }
            let Some(number) = self.keys_number(stream)? else { continue };
            let Some(value) = self.store.kv.get(&keys::key(number, key.as_str()))? else {
                continue;
            };
            let item = KeyItem::read(&value).ok_or_else(|| {
                JournalError::Damaged(Damaged::IdempotencyKey(key.as_str().into()))
            })?;
            if item.is_remembered(self.staged.totals.time) {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// Returns the number under which the idempotency keys of a stream are stored, if it may have
    /// any.
    fn keys_number(&self, stream: &StreamName) -> Result<Option<StreamNumber>, JournalError> {
        match self.staged.rows.get(stream) {
            Some(row) => Ok(row.map(|row| row.keys)),
            None => match self.store.streams.get(stream) {
                Some(row) => Ok(Some(row.keys)),
                None => self.store.keys_number_of_removed(stream),
            },
        }
    }

    pub(super) fn append_event(
        &mut self,
        draft: &Draft,
        position: Position,
    ) -> Result<(), JournalError> {
        let body = Body::Event { kind: draft.kind().clone(), payload: draft.payload().clone() };
        self.append(draft.streams().into(), position, body, draft.key())
    }

    pub(super) fn append_end(
        &mut self,
        stream: StreamName,
        position: Position,
    ) -> Result<(), JournalError> {
        self.append([stream].into(), position, Body::End(EndReason::Ended), None)
    }

    pub(super) fn append(
        &mut self,
        streams: Box<[StreamName]>,
        position: Position,
        body: Body,
        key: Option<&Key>,
    ) -> Result<(), JournalError> {
        let is_event = matches!(body, Body::Event { .. });
        let time = self.staged.totals.time;
        let entry = Entry { position, time, streams, body };
        let mut rows: Vec<StreamRow> = Vec::with_capacity(entry.streams.len());
        for stream in &entry.streams {
            rows.push(match self.row(stream) {
                Some(row) => row,
                None => self.new_row(stream)?,
            });
        }
        let numbers: Vec<StreamNumber> = rows.iter().map(|row| row.number).collect();
        let sealed = self.seal(&entry, &numbers)?;
        let value = keys::write_entry(&entry, &numbers, sealed.as_deref());
        let bytes = value.len();
        for (stream, mut row) in entry.streams.iter().zip(rows) {
            row.last = position;
            row.last_time = time;
            row.has_record |= entry.body == Body::Created;
            if is_event {
                row.ordinal += 1;
                row.events += 1;
                row.bytes += bytes as u64;
            } else if matches!(entry.body, Body::End(_)) {
                row.end = Some(position);
            }
            if numbers.len() == 1 {
                row.sole_bytes += bytes as u64;
            } else {
                row.shared_bytes += bytes as u64;
            }
            let item = IndexItem {
                ordinal: row.ordinal,
                time,
                bytes: bytes as u32,
                streams: numbers.len() as u8,
                is_event,
            };
            self.staged.changes.put(keys::index(row.number, position), item.write());
            let key = key.and_then(|key| {
                let item = self.keys.get(&(stream.clone(), key.clone()))?;
                Some((keys::key(row.keys, key.as_str()), item.write()))
            });
            if let Some((key, value)) = key {
                self.staged.changes.put(key, value);
            }
            self.staged.rows.insert(stream.clone(), Some(row));
        }
        #[cfg(feature = "mercure")]
        if let Some(id) = Update::of(&entry).and_then(|update| update.id) {
            self.staged.changes.put(keys::update_id(numbers[0], id, position), Vec::new());
        }
        self.staged.changes.put(keys::entry(position), value);
        self.staged.totals.bytes += bytes as u64;
        self.staged.totals.last = position;
        self.staged.entries.push(entry);
        Ok(())
    }

    /// Seals the data of an event whose only stream is hidden.
    fn seal(
        &self,
        entry: &Entry,
        numbers: &[StreamNumber],
    ) -> Result<Option<Vec<u8>>, JournalError> {
        let mut sealing = self.store.sealing.borrow_mut();
        let ([stream], [number], Body::Event { payload, .. }) =
            (&entry.streams[..], numbers, &entry.body)
        else {
            return Ok(None);
        };
        if !stream.is_hidden() || !sealing.seals() {
            return Ok(None);
        }
        if !sealing.has(*number) {
            // The slot of the key was damaged; with a new key, new events can be read.
            sealing.add(*number)?;
        }
        let sealed = sealing.keys().seal(*number, entry.position, payload.as_bytes());
        sealed.map(Some).map_err(JournalError::from)
    }

    pub(super) fn new_row(&mut self, stream: &StreamName) -> Result<StreamRow, JournalError> {
        let number = self.staged.totals.next_stream;
        // A number is never reused: leftovers of an old stream would reappear.
        let next = number.checked_add(1);
        self.staged.totals.next_stream = next.ok_or_else(|| JournalError::NoStreamNumber)?;
        if stream.is_hidden() {
            self.store.sealing.borrow_mut().add(number)?;
        }
        // Idempotency keys of a stream that was deleted in this batch are not remembered.
        let is_deleted = self.staged.rows.contains_key(stream);
        let keys = if is_deleted { None } else { self.store.keys_number_of_removed(stream)? };
        Ok(StreamRow::new(number, keys.unwrap_or(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::kv::{Kv, MemoryKv, Sync};
    use super::super::super::sealing::KeyFile;
    use super::super::{Floors, RetentionPolicy};
    use super::*;
    use crate::event::EventType;
    use std::sync::Arc;

    #[test]
    fn stream_numbers_are_not_reused_when_they_are_used_up() {
        let floors = Arc::new(Floors::default());
        let kv = Kv::Memory(MemoryKv::new(floors.clone()).into());
        let mut changes = Changes::default();
        let totals = Totals { next_stream: u32::MAX - 1, ..Totals::default() };
        changes.put(keys::TOTALS.to_vec(), totals.write());
        kv.commit(changes, Sync::Process).unwrap();
        let store = Store::open(
            kv,
            Sync::Process,
            RetentionPolicy::default(),
            Arc::default(),
            floors,
            KeyFile::none(),
        )
        .unwrap();
        let mut batch = Staging::new(&store, &store.quota, 1, Timestamp::from_ms(1));
        let mut publish = |name: &str| {
            let streams = vec![StreamName::parse(name).unwrap()];
            let now = Timestamp::from_ms(1);
            let draft = Draft::from_text(streams, EventType::default(), "x", now).unwrap();
            batch.apply_unit([Item::Event(draft)].into())
        };
        assert!(publish("last").unwrap().is_ok());
        let error = publish("one-more").unwrap_err();
        assert!(error.to_string().contains("stream numbers are used up"), "{error}");
        assert!(publish("another").is_err(), "number 0 is not assigned");
        assert!(publish("last").unwrap().is_ok(), "existing streams still accept events");
    }
}
