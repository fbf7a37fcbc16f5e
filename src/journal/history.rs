//! History: everything that is kept, read forward from a place.
//!
//! Promises: in `(after, until]` a reader is shown every kept entry it wants once, in order; what
//! was removed in between is told by [`History::gap`]. Recent entries come from memory, older ones
//! from the store.
//! Never: blocks the writer. [`History::read`] may wait for a disk; callers on a worker thread ask
//! [`History::read_recent`] first.

use super::keys::{self, IndexItem, StoredEntry, StreamNumber, Trace};
use super::kv::{Kv, KvError};
use super::recent::{Recent, Visit};
use super::store::{Epochs, Row, StreamView, Streams, Totals};
use crate::event::{
    Body, EndReason, Entry, Epoch, EventId, Interest, Position, StreamName, Timestamp,
};
use crate::wire::Gap;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a subscriber without an id wants to start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// With what comes from now on.
    Now,
    /// With the oldest kept.
    Oldest,
    /// With the newest this many.
    Last(usize),
    /// With the first event at or after a moment.
    At(Timestamp),
}

/// The readers' side of a journal.
pub struct History {
    pub(super) kv: Kv,
    pub(super) streams: Arc<Streams>,
    pub(super) recent: Recent,
    pub(super) epochs: Epochs,
    pub(super) marks: Marks,
}

/// Places that the writer moves and readers look at.
#[derive(Default)]
pub(super) struct Marks {
    head: AtomicU64,
    removed_to: AtomicU64,
    forgotten_to: AtomicU64,
    removals: AtomicU64,
}

impl Marks {
    pub(super) fn set_removed(&self, totals: &Totals, removals: u64) {
        self.forgotten_to.store(totals.forgotten_to.get(), Ordering::Release);
        self.removed_to.store(totals.removed_to.get(), Ordering::Release);
        self.removals.store(removals, Ordering::Release);
    }

    pub(super) fn set_head(&self, head: Position) {
        self.head.store(head.get(), Ordering::Release);
    }
}

fn load(mark: &AtomicU64) -> Position {
    Position::from_stored(mark.load(Ordering::Acquire))
}

impl History {
    /// The last committed place.
    pub fn head(&self) -> Position {
        load(&self.marks.head)
    }

    /// The epoch of new events.
    pub fn epoch(&self) -> Epoch {
        self.epochs.current()
    }

    /// The id of the entry at `position`.
    pub fn id(&self, position: Position) -> EventId {
        self.epochs.id(position)
    }

    /// The place that `id` names, or `None` where it means nothing here.
    pub fn resolve(&self, id: EventId) -> Option<Position> {
        self.epochs.resolve(id, self.head())
    }

    /// Whether anything at all was removed after a place; a cheap first look.
    pub fn removed_after(&self, after: Position) -> bool {
        load(&self.marks.removed_to) > after
    }

    /// Reads from memory alone; `None` where it is not all there.
    pub fn read_recent(
        &self,
        interest: &Interest,
        range: (Position, Position),
        visit: &mut Visit<'_>,
    ) -> Option<Position> {
        self.recent.read(&self.streams, interest, range, visit)
    }

    /// Shows `visit` what `interest` wants in `(after, until]`; returns the place it got to.
    pub fn read(
        &self,
        interest: &Interest,
        range: (Position, Position),
        visit: &mut Visit<'_>,
    ) -> Result<Position, KvError> {
        if let Some(through) = self.read_recent(interest, range, visit) {
            return Ok(through);
        }
        let stopped_at = match interest.exact_streams() {
            Some(names) => self.read_narrow(&names, interest, range, visit)?,
            None => self.read_wide(interest, range, visit)?,
        };
        Ok(stopped_at.unwrap_or(range.1))
    }

    /// The first entry wanted in `(after, until]`.
    pub fn first(
        &self,
        interest: &Interest,
        range: (Position, Position),
    ) -> Result<Option<Position>, KvError> {
        let mut first = None;
        self.read(interest, range, &mut |entry| {
            first = Some(entry.position);
            ControlFlow::Break(())
        })?;
        Ok(first)
    }

    /// Removals so far. A reader that has been told of a gap passes the number it was told at.
    pub fn removals(&self) -> u64 {
        self.marks.removals.load(Ordering::Acquire)
    }

