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
    /// Returns the number of removals so far. A reader that was told of a gap passes the number
    /// from that moment to [`Self::gap`].
    pub fn removals(&self) -> u64 {
        self.marks.removals.load(Ordering::Acquire)
    }

    /// Returns the gap in `interest` after a position that was caused by removals after number
    /// `told`; 0 includes all removals. The caller sets `first`.
    pub fn gap(
        &self,
        interest: &Interest,
        after: Position,
        told: u64,
    ) -> Result<Option<Gap>, JournalError> {
        if !self.removed_after(after) || self.removals() <= told {
            return Ok(None);
        }
        let unknown = Gap { missed: None, first: None };
        let is_new = |row: &StreamRow| row.floor > after && row.removal > told;
        let Some(names) = interest.exact_streams() else {
            let mut hit = self.pattern_lost_a_stream(interest, after, told)?;
            if !hit {
                self.streams.for_each(|name, row| {
                    hit = hit || (is_new(row) && interest.selects(name));
                });
            }
            return Ok(hit.then_some(unknown));
        };
        let mut hit = None;
        for name in &names {
            // A reader that continues (`told` > 0) learns of a deletion from the stream's end.
            let trace = self.tombstone(name, after)?.filter(|trace| trace.last > after);
            if trace.is_some_and(|trace| told == 0 || !trace.deleted)
                || self.may_have_lost_tombstone(name, after, told)?
            {
                hit = Some(unknown);
            } else if let Some(row) = self.streams.get(name).filter(is_new) {
                let countable = names.len() == 1 && interest.selects_all_types();
                let missed = if countable { self.missed(&row, after)? } else { None };
                hit = Some(Gap { missed, first: None });
            }
        }
        Ok(hit)
    }

    /// Returns false if [`History::is_finished`] cannot be true; a check without I/O.
    pub fn may_be_finished(&self, interest: &Interest, returning: bool) -> bool {
        interest.exact_streams().is_some_and(|names| {
            names
                .iter()
                .all(|name| self.streams.get(name).map_or(returning, |row| row.end.is_some()))
        })
    }

    /// Returns true if `interest` names only streams that have ended, with no event left after
    /// `cursor`. For a client that is `returning`, a deleted stream counts as ended if `cursor` is
    /// the position of the last end, because the client has received that end.
    pub fn is_finished(
        &self,
        interest: &Interest,
        cursor: Position,
        returning: bool,
    ) -> Result<bool, JournalError> {
        let Some(names) = interest.exact_streams() else { return Ok(false) };
        let mut last_end = Position::ZERO;
        let mut any_deleted = false;
        for name in &names {
            let end = match self.streams.get(name) {
                Some(row) => row.end,
                None if returning => {
                    any_deleted = true;
                    let trace = self.kv.get(&keys::tombstone(name.as_str()))?;
                    let trace = trace.and_then(|value| Tombstone::read(&value));
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
        let (mut left, mut after, head) = (false, cursor, self.head());
        while !left && after < head {
            after = self.read(interest, after, head, &mut |entry| {
                left = matches!(entry.body, Body::Event { .. });
                if left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
        }
        Ok(!left)
    }

    /// Returns true if a stream that a pattern selects was deleted or emptied after a position,
    /// with unread entries.
    fn pattern_lost_a_stream(
        &self,
        interest: &Interest,
        after: Position,
        told: u64,
    ) -> Result<bool, JournalError> {
        if load(&self.marks.gone_streams_to) <= after {
            return Ok(false);
        }
        if self.has_lost_tombstones(after, told) {
            return Ok(true);
        }
        for pair in self.kv.walk(vec![keys::TOMBSTONE], keys::end_of(keys::TOMBSTONE)) {
            let (key, value) = pair?;
            let name = std::str::from_utf8(&key[1..]).ok();
            let name = name.and_then(|name| StreamName::parse(name).ok());
            let (Some(name), Some(trace)) = (name, Tombstone::read(&value)) else { continue };
            let is_news = told == 0 || !trace.deleted;
            if is_news && trace.last > after && interest.selects(&name) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns true if tombstones of streams removed after `after` may have been dropped since
    /// removal number `told`.
    fn has_lost_tombstones(&self, after: Position, told: u64) -> bool {
        load(&self.marks.tombstones_lost_to) > after
            && self.marks.tombstones_lost_removal.load(Ordering::Acquire) > told
    }

    /// Returns true if a former stream of this name may have been removed after `after`, and its
    /// tombstone dropped. That is ruled out if the current stream began at or before `after`.
    fn may_have_lost_tombstone(
        &self,
        name: &StreamName,
        after: Position,
        told: u64,
    ) -> Result<bool, JournalError> {
        if !self.has_lost_tombstones(after, told) {
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

    /// Returns the named streams that were deleted at or before `by` and do not exist now. A client
    /// that returns with a later id was told of the deletion and does not wait for them.
    pub fn deleted_by(
        &self,
        interest: &Interest,
        by: Position,
    ) -> Result<Vec<StreamName>, JournalError> {
        let mut deleted = Vec::new();
        for name in interest.exact_streams().unwrap_or_default() {
            if self.streams.get(name).is_some() {
                continue;
            }
            let trace = self.kv.get(&keys::tombstone(name.as_str()))?;
            let trace = trace.and_then(|value| Tombstone::read(&value));
            if trace.is_some_and(|trace| trace.deleted && trace.position <= by) {
                deleted.push(name.clone());
            }
        }
        Ok(deleted)
    }

    /// Returns true if a stream has entries.
    pub fn has_history(&self, stream: &StreamName) -> bool {
        self.streams.get(stream).is_some()
    }

    /// Returns true if `stream` has ended at or before `by`.
    pub fn has_ended(&self, stream: &StreamName, by: Position) -> bool {
        self.streams.get(stream).and_then(|row| row.end).is_some_and(|end| end <= by)
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
        if load(&self.marks.gone_streams_to) <= after {
            return Ok(None);
        }
        let value = self.kv.get(&keys::tombstone(name.as_str()))?;
        Ok(value.and_then(|v| Tombstone::read(&v)).filter(|trace| trace.position > after))
    }
}
