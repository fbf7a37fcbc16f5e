//! Retention: the limits of each stream, and the cap on the whole hub.
//!
//! Removal moves a floor: readers respect it immediately, and compaction drops the entries below it
//! later. Counts and bytes are exact after every batch; age and the cap are enforced in steps.

use super::super::keys::{self, IndexItem, StoredEntry, StreamNumber};
use super::{MAX_LEAD_MS, Store, StreamRow, Streams};
use crate::event::{Position, Selector, StreamName, Timestamp};
use crate::journal::error::JournalError;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

/// Index items read ahead when a stream is trimmed: a busy stream costs one seek per this many.
const READ_AHEAD: usize = 64;
/// Maximum number of streams with items read ahead; beyond it, all items are discarded and read
/// again.
const MAX_READ_AHEADS: usize = 1024;
/// Maximum number of entries that one step of the total cap examines, so that no batch waits long
/// for it; twice what a batch can add, so that removal is faster than writing.
const SHRINK_STEP: usize = 2 * crate::event::MAX_ENTRIES_PER_BATCH;
/// Maximum number of entries that one step removes from one stream, for the same reasons. If there
/// is more to remove, for example after limits were lowered, the next batch or tick continues.
const TRIM_STEP: usize = SHRINK_STEP;
/// Maximum number of streams that one tick continues.
const STREAMS_PER_TICK: usize = 256;

/// Retention of one stream; `None` means no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RetentionLimits {
    /// Maximum age of events, in milliseconds.
    pub max_age_ms: Option<u64>,
    /// Maximum number of events; the oldest are removed first.
    pub max_events: Option<u64>,
    /// Maximum number of stored bytes of events; the oldest are removed first.
    pub max_bytes: Option<u64>,
}

impl RetentionLimits {
    /// Returns true if a stream has more events or bytes than it may keep.
    fn is_exceeded_by(&self, row: &StreamRow) -> bool {
        self.max_events.is_some_and(|max| row.events > max)
            || self.max_bytes.is_some_and(|max| row.bytes > max)
    }
}

/// Retention of all streams.
#[derive(Clone, Debug, Default)]
pub struct RetentionPolicy {
    /// Limits by pattern; the first pattern that matches a stream applies.
    pub rules: Vec<(Selector, RetentionLimits)>,
    /// Limits of all other streams.
    pub otherwise: RetentionLimits,
    /// Maximum number of stored bytes in total; the oldest events of the whole hub are removed
    /// first.
    pub total_bytes: u64,
}

impl RetentionPolicy {
    fn limits(&self, name: &StreamName) -> RetentionLimits {
        let rule = self.rules.iter().find(|(selector, _)| selector.matches(name));
        rule.map_or(self.otherwise, |(_, limits)| *limits)
    }
}

/// Streams with entries to remove, and the index items that were read ahead.
pub(super) struct Trimmer {
    retention: RetentionPolicy,
    read_ahead: HashMap<StreamNumber, VecDeque<(Position, IndexItem)>>,
    /// Times at which the oldest entry of streams with an age limit may expire.
    due: BinaryHeap<Reverse<Due>>,
    waiting: HashSet<StreamNumber>,
    /// Streams for which one step was not enough.
    unfinished: VecDeque<StreamName>,
    /// Rows changed since the last commit, and since the floors were last published.
    dirty: HashSet<StreamName>,
    unpublished: HashSet<StreamName>,
    removed: Vec<StreamNumber>,
}

/// A stream whose oldest entries may expire.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    /// Time, in milliseconds since 1970.
    at_ms: u64,
    number: StreamNumber,
    name: StreamName,
    /// Position up to which entries were written before the clock was set back; their age counts
    /// from when they were found. Zero if there are none.
    ahead_to: Position,
}

/// Returns true if the time of an entry is from a clock that was ahead of the current one.
fn is_ahead(item: &IndexItem, wall: Timestamp) -> bool {
    item.time.ms() > wall.ms().saturating_add(MAX_LEAD_MS)
}