    /// What was taken from `interest` after a place by removals later than the `told`-th; 0 for
    /// all there ever were. `first` is left to the caller.
    pub fn gap(
        &self,
        interest: &Interest,
        after: Position,
        told: u64,
    ) -> Result<Option<Gap>, KvError> {
        if !self.removed_after(after) || self.removals() <= told {
            return Ok(None);
        }
        let unknown = Gap { missed: None, first: None };
        let is_new = |row: &Row| row.floor > after && row.removal > told;
        let Some(names) = interest.exact_streams() else {
            let mut hit = load(&self.marks.forgotten_to) > after;
            if !hit {
                self.streams.for_each(|name, row| {
                    hit = hit || (is_new(row) && interest.selects(name));
                });
            }
            return Ok(hit.then_some(unknown));
        };
        let mut hit = None;
        for name in &names {
            // Whoever is told of a deletion while reading on is told by the stream's end.
            let trace = self.trace(name, after)?.filter(|trace| trace.last > after);
            if trace.is_some_and(|trace| told == 0 || !trace.deleted) {
                hit = Some(unknown);
            } else if let Some(row) = self.streams.get(name).filter(is_new) {
                let countable = names.len() == 1 && interest.wants_all_types();
                let missed = if countable { self.missed(&row, after)? } else { None };
                hit = Some(Gap { missed, first: None });
            }
        }
        Ok(hit)
    }

    /// A look without I/O: whether [`History::is_finished`] could be true.
    pub fn may_be_finished(&self, interest: &Interest, returning: bool) -> bool {
        interest.exact_streams().is_some_and(|names| {
            names
                .iter()
                .all(|name| self.streams.get(name).map_or(returning, |row| row.end.is_some()))
        })
    }

