//! Removed entries: gaps, ends, deletions.

use super::{History, load};
use crate::event::{Body, Interest, Position, StreamName};
use crate::journal::error::JournalError;
use crate::journal::keys::{self, IndexItem, Tombstone};
use crate::journal::store::StreamRow;
use crate::wire::Gap;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

impl History {
    /// Returns the number of removals so far. A reader that was notified of a gap passes the number
    /// from that moment to [`Self::gap`].
    pub fn removals(&self) -> u64 {
        self.marks.removals.load(Ordering::Acquire)
    }

    /// Returns the gap in `interest` after a position that was caused by removals after number
    /// `seen_removals`; 0 includes all removals. The caller sets `first`.
    pub fn gap(
        &self,
        interest: &Interest,
        after: Position,
        seen_removals: u64,
    ) -> Result<Option<Gap>, JournalError> {
        if !self.removed_after(after) || self.removals() <= seen_removals {
            return Ok(None);
        }
        let unknown = Gap { missed: None, first: None };
        let is_new = |row: &StreamRow| {
            let is_lost = |floor: Position, removal: u64| floor > after && removal > seen_removals;
            is_lost(row.floor, row.removal)
                || row.inherits_to > after
                    && self.segments(row).iter().any(|part| is_lost(part.floor, part.removal))
        };
        let Some(names) = interest.exact_streams() else {
            let mut has_gap = self.pattern_lost_a_stream(interest, after, seen_removals)?;
            if !has_gap {
                self.streams.for_each(|name, row| {
                    has_gap = has_gap || (is_new(row) && interest.selects(name));
                });
            }
            return Ok(has_gap.then_some(unknown));
        };
        let mut gap = None;
        for name in &names {
            // A reader that continues (`seen_removals` > 0) learns of a deletion from the stream's
            // end.
            let tombstone = self.tombstone(name, after)?.filter(|tombstone| tombstone.last > after);
            if tombstone.is_some_and(|tombstone| seen_removals == 0 || !tombstone.deleted)
                || self.may_have_lost_tombstone(name, after, seen_removals)?
            {
                gap = Some(unknown);
            } else if let Some(row) = self.streams.get(name).filter(is_new) {
                let is_countable = names.len() == 1 && interest.selects_all_types();
                let missed = if is_countable && row.inherits_to <= after {
                    self.missed(&row, after)?
                } else {
                    None
                };
                gap = Some(Gap { missed, first: None });
            }
        }
        Ok(gap)
    }

    /// Returns false if [`History::is_finished`] cannot be true; a check without I/O.
    pub fn may_be_finished(&self, interest: &Interest, is_returning: bool) -> bool {
        interest.exact_streams().is_some_and(|names| {
            names
                .iter()
                .all(|name| self.streams.get(name).map_or(is_returning, |row| row.end.is_some()))
        })
    }