impl Trimmer {
    pub(super) fn new(retention: RetentionPolicy, streams: &Streams) -> Self {
        let mut trimmer = Self {
            retention,
            read_ahead: HashMap::new(),
            due: BinaryHeap::new(),
            waiting: HashSet::new(),
            unfinished: VecDeque::new(),
            dirty: HashSet::new(),
            unpublished: HashSet::new(),
            removed: Vec::new(),
        };
        streams.for_each(|name, row| {
            trimmer.record_append(name, row, Timestamp::default());
            if trimmer.retention.limits(name).is_exceeded_by(row) {
                trimmer.unfinished.push_back(name.clone());
            }
        });
        trimmer
    }

    /// Records new entries of a stream. A stream with an age limit is due when the first of them
    /// is.
    pub(super) fn record_append(&mut self, name: &StreamName, row: &StreamRow, now: Timestamp) {
        if let Some(age) = self.retention.limits(name).max_age_ms
            && self.waiting.insert(row.number)
        {
            let at_ms = now.ms().saturating_add(age);
            let (number, name) = (row.number, name.clone());
            self.due.push(Reverse(Due { at_ms, number, name, ahead_to: Position::ZERO }));
        }
    }

    /// Moves all due times to at most their age limit after `now`, to which the clock was set back.
    pub(super) fn schedule_expiry(&mut self, now: Timestamp) {
        let all = std::mem::take(&mut self.due).into_iter();
        let rescheduled = all.map(|Reverse(mut due)| {
            let age = self.retention.limits(&due.name).max_age_ms.unwrap_or_default();
            due.at_ms = due.at_ms.min(now.ms().saturating_add(age));
            Reverse(due)
        });
        self.due = rescheduled.collect();
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.due.peek().is_some_and(|Reverse(due)| due.at_ms <= now.ms())
    }

    /// Returns true if a tick left work for the next one.
    pub(super) fn has_more(&self, now: Timestamp) -> bool {
        self.is_due(now) || !self.unfinished.is_empty()
    }

    /// Discards the state of a stream that no longer exists.
    pub(super) fn forget(&mut self, number: StreamNumber) {
        self.read_ahead.remove(&number);
        self.waiting.remove(&number);
    }

    /// Records a stream whose data is no longer needed.
    pub(super) fn release(&mut self, number: StreamNumber) {
        self.forget(number);
        self.removed.push(number);
    }

    /// Takes the streams whose heads must be part of the next commit.
    pub(super) fn take_dirty(&mut self) -> HashSet<StreamName> {
        std::mem::take(&mut self.dirty)
    }

    /// Takes the streams whose floors have moved since the last call.
    pub(super) fn take_unpublished(&mut self) -> HashSet<StreamName> {
        std::mem::take(&mut self.unpublished)
    }

    pub(super) fn take_removed(&mut self) -> Vec<StreamNumber> {
        std::mem::take(&mut self.removed)
    }
}

impl Store {
    /// Trims the streams of a batch to their limits on count and bytes, and the hub to its cap.
    pub(super) fn trim(&mut self, touched: &[StreamName]) -> Result<(), JournalError> {
        for name in touched {
            self.trim_to_limits(name)?;
        }
        self.shrink()
    }

    /// Continues with streams for which one step was not enough.
    pub(super) fn trim_unfinished(&mut self) -> Result<(), JournalError> {
        for _ in 0..STREAMS_PER_TICK.min(self.trimmer.unfinished.len()) {
            let Some(name) = self.trimmer.unfinished.pop_front() else { break };
            self.trim_to_limits(&name)?;
        }
        Ok(())
    }

    fn trim_to_limits(&mut self, name: &StreamName) -> Result<(), JournalError> {
        let limits = self.trimmer.retention.limits(name);
        let Some(before) = self.streams.get(name).filter(|row| limits.is_exceeded_by(row)) else {
            return Ok(());
        };
        let mut steps = TRIM_STEP;
        self.trim_stream(name, &mut steps, |row, _, _| limits.is_exceeded_by(row))?;
        let after = self.streams.get(name).filter(|row| limits.is_exceeded_by(row));
        if after.is_some_and(|row| row.floor > before.floor) {
            self.trimmer.unfinished.push_back(name.clone());
        }
        Ok(())
    }