    /// Whether `interest` names only streams that have ended, with no event left after `cursor`.
    /// A stream that was deleted counts as ended for one who is `returning` from being told so:
    /// its cursor is then the place of the last end.
    pub fn is_finished(
        &self,
        interest: &Interest,
        cursor: Position,
        returning: bool,
    ) -> Result<bool, KvError> {
        let Some(names) = interest.exact_streams() else { return Ok(false) };
        let mut last_end = Position::ZERO;
        let mut any_deleted = false;
        for name in &names {
            let end = match self.streams.get(name) {
                Some(row) => row.end,
                None if returning => {
                    any_deleted = true;
                    let trace = self.kv.get(&keys::trace(name.as_str()))?;
                    let trace = trace.and_then(|value| Trace::read(&value));
                    trace.filter(|trace| trace.deleted).map(|trace| trace.position)
                }
                None => None,
            };
            let Some(end) = end else { return Ok(false) };
            last_end = last_end.max(end);
        }
        if any_deleted && last_end != cursor {
            return Ok(false);
        }
        let mut left = false;
        self.read(interest, (cursor, self.head()), &mut |entry| {
            left = matches!(entry.body, Body::Event { .. });
            if left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(!left)
    }

    /// Whether `stream` has ended at or before `by`.
    pub fn has_ended(&self, stream: &StreamName, by: Position) -> bool {
        self.streams.get(stream).and_then(|row| row.end).is_some_and(|end| end <= by)
    }

    /// The place before the first event that `start` asks for.
    pub fn place(&self, interest: &Interest, start: Start) -> Result<Position, KvError> {
        let head = self.head();
        match start {
            Start::Now => Ok(head),
            Start::Oldest => self.before_first(interest, Position::ZERO, head),
            Start::Last(count) => self.place_of_last(interest, count),
            Start::At(time) => {
                let mark = self.time_mark(time)?;
                let mut before = head;
                self.read(interest, (mark, head), &mut |entry| {
                    if entry.time < time {
                        return ControlFlow::Continue(());
                    }
                    before = entry.position.before();
                    ControlFlow::Break(())
                })?;
                Ok(before)
            }
        }
    }

    /// The place before the first entry wanted in `(after, until]`; `until` where there is none.
    pub fn before_first(
        &self,
        interest: &Interest,
        after: Position,
        until: Position,
    ) -> Result<Position, KvError> {
        Ok(self.first(interest, (after, until))?.map_or(until, Position::before))
    }

    /// What is known of one stream.
    pub fn stream(&self, name: &StreamName) -> Result<Option<StreamView>, KvError> {
        let Some(row) = self.streams.get(name) else { return Ok(None) };
        let from = keys::index(row.number, Position::from_stored(row.floor.get() + 1));
        let until = keys::index(row.number, Position::from_stored(u64::MAX));
        let first = self.kv.walk(from, until).next().transpose()?;
        Ok(Some(StreamView {
            ended: row.end.is_some(),
            events: row.events,
            bytes: row.bytes,
            first: first.and_then(|(key, _)| keys::position_of(&key)),
            last: row.last,
            last_time: row.last_time,
        }))
    }

    /// The streams with history whose names start with `prefix`, sorted, from after `after`.
    pub fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(StreamName, StreamView)>, KvError> {
        let start = match after {
            Some(after) if after >= prefix => [keys::name(after), vec![0]].concat(),
            _ => keys::name(prefix),
        };
        let mut found = Vec::new();
        for pair in self.kv.walk(start, keys::end_of(keys::NAME)) {
            let (key, _) = pair?;
            let Ok(text) = std::str::from_utf8(&key[1..]) else { continue };
            if found.len() == limit || !text.starts_with(prefix) {
                break;
            }
            let Ok(name) = StreamName::parse(text) else { continue };
            if let Some(view) = self.stream(&name)? {
                found.push((name, view));
            }
        }
        Ok(found)
    }

    /// Streams that have history.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// How many events of a stream were removed after a place, where the index still tells.
    fn missed(&self, row: &Row, after: Position) -> Result<Option<u64>, KvError> {
        if after < row.counted_from {
            return Ok(None);
        }
        let from = keys::index(row.number, Position::from_stored(after.get() + 1));
        let until = keys::index(row.number, Position::from_stored(u64::MAX));
        let Some((_, value)) = self.kv.walk(from, until).next().transpose()? else {
            return Ok(None);
        };
        let first_after = IndexItem::read(&value).map(|item| item.ordinal);
        Ok(first_after.map(|ordinal| (row.removed_ordinal() + 1).saturating_sub(ordinal)))
    }

    /// What is remembered of a stream by this name that went after `after`.
    fn trace(&self, name: &StreamName, after: Position) -> Result<Option<Trace>, KvError> {
        if load(&self.marks.forgotten_to) <= after {
            return Ok(None);
        }
        let value = self.kv.get(&keys::trace(name.as_str()))?;
        Ok(value.and_then(|v| Trace::read(&v)).filter(|trace| trace.position > after))
    }

    /// A place at or before the first entry of `time` or later, at most a time mark away.
    fn time_mark(&self, time: Timestamp) -> Result<Position, KvError> {
        let until = [keys::time(time), vec![0]].concat();
        let mark = self.kv.walk_back(vec![keys::TIME], until).next().transpose()?;
        let place = mark.and_then(|(_, value)| Some(u64::from_be_bytes(*value.first_chunk()?)));
        Ok(place.map_or(Position::ZERO, |place| Position::from_stored(place).before()))
    }

    fn read_narrow(
        &self,
        names: &[&StreamName],
        interest: &Interest,
        (after, until): (Position, Position),
        visit: &mut Visit<'_>,
    ) -> Result<Option<Position>, KvError> {
        let mut deletions = BTreeSet::new();
        let mut walks = Vec::new();
        let mut next = BinaryHeap::new();
        for name in names {
            if let Some(trace) = self.trace(name, after)?.filter(|trace| trace.deleted) {
                if trace.position <= until {
                    deletions.insert((trace.position, trace.time, *name));
                }
            }
            let Some(row) = self.streams.get(name) else { continue };
            let start = Position::from_stored(row.floor.max(after).get() + 1);
            let end = Position::from_stored(until.get().saturating_add(1));
            if start >= end {
                continue;
            }
            let mut walk =
                self.kv.walk(keys::index(row.number, start), keys::index(row.number, end));
            if let Some(place) = next_place(&mut walk)? {
                next.push(std::cmp::Reverse((place, walks.len())));
                walks.push(walk);
            }
        }
        let mut shown = Position::ZERO;
        while let Some(std::cmp::Reverse((place, at))) = next.pop() {
            while let Some((position, time, name)) = deletions.first().filter(|d| d.0 < place) {
                if visit(&deletion(*position, *time, name)).is_break() {
                    return Ok(Some(*position));
                }
                deletions.pop_first();
            }
            if let Some(following) = next_place(&mut walks[at])? {
                next.push(std::cmp::Reverse((following, at)));
            }
            if place == shown {
                continue;
            }
            shown = place;
            let Some(entry) = self.entry(place)? else { continue };
            if interest.passes(&entry) && visit(&entry).is_break() {
                return Ok(Some(place));
            }
        }
        for (position, time, name) in deletions {
            if visit(&deletion(position, time, name)).is_break() {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    fn read_wide(
        &self,
        interest: &Interest,
        (after, until): (Position, Position),
        visit: &mut Visit<'_>,
    ) -> Result<Option<Position>, KvError> {
        let from = keys::entry(Position::from_stored(after.get() + 1));
        let to = keys::entry(Position::from_stored(until.get().saturating_add(1)));
        let mut known = HashMap::new();
        for pair in self.kv.walk(from, to) {
            let (key, value) = pair?;
            let position = keys::position_of(&key).ok_or_else(|| damaged(&key))?;
            let stored = StoredEntry::read(&value).ok_or_else(|| damaged(&key))?;
            let shown = stored.is_deletion()
                || stored.numbers.iter().any(|number| {
                    let wanted =
                        known.entry(*number).or_insert_with(|| self.wanted(*number, interest));
                    wanted.is_some_and(|floor| floor < position)
                });
            if !shown {
                continue;
            }
            let names = self.names(&stored.numbers);
            let entry = stored.into_entry(position, names).ok_or_else(|| damaged(&key))?;
            if interest.wants(&entry) && visit(&entry).is_break() {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    /// The floor of a stream that is there and selected.
    fn wanted(&self, number: StreamNumber, interest: &Interest) -> Option<Position> {
        let name = self.streams.name_of(number).filter(|name| interest.selects(name))?;
        self.streams.get(&name).map(|row| row.floor)
    }

    fn names(&self, numbers: &[StreamNumber]) -> Vec<StreamName> {
        numbers.iter().filter_map(|number| self.streams.name_of(*number)).collect()
    }

    fn entry(&self, position: Position) -> Result<Option<Entry>, KvError> {
        let key = keys::entry(position);
        let Some(value) = self.kv.get(&key)? else { return Ok(None) };
        let stored = StoredEntry::read(&value).ok_or_else(|| damaged(&key))?;
        let names = self.names(&stored.numbers);
        stored.into_entry(position, names).map(Some).ok_or_else(|| damaged(&key))
    }

    fn place_of_last(&self, interest: &Interest, count: usize) -> Result<Position, KvError> {
        let head = self.head();
        if count == 0 {
            return Ok(head);
        }
        let places = match interest.exact_streams() {
            Some(names) => self.last_narrow(&names, interest, count)?,
            None => self.last_wide(interest, count)?,
        };
        Ok(places.first().map_or(head, |place| place.before()))
    }

    /// The newest `count` places of the streams named.
    fn last_narrow(
        &self,
        names: &[&StreamName],
        interest: &Interest,
        count: usize,
    ) -> Result<BTreeSet<Position>, KvError> {
        let mut places = BTreeSet::new();
        for name in names {
            let Some(row) = self.streams.get(name) else { continue };
            let from = keys::index(row.number, Position::from_stored(row.floor.get() + 1));
            let until = keys::index(row.number, Position::from_stored(u64::MAX));
            let mut taken = 0;
            for pair in self.kv.walk_back(from, until) {
                let (key, value) = pair?;
                let place = keys::position_of(&key).ok_or_else(|| damaged(&key))?;
                let full = places.len() >= count;
                if taken == count || (full && places.first().is_some_and(|oldest| place < *oldest))
                {
                    break;
                }
                let is_event = IndexItem::read(&value).is_some_and(|item| item.is_event);
                let passes = interest.wants_all_types()
                    || self.entry(place)?.is_some_and(|entry| interest.passes(&entry));
                if is_event && passes {
                    taken += 1;
                    places.insert(place);
                    if places.len() > count {
                        places.pop_first();
                    }
                }
            }
        }
        Ok(places)
    }

    fn last_wide(&self, interest: &Interest, count: usize) -> Result<BTreeSet<Position>, KvError> {
        let mut places = BTreeSet::new();
        let mut known = HashMap::new();
        for pair in self.kv.walk_back(vec![keys::ENTRY], keys::end_of(keys::ENTRY)) {
            let (key, value) = pair?;
            let place = keys::position_of(&key).ok_or_else(|| damaged(&key))?;
            let stored = StoredEntry::read(&value).ok_or_else(|| damaged(&key))?;
            let kept = stored.is_event()
                && stored.numbers.iter().any(|number| {
                    let wanted =
                        known.entry(*number).or_insert_with(|| self.wanted(*number, interest));
                    wanted.is_some_and(|floor| floor < place)
                });
            if !kept {
                continue;
            }
            let names = self.names(&stored.numbers);
            if stored.into_entry(place, names).is_some_and(|entry| interest.passes(&entry)) {
                places.insert(place);
            }
            if places.len() == count {
                break;
            }
        }
        Ok(places)
    }
}

fn next_place(walk: &mut super::kv::Walk<'_>) -> Result<Option<Position>, KvError> {
    let Some((key, _)) = walk.next().transpose()? else { return Ok(None) };
    keys::position_of(&key).map(Some).ok_or_else(|| damaged(&key))
}

fn deletion(position: Position, time: Timestamp, name: &StreamName) -> Entry {
    let body = Body::End(EndReason::Deleted);
    Entry { position, time, streams: [name.clone()].into(), body }
}

fn damaged(key: &[u8]) -> KvError {
    KvError(format!("the journal's entry under key {} is damaged", key.escape_ascii()))
}
