//! Reading forward: from memory if it holds the whole range, otherwise from the store.
//!
//! A read of named streams merges their indexes; a read by pattern scans the entries.

use super::forks::inherited;
use super::{History, damaged};
use crate::event::{Body, EndReason, Entry, Interest, Position, StreamName, Timestamp};
use crate::journal::error::JournalError;
use crate::journal::keys::{self, StoredEntry, StreamNumber};
use crate::journal::kv::Walk;
use crate::journal::recent::Visit;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::ops::ControlFlow;

/// Maximum number of entries that one read examines, selected or not, so that no reader monopolizes
/// the disk.
const MAX_EXAMINED_ENTRIES: usize = 8_192;
/// Maximum number of reads in a search for the first entry.
const MAX_READS_FOR_FIRST: usize = 32;

/// Position of the next entry of an interest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstEntry {
    /// Position of the entry.
    At(Position),
    /// No entry up to this position is selected.
    NoneUpTo(Position),
}

impl FirstEntry {
    /// Returns the position, if an entry was found.
    pub fn found(self) -> Option<Position> {
        match self {
            Self::At(first) => Some(first),
            Self::NoneUpTo(_) => None,
        }
    }

    /// Returns a position with no selected entry between the start of the search and it.
    pub fn before(self) -> Position {
        match self {
            Self::At(first) => first.before(),
            Self::NoneUpTo(position) => position,
        }
    }
}

impl History {
    /// Reads only from memory; returns `None` if memory does not hold the whole range.
    pub fn read_recent(
        &self,
        interest: &Interest,
        after: Position,
        until: Position,
        visit: &mut Visit<'_>,
    ) -> Option<Position> {
        self.recent.read(&self.streams, interest, after, until, visit)
    }

    /// Calls `visit` for the entries in `(after, until]` that `interest` selects, in order. Returns
    /// the position reached, which may be before `until` because a read examines a bounded number
    /// of entries.
    pub fn read(
        &self,
        interest: &Interest,
        after: Position,
        until: Position,
        visit: &mut Visit<'_>,
    ) -> Result<Position, JournalError> {
        if let Some(through) = self.read_recent(interest, after, until, visit) {
            return Ok(through);
        }
        let stopped_at = match interest.exact_streams() {
            Some(names) => self.read_streams(&names, interest, after, until, visit)?,
            None => self.read_pattern(interest, after, until, visit)?,
        };
        Ok(stopped_at.unwrap_or(until))
    }

    /// Returns the first selected entry in `(after, until]`, or the position up to which there is
    /// none: `until`, or the end of what can be examined in reasonable time.
    pub fn first(
        &self,
        interest: &Interest,
        mut after: Position,
        until: Position,
    ) -> Result<FirstEntry, JournalError> {
        for _ in 0..MAX_READS_FOR_FIRST {
            let mut first = None;
            after = self.read(interest, after, until, &mut |entry| {
                first = Some(entry.position);
                ControlFlow::Break(())
            })?;
            if let Some(first) = first {
                return Ok(FirstEntry::At(first));
            }
            if after >= until {
                break;
            }
        }
        Ok(FirstEntry::NoneUpTo(after))
    }

    /// Returns the streams of the entry at a position; none if the entry was removed.
    pub fn streams_at(&self, position: Position) -> Result<Vec<StreamName>, JournalError> {
        let entry = self.entry(position)?;
        Ok(entry.map_or_else(Vec::new, |entry| entry.streams.into_vec()))
    }