    /// Removes entries that exceed the age limit of their stream.
    pub(super) fn expire(&mut self, now: Timestamp, wall: Timestamp) -> Result<(), JournalError> {
        let mut steps = TRIM_STEP;
        for _ in 0..STREAMS_PER_TICK {
            if steps == 0 || !self.trimmer.is_due(now) {
                break;
            }
            let Some(Reverse(due)) = self.trimmer.due.pop() else { break };
            let Due { number, name, ahead_to, .. } = due;
            let Some(age) = self.trimmer.retention.limits(&name).max_age_ms else { continue };
            if self.streams.get(&name).is_none_or(|row| row.number != number) {
                continue;
            }
            let is_old = |_: &StreamRow, position: Position, item: &IndexItem| {
                item.time.ms().saturating_add(age) <= now.ms()
                    || position <= ahead_to && is_ahead(item, wall)
            };
            let front = self.trim_stream(&name, &mut steps, is_old)?;
            match front {
                Some(front) => {
                    let (front_position, front) = front;
                    let (at_ms, ahead_to) = if !is_ahead(&front, wall) {
                        (front.time.ms().saturating_add(age), Position::ZERO)
                    } else if front_position <= ahead_to {
                        // One step was not enough for all entries that were found.
                        (now.ms(), ahead_to)
                    } else {
                        (now.ms().saturating_add(age), self.totals.last)
                    };
                    self.trimmer.due.push(Reverse(Due { at_ms, number, name, ahead_to }));
                }
                None => {
                    self.trimmer.waiting.remove(&number);
                }
            }
        }
        Ok(())
    }

    /// Runs one step that removes the oldest entries while the hub exceeds its cap.
    pub(super) fn shrink(&mut self) -> Result<(), JournalError> {
        if !self.is_over_cap() {
            return Ok(());
        }
        let from = keys::entry(Position::from_stored(self.totals.floor.get() + 1));
        let kv = self.kv.clone();
        for pair in kv.walk(from, keys::end_of(keys::ENTRY)).take(SHRINK_STEP) {
            if !self.is_over_cap() {
                break;
            }
            let (key, value) = pair?;
            let (Some(position), Some(entry)) =
                (keys::position_of(&key), StoredEntry::read(&value))
            else {
                return Err(JournalError::damaged("the oldest entry of the journal"));
            };
            self.totals.floor = position;
            self.drop_entry(position, &entry, value.len() as u64);
        }
        Ok(())
    }

    /// Returns true if the hub stores more than its cap.
    pub(super) fn is_over_cap(&self) -> bool {
        self.totals.bytes > self.trimmer.retention.total_bytes
    }

    fn drop_entry(&mut self, position: Position, entry: &StoredEntry, bytes: u64) {
        let mut was_counted = false;
        self.totals.removed_to = self.totals.removed_to.max(position);
        for number in &entry.numbers {
            if entry.numbers.len() > 1 && self.deleted.counts(*number, position) {
                was_counted = true;
                self.deleted.put(*number, position, &mut self.pending_changes);
            }
            let Some(name) = self.streams.name_of(*number) else { continue };
            let Some(mut row) = self.streams.get(&name).filter(|row| row.floor < position) else {
                continue;
            };
            was_counted = true;
            row.remove_front(position, bytes, entry.numbers.len() == 1, entry.is_event());
            self.put_trimmed(&name, row);
        }
        if was_counted {
            self.subtract_bytes(bytes);
        }
    }