    /// Returns true if `interest` names only streams that have ended, with no event left after
    /// `cursor`. If `is_returning`, a deleted stream counts as ended if `cursor` is the position of
    /// the last end, because the client has received that end.
    pub fn is_finished(
        &self,
        interest: &Interest,
        cursor: Position,
        is_returning: bool,
    ) -> Result<bool, JournalError> {
        // A client of a faster hub may know more than this one does yet.
        if cursor > self.head() {
            return Ok(false);
        }
        let Some(names) = interest.exact_streams() else { return Ok(false) };
        let mut last_end = Position::ZERO;
        let mut any_deleted = false;
        for name in &names {
            let end = match self.streams.get(name) {
                Some(row) => row.end,
                None if is_returning => {
                    any_deleted = true;
                    let tombstone = self.kv.get(&keys::tombstone(name.as_str()))?;
                    let tombstone = tombstone.and_then(|value| Tombstone::read(&value));
                    tombstone
                        .filter(|tombstone| tombstone.deleted)
                        .map(|tombstone| tombstone.position)
                }
                None => None,
            };
            let Some(end) = end else { return Ok(false) };
            last_end = last_end.max(end);
        }
        if any_deleted && last_end != cursor {
            return Ok(false);
        }
        let (mut has_events, mut after, head) = (false, cursor, self.head());
        while !has_events && after < head {
            after = self.read(interest, after, head, &mut |entry| {
                has_events = matches!(entry.body, Body::Event { .. });
                if has_events { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
        }
        Ok(!has_events)
    }

    /// Returns true if a stream that a pattern selects was deleted or emptied after a position,
    /// with unread entries.
    fn pattern_lost_a_stream(
        &self,
        interest: &Interest,
        after: Position,
        seen_removals: u64,
    ) -> Result<bool, JournalError> {
        if load(&self.marks.removed_streams_to) <= after {
            return Ok(false);
        }
        if self.has_lost_tombstones(after, seen_removals) {
            return Ok(true);
        }
        for pair in self.kv.walk(vec![keys::TOMBSTONE], keys::end_of(keys::TOMBSTONE)) {
            let (key, value) = pair?;
            let name = std::str::from_utf8(&key[1..]).ok();
            let name = name.and_then(|name| StreamName::parse(name).ok());
            let (Some(name), Some(tombstone)) = (name, Tombstone::read(&value)) else { continue };
            let is_new = seen_removals == 0 || !tombstone.deleted;
            if is_new && tombstone.last > after && interest.selects(&name) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns true if tombstones of streams removed after `after` may have been dropped since
    /// removal number `seen_removals`.
    fn has_lost_tombstones(&self, after: Position, seen_removals: u64) -> bool {
        load(&self.marks.tombstones_lost_to) > after
            && self.marks.tombstones_lost_removal.load(Ordering::Acquire) > seen_removals
    }

    /// Returns true if a former stream of this name may have been removed after `after`, and its
    /// tombstone dropped. That is ruled out if the current stream began at or before `after`.
    fn may_have_lost_tombstone(
        &self,
        name: &StreamName,
        after: Position,
        seen_removals: u64,
    ) -> Result<bool, JournalError> {
        if !self.has_lost_tombstones(after, seen_removals) {
            return Ok(false);
        }
        let Some(row) = self.streams.get(name) else { return Ok(true) };
        if row.floor > Position::ZERO {
            return Ok(false);
        }
        let from = keys::index(row.number, Position::ZERO);
        let until = keys::index(row.number, Position::from_stored(u64::MAX));
        let first = self.kv.walk(from, until).next().transpose()?;
        Ok(first.and_then(|(key, _)| keys::position_of(&key)).is_some_and(|first| first > after))
    }

    /// Returns the named streams that were deleted at or before `until` and do not exist now. A
    /// client that returns with a later id was notified of the deletion and does not wait for them.
    pub fn deleted_by(
        &self,
        interest: &Interest,
        until: Position,
    ) -> Result<Vec<StreamName>, JournalError> {
        let mut deleted = Vec::new();
        for name in interest.exact_streams().unwrap_or_default() {
            if self.streams.get(name).is_some() {
                continue;
            }
            let tombstone = self.kv.get(&keys::tombstone(name.as_str()))?;
            let tombstone = tombstone.and_then(|value| Tombstone::read(&value));
            if tombstone.is_some_and(|tombstone| tombstone.deleted && tombstone.position <= until) {
                deleted.push(name.clone());
            }
        }
        Ok(deleted)
    }

    /// Returns true if a stream has entries.
    pub fn has_history(&self, stream: &StreamName) -> bool {
        self.streams.visible(stream).is_some()
    }

    /// Returns true if `stream` has ended at or before `until`.
    pub fn has_ended(&self, stream: &StreamName, until: Position) -> bool {
        self.streams.get(stream).and_then(|row| row.end).is_some_and(|end| end <= until)
    }

    /// Returns the number of events of a stream that were removed after a position, if the index
    /// can still count them.
    fn missed(&self, row: &StreamRow, after: Position) -> Result<Option<u64>, JournalError> {
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

    /// Returns the tombstone of the stream, if it was deleted or emptied after `after`.
    pub(super) fn tombstone(
        &self,
        name: &StreamName,
        after: Position,
    ) -> Result<Option<Tombstone>, JournalError> {
        if load(&self.marks.removed_streams_to) <= after {
            return Ok(None);
        }
        let value = self.kv.get(&keys::tombstone(name.as_str()))?;
        Ok(value.and_then(|v| Tombstone::read(&v)).filter(|tombstone| tombstone.position > after))
    }
}