    fn read_streams(
        &self,
        names: &[&StreamName],
        interest: &Interest,
        after: Position,
        until: Position,
        visit: &mut Visit<'_>,
    ) -> Result<Option<Position>, JournalError> {
        let mut deletions = BTreeSet::new();
        let mut walks = Vec::new();
        let mut next = BinaryHeap::new();
        for name in names {
            if let Some(tombstone) =
                self.tombstone(name, after)?.filter(|tombstone| tombstone.deleted)
                && tombstone.position <= until
            {
                deletions.insert((tombstone.position, tombstone.time, *name));
            }
            let Some(row) = self.streams.get(name) else { continue };
            if row.is_gone {
                let deleted_at = row.last;
                if (after.get() + 1..=until.get()).contains(&deleted_at.get()) {
                    deletions.insert((deleted_at, row.last_time, *name));
                }
                continue;
            }
            for segment in self.segments(&row) {
                let start = Position::from_stored(segment.floor.max(after).get() + 1);
                let end = Position::from_stored(until.min(segment.until).get().saturating_add(1));
                if start >= end {
                    continue;
                }
                let (start, end) =
                    (keys::index(segment.number, start), keys::index(segment.number, end));
                let mut walk = self.kv.walk(start, end);
                if let Some(position) = next_position(&mut walk)? {
                    next.push(Reverse((position, walks.len())));
                    walks.push((walk, segment.is_inherited.then_some(*name)));
                }
            }
        }
        let mut last_position = Position::ZERO;
        let mut examined = 0;
        while let Some(Reverse((position, walk_index))) = next.pop() {
            while let Some((deleted_at, time, name)) = deletions.first().filter(|d| d.0 < position)
            {
                if visit(&deletion(*deleted_at, *time, name)).is_break() {
                    return Ok(Some(*deleted_at));
                }
                deletions.pop_first();
            }
            let (walk, fork) = &mut walks[walk_index];
            if let Some(following) = next_position(walk)? {
                next.push(Reverse((following, walk_index)));
            }
            if position == last_position {
                continue;
            }
            last_position = position;
            examined += 1;
            let entry = self.entry(position)?;
            let entry = match fork {
                Some(fork) => entry.and_then(|entry| inherited(entry, fork)),
                None => entry,
            };
            let entry = entry.filter(|entry| interest.passes(entry));
            if entry.is_some_and(|entry| visit(&entry).is_break())
                || examined >= interest.examined(MAX_EXAMINED_ENTRIES)
            {
                return Ok(Some(position));
            }
        }
        for (position, time, name) in deletions {
            if visit(&deletion(position, time, name)).is_break() {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    fn read_pattern(
        &self,
        interest: &Interest,
        after: Position,
        until: Position,
        visit: &mut Visit<'_>,
    ) -> Result<Option<Position>, JournalError> {
        let from = keys::entry(Position::from_stored(after.get() + 1));
        let to = keys::entry(Position::from_stored(until.get().saturating_add(1)));
        let mut floors = HashMap::new();
        for (examined, pair) in self.kv.walk(from, to).enumerate() {
            let (key, value) = pair?;
            let position = keys::position_of(&key).ok_or_else(|| damaged(&key))?;
            let stored = StoredEntry::read(&value).ok_or_else(|| damaged(&key))?;
            let is_selected = stored.is_deletion()
                || stored.numbers.iter().any(|number| {
                    let floor = floors
                        .entry(*number)
                        .or_insert_with(|| self.floor_if_selected(*number, interest));
                    floor.is_some_and(|floor| floor < position)
                });
            let is_last = examined + 1 == MAX_EXAMINED_ENTRIES;
            let names = self.names(&stored.numbers);
            // The stream of a sealed entry may have been deleted meanwhile.
            if is_selected && (stored.sealed_by().is_none() || !names.is_empty()) {
                let entry = stored.into_entry(position, names, &self.keys);
                let entry = entry.ok_or_else(|| damaged(&key))?;
                if interest.selects_entry(&entry) && visit(&entry).is_break() {
                    return Ok(Some(position));
                }
            }
            if is_last {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    /// Returns the floor of a stream, if it exists and is selected.
    pub(super) fn floor_if_selected(
        &self,
        number: StreamNumber,
        interest: &Interest,
    ) -> Option<Position> {
        let name = self.streams.name_of(number).filter(|name| interest.selects(name))?;
        self.streams.visible(&name).map(|row| row.floor)
    }

    pub(super) fn names(&self, numbers: &[StreamNumber]) -> Vec<StreamName> {
        numbers.iter().filter_map(|number| self.streams.name_of(*number)).collect()
    }

    pub(super) fn entry(&self, position: Position) -> Result<Option<Entry>, JournalError> {
        let key = keys::entry(position);
        let Some(value) = self.kv.get(&key)? else { return Ok(None) };
        let stored = StoredEntry::read(&value).ok_or_else(|| damaged(&key))?;
        let names = self.names(&stored.numbers);
        if stored.sealed_by().is_some() && names.is_empty() {
            // The stream was deleted during the read.
            return Ok(None);
        }
        stored.into_entry(position, names, &self.keys).map(Some).ok_or_else(|| damaged(&key))
    }
}

fn next_position(walk: &mut Walk<'_>) -> Result<Option<Position>, JournalError> {
    let Some((key, _)) = walk.next().transpose()? else { return Ok(None) };
    keys::position_of(&key).map(Some).ok_or_else(|| damaged(&key))
}

fn deletion(position: Position, time: Timestamp, name: &StreamName) -> Entry {
    let body = Body::End(EndReason::Deleted);
    Entry { position, time, streams: [name.clone()].into(), body }
}
