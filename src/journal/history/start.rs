//! Start positions: converts a keyword, a count or a time to a position.

use super::{History, damaged};
use crate::event::{Interest, Position, StreamName, Timestamp};
use crate::journal::error::JournalError;
use crate::journal::keys::{self, IndexItem, StoredEntry};
use crate::journal::kv::Walk;
use crate::journal::store::StreamRow;
use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

/// Maximum number of unselected entries that are skipped in the search for the newest selected
/// ones.
const MAX_EXAMINED_FOR_LAST: usize = 1 << 18;

/// Start of a subscription without an id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// Starts with new events.
    Now,
    /// Starts with the oldest stored event.
    Oldest,
    /// Starts with this many of the newest events.
    Last(usize),
    /// Starts with the first event at or after a time.
    At(Timestamp),
}

impl History {
    /// Returns the position before the first event that `start` requests.
    pub fn start_position(
        &self,
        interest: &Interest,
        start: Start,
    ) -> Result<Position, JournalError> {
        let head = self.head();
        match start {
            Start::Now => Ok(head),
            Start::Oldest => Ok(self.first(interest, Position::ZERO, head)?.before()),
            Start::Last(count) => self.last_start(interest, count),
            Start::At(time) => {
                // Entries up to the mark are older than `time`; none after the next mark is.
                let mut after = self.time_mark(time)?;
                let mut found = None;
                while found.is_none() && after < head {
                    after = self.read(interest, after, head, &mut |entry| {
                        if entry.time < time {
                            return ControlFlow::Continue(());
                        }
                        found = Some(entry.position.before());
                        ControlFlow::Break(())
                    })?;
                    if found.is_none() && self.time_of(after)?.is_some_and(|at| at >= time) {
                        break;
                    }
                }
                Ok(found.unwrap_or(after))
            }
        }
    }

    /// Returns the commit time of the entry at a position, if it exists.
    fn time_of(&self, position: Position) -> Result<Option<Timestamp>, JournalError> {
        let value = self.kv.get(&keys::entry(position))?;
        Ok(value.and_then(|value| StoredEntry::read(&value)).map(|entry| entry.time))
    }

    /// Returns a position at or before the first entry of `time` or later, at most a time mark
    /// away.
    fn time_mark(&self, time: Timestamp) -> Result<Position, JournalError> {
        let until = [keys::time(time), vec![0]].concat();
        let mark = self.kv.walk_back(vec![keys::TIME], until).next().transpose()?;
        let position = mark.and_then(|(_, value)| Some(u64::from_be_bytes(*value.first_chunk()?)));
        Ok(position.map_or(Position::ZERO, |position| Position::from_stored(position).before()))
    }

    fn last_start(&self, interest: &Interest, count: usize) -> Result<Position, JournalError> {
        let head = self.head();
        if count == 0 {
            return Ok(head);
        }
        let oldest = match interest.exact_streams() {
            Some(names) => self.last_of_streams(&names, interest, count, head)?,
            None => self.last_of_pattern(interest, count, head)?,
        };
        Ok(oldest.map_or(head, Position::before))
    }

    /// Returns the oldest of the newest `count` positions of the named streams. Only entries up to
    /// the head count, because a batch that is being applied appears in the store entry by entry.
    fn last_of_streams(
        &self,
        names: &[&StreamName],
        interest: &Interest,
        count: usize,
        head: Position,
    ) -> Result<Option<Position>, JournalError> {
        let max_examined = count.saturating_add(MAX_EXAMINED_FOR_LAST);
        let mut positions = BTreeSet::new();
        for name in names {
            let Some(row) = self.streams.visible(name) else { continue };
            let mut found = 0;
            for pair in self.walk_segments_back(&row, head).take(max_examined) {
                let (key, value) = pair?;
                let position = keys::position_of(&key).ok_or_else(|| damaged(&key))?;
                let is_full = positions.len() >= count;
                if found == count
                    || (is_full && positions.first().is_some_and(|oldest| position < *oldest))
                {
                    break;
                }
                let is_event = IndexItem::read(&value).is_some_and(|item| item.is_event);
                let passes = interest.selects_all_types()
                    || self.entry(position)?.is_some_and(|entry| interest.passes(&entry));
                if is_event && passes {
                    found += 1;
                    positions.insert(position);
                    if positions.len() > count {
                        positions.pop_first();
                    }
                }
            }
        }
        Ok(positions.first().copied())
    }

    /// Returns the index items of a stream up to `head`, the newest first.
    fn walk_segments_back(&self, row: &StreamRow, head: Position) -> Walk<'_> {
        Box::new(self.segments(row).into_iter().flat_map(move |part| {
            let end = part.until.min(head);
            let from = keys::index(part.number, Position::from_stored(part.floor.get() + 1));
            let until = keys::index(part.number, Position::from_stored(end.get() + 1));
            let walk = (from < until).then(|| self.kv.walk_back(from, until));
            walk.into_iter().flatten()
        }))
    }

    fn last_of_pattern(
        &self,
        interest: &Interest,
        count: usize,
        head: Position,
    ) -> Result<Option<Position>, JournalError> {
        let (mut oldest, mut found) = (None, 0);
        let mut floors = HashMap::new();
        let end = keys::entry(Position::from_stored(head.get() + 1));
        let newest = self.kv.walk_back(vec![keys::ENTRY], end);
        for pair in newest.take(count.saturating_add(MAX_EXAMINED_FOR_LAST)) {
            let (key, value) = pair?;
            let position = keys::position_of(&key).ok_or_else(|| damaged(&key))?;
            let stored = StoredEntry::read(&value).ok_or_else(|| damaged(&key))?;
            let is_selected = stored.is_event()
                && stored.numbers.iter().any(|number| {
                    let floor = floors
                        .entry(*number)
                        .or_insert_with(|| self.floor_if_selected(*number, interest));
                    floor.is_some_and(|floor| floor < position)
                });
            if !is_selected {
                continue;
            }
            let names = self.names(&stored.numbers);
            if stored
                .into_entry(position, names, &self.keys)
                .is_some_and(|entry| interest.passes(&entry))
            {
                (oldest, found) = (Some(position), found + 1);
            }
            if found == count {
                break;
            }
        }
        Ok(oldest)
    }
}