    /// Removes entries from the front of a stream while `should_remove` returns true and `steps`
    /// are left; returns the new front.
    fn trim_stream(
        &mut self,
        name: &StreamName,
        steps: &mut usize,
        should_remove: impl Fn(&StreamRow, Position, &IndexItem) -> bool,
    ) -> Result<Option<(Position, IndexItem)>, JournalError> {
        let Some(mut row) = self.streams.get(name) else { return Ok(None) };
        let before = row;
        let mut front = None;
        while let Some((position, item)) = self.front(&row)? {
            // An end is the last entry of its stream; only age and the cap remove it.
            if *steps == 0 || !should_remove(&row, position, &item) {
                front = Some((position, item));
                break;
            }
            *steps -= 1;
            let bytes = u64::from(item.bytes);
            row.remove_front(position, bytes, item.streams == 1, item.is_event);
            if item.streams == 1 || !self.is_counted_elsewhere(position, row.number)? {
                self.subtract_bytes(bytes);
            }
            self.totals.removed_to = self.totals.removed_to.max(position);
        }
        if row != before {
            self.put_trimmed(name, row);
        }
        Ok(front)
    }

    pub(super) fn subtract_bytes(&mut self, bytes: u64) {
        self.totals.bytes = self.totals.bytes.saturating_sub(bytes);
        self.removed_bytes += bytes;
    }

    fn put_trimmed(&mut self, name: &StreamName, mut row: StreamRow) {
        self.removals += 1;
        row.removal = self.removals;
        self.watermarks.set_removed(&self.totals, self.removals);
        let is_empty = row.is_empty();
        if is_empty && !self.follows_log() {
            let now = self.totals.time;
            self.add_tombstone(name, &row, now);
        } else {
            if is_empty && let Some(member) = &mut self.member {
                member.add_emptied(name, row.last);
            }
            self.streams.put(name, row);
            self.trimmer.dirty.insert(name.clone());
            self.trimmer.unpublished.insert(name.clone());
        }
    }

    /// Returns the first entry of a stream above its floor.
    fn front(&mut self, row: &StreamRow) -> Result<Option<(Position, IndexItem)>, JournalError> {
        if self.trimmer.read_ahead.len() > MAX_READ_AHEADS {
            self.trimmer.read_ahead.clear();
        }
        let items = self.trimmer.read_ahead.entry(row.number).or_default();
        while items.front().is_some_and(|(position, _)| *position <= row.floor) {
            items.pop_front();
        }
        if items.is_empty() {
            let from = keys::index(row.number, Position::from_stored(row.floor.get() + 1));
            let until = keys::index(row.number, Position::from_stored(u64::MAX));
            for pair in self.kv.walk(from, until).take(READ_AHEAD) {
                let (key, value) = pair?;
                let damaged = || JournalError::damaged("an index item");
                let position = keys::position_of(&key).ok_or_else(damaged)?;
                items.push_back((position, IndexItem::read(&value).ok_or_else(damaged)?));
            }
        }
        let front = items.front().copied();
        if front.is_none() {
            self.trimmer.read_ahead.remove(&row.number);
        }
        Ok(front)
    }

    /// Returns true if the entry is still counted for a stream other than `number`.
    pub(super) fn is_counted_elsewhere(
        &self,
        position: Position,
        number: StreamNumber,
    ) -> Result<bool, JournalError> {
        let Some(value) = self.kv.get(&keys::entry(position))? else { return Ok(false) };
        let Some(entry) = StoredEntry::read(&value) else { return Ok(false) };
        Ok(entry.numbers.iter().filter(|other| **other != number).any(|other| {
            let row = self.streams.name_of(*other).and_then(|name| self.streams.get(&name));
            row.is_some_and(|row| row.number == *other && row.floor < position)
                || self.deleted.counts(*other, position)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_matching_rule_applies() {
        let limits = |n| RetentionLimits { max_events: Some(n), ..RetentionLimits::default() };
        let rule = |text: &str, n| (Selector::parse(text).expect("ok"), limits(n));
        let retention = RetentionPolicy {
            rules: vec![rule("builds.main", 1), rule("builds.**", 2)],
            otherwise: limits(3),
            total_bytes: u64::MAX,
        };
        let max = |name: &str| retention.limits(&StreamName::parse(name).expect("ok")).max_events;
        assert_eq!(max("builds.main"), Some(1));
        assert_eq!(max("builds.x.y"), Some(2));
        assert_eq!(max("other"), Some(3));
    }
}
