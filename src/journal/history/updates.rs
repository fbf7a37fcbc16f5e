//! Look-ups of updates by their ids.

use super::{History, damaged};
use crate::event::Position;
use crate::event::topic::{GENERATED, Update, updates};
use crate::event::{Body, EventId};
use crate::journal::error::JournalError;
use crate::journal::keys;

impl History {
    /// Returns the position of the update with an id, if it is stored. Of several updates to which publishers
    /// gave the same id it is the first that is stored.
    pub fn find_update(&self, id: &str) -> Result<Option<Position>, JournalError> {
        let Some(row) = self.streams.get(updates()) else { return Ok(None) };
        let after_floor = Position::from_stored(row.floor.get() + 1);
        if let Some(generated) = id.strip_prefix(GENERATED) {
            let known = EventId::parse(generated).ok().and_then(|id| self.resolve(id));
            let Some(position) = known.filter(|position| *position >= after_floor) else {
                return Ok(None);
            };
            let is_ahead = position > self.head();
            let is_stored = is_ahead || self.kv.get(&keys::index(row.number, position))?.is_some();
            return Ok(is_stored.then_some(position));
        }
        let from = keys::update_id(row.number, id, after_floor);
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
