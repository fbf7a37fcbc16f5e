//! Look-ups of updates by their ids.

use super::{History, damaged};
use crate::event::Position;
use crate::event::topic::{GENERATED, Update, updates};
use crate::event::{Body, EventId};
use crate::journal::error::JournalError;
use crate::journal::keys;
use crate::journal::store::StreamRow;

impl History {
    /// Returns the position of the update with an id, if it is stored. Of several updates to which publishers
    /// gave the same id it is the first that is stored. With `any_stream`, a generated id may be that of an event
    /// of any stream.
    pub fn find_update(
        &self,
        id: &str,
        any_stream: bool,
    ) -> Result<Option<Position>, JournalError> {
        let row = self.streams.get(updates());
        let after_floor = |row: &StreamRow| Position::from_stored(row.floor.get() + 1);
        if let Some(generated) = id.strip_prefix(GENERATED) {
            let known = EventId::parse(generated).ok().and_then(|id| self.resolve(id));
            let Some(position) = known else { return Ok(None) };
            if position > self.head() {
                return Ok(Some(position));
            }
            if let Some(row) = row.filter(|row| position >= after_floor(row))
                && self.kv.get(&keys::index(row.number, position))?.is_some()
            {
                return Ok(Some(position));
            }
            let is_stored = any_stream && !self.streams_at(position)?.is_empty();
            return Ok(Some(position).filter(|_| is_stored));
        }
        let Some(row) = row else { return Ok(None) };
        let from = keys::update_id(row.number, id, after_floor(&row));
        let until = keys::update_id(row.number, id, Position::from_stored(u64::MAX));
        let Some((key, _)) = self.kv.walk(from, until).next().transpose()? else { return Ok(None) };
        let position = keys::position_of(&key).ok_or_else(|| damaged(&key))?;
        Ok(Some(position).filter(|position| *position <= self.head()))
    }

    /// Returns the id of the newest update, if one is stored.
    pub fn last_update_id(&self) -> Result<Option<String>, JournalError> {
        let Some(row) = self.streams.get(updates()) else { return Ok(None) };
        let entry = self.entry(row.last)?;
        let id = entry.as_ref().filter(|entry| matches!(entry.body, Body::Event { .. }));
        let id = id.map(|entry| match Update::of(entry).and_then(|update| update.id) {
            Some(id) => id.to_owned(),
            None => format!("{GENERATED}{}", self.id(entry.position)),
        });
        Ok(id)
    }
}
