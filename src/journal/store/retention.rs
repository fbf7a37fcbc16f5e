//! Retention: what each stream keeps, and the cap over the whole hub.
//!
//! Removing is moving a floor: readers clamp to it at once, compaction drops what is below it
//! later. Count and bytes are exact after every batch; age and the cap are looked after in steps.

use super::super::keys::{self, IndexItem, StoredEntry, StreamNumber};
use super::{MAX_LEAD_MS, Store, StreamRow, Streams};
use crate::event::{Position, Selector, StreamName, Timestamp};
use crate::journal::error::JournalError;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

/// Index items read ahead when a stream is trimmed, so that a busy one costs a seek per this many.
const READ_AHEAD: usize = 64;
/// Streams with items read ahead; past it all are let go and read anew.
const MAX_READ_AHEADS: usize = 1024;
/// Entries that one step of the total cap looks at, so that no batch waits long for it; twice
/// what a batch can add, so that it gains on the writers.
const SHRINK_STEP: usize = 2 * crate::event::MAX_ENTRIES_PER_BATCH;
/// Entries that one step removes from one stream: as with the cap. A stream that has more to
/// lose, as after its limits were lowered, goes on with the next batch or tick.
const TRIM_STEP: usize = SHRINK_STEP;
/// Streams that one tick takes further.
const STREAMS_PER_TICK: usize = 256;

/// Retention of one stream; `None` means no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RetentionLimits {
    /// Events older than this many milliseconds go.
    pub max_age_ms: Option<u64>,
    /// Events beyond this many go, oldest first.
    pub max_events: Option<u64>,
    /// Events beyond this many stored bytes go, oldest first.
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
    /// The first pattern that matches a stream decides for it.
    pub rules: Vec<(Selector, RetentionLimits)>,
    /// Limits of every other stream.
    pub otherwise: RetentionLimits,
    /// Bytes kept in all; the oldest of the whole hub go first.
    pub total_bytes: u64,
}

impl RetentionPolicy {
    fn limits(&self, name: &StreamName) -> RetentionLimits {
        let rule = self.rules.iter().find(|(selector, _)| selector.matches(name));
        rule.map_or(self.otherwise, |(_, limits)| *limits)
    }
}

/// Streams whose entries are due, with the index items that were read ahead.
pub(super) struct Trimmer {
    retention: RetentionPolicy,
    ahead: HashMap<StreamNumber, VecDeque<(Position, IndexItem)>>,
    /// Times at which the oldest entry of streams with an age limit may be due.
    due: BinaryHeap<Reverse<Due>>,
    waiting: HashSet<StreamNumber>,
    /// Streams whose step was not enough.
    unfinished: VecDeque<StreamName>,
    /// Rows changed since the last commit, and since the floors were last published.
    dirty: HashSet<StreamName>,
    unpublished: HashSet<StreamName>,
    gone: Vec<StreamNumber>,
}

/// A stream of which something may have come of age.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    /// Time, in milliseconds since 1970.
    at_ms: u64,
    number: StreamNumber,
    name: StreamName,
    /// Up to this place entries are from before the clock was set back, so that their age is counted
    /// from when they were found; zero where there are none.
    ahead_to: Position,
}

/// Returns true if an entry is from a clock that was ahead of the one of now.
fn is_ahead(item: &IndexItem, wall: Timestamp) -> bool {
    item.time.ms() > wall.ms().saturating_add(MAX_LEAD_MS)
}

impl Trimmer {
    pub(super) fn new(retention: RetentionPolicy, streams: &Streams) -> Self {
        let mut trimmer = Self {
            retention,
            ahead: HashMap::new(),
            due: BinaryHeap::new(),
            waiting: HashSet::new(),
            unfinished: VecDeque::new(),
            dirty: HashSet::new(),
            unpublished: HashSet::new(),
            gone: Vec::new(),
        };
        streams.for_each(|name, row| {
            trimmer.appended(name, row, Timestamp::default());
            if trimmer.retention.limits(name).is_exceeded_by(row) {
                trimmer.unfinished.push_back(name.clone());
            }
        });
        trimmer
    }

    /// A stream got entries; one with an age limit is due when its first of them is.
    pub(super) fn appended(&mut self, name: &StreamName, row: &StreamRow, now: Timestamp) {
        if let Some(age) = self.retention.limits(name).max_age_ms
            && self.waiting.insert(row.number)
        {
            let at_ms = now.ms().saturating_add(age);
            let (number, name) = (row.number, name.clone());
            self.due.push(Reverse(Due { at_ms, number, name, ahead_to: Position::ZERO }));
        }
    }

    /// Has nothing wait for longer than its age from `now`, to which the clock was set back.
    pub(super) fn rearm(&mut self, now: Timestamp) {
        let all = std::mem::take(&mut self.due).into_iter();
        let rearmed = all.map(|Reverse(mut due)| {
            let age = self.retention.limits(&due.name).max_age_ms.unwrap_or_default();
            due.at_ms = due.at_ms.min(now.ms().saturating_add(age));
            Reverse(due)
        });
        self.due = rearmed.collect();
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.due.peek().is_some_and(|Reverse(due)| due.at_ms <= now.ms())
    }

    /// Returns true if a tick left work for the next one.
    pub(super) fn has_more(&self, now: Timestamp) -> bool {
        self.is_due(now) || !self.unfinished.is_empty()
    }

    /// Lets go of what is known of a stream that is not there any more.
    pub(super) fn forget(&mut self, number: StreamNumber) {
        self.ahead.remove(&number);
        self.waiting.remove(&number);
    }

    /// Notes a stream of which nothing is needed any more.
    pub(super) fn gone(&mut self, number: StreamNumber) {
        self.forget(number);
        self.gone.push(number);
    }

    /// The streams whose heads must go into the next commit.
    pub(super) fn take_dirty(&mut self) -> HashSet<StreamName> {
        std::mem::take(&mut self.dirty)
    }

    /// The streams whose floors have moved since this was last asked.
    pub(super) fn take_unpublished(&mut self) -> HashSet<StreamName> {
        std::mem::take(&mut self.unpublished)
    }

    pub(super) fn take_gone(&mut self) -> Vec<StreamNumber> {
        std::mem::take(&mut self.gone)
    }
}

impl Store {
    /// Brings the streams of a batch back within their counts and bytes.
    pub(super) fn trim(&mut self, touched: &[StreamName]) -> Result<(), JournalError> {
        for name in touched {
            self.trim_to_limits(name)?;
        }
        self.shrink()
    }

    /// Takes streams further whose step was not enough.
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

    /// Removes what is older than its stream keeps.
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
                    let (front_at, front) = front;
                    let (at_ms, ahead_to) = if !is_ahead(&front, wall) {
                        (front.time.ms().saturating_add(age), Position::ZERO)
                    } else if front_at <= ahead_to {
                        // One step was not enough for all that were found.
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

    /// Drops the oldest entries of the hub while it holds more than its cap: one step.
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
                return Err(JournalError::damaged("an entry at the journal's tail"));
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
        let mut was_kept = false;
        self.totals.removed_to = self.totals.removed_to.max(position);
        for number in &entry.numbers {
            if entry.numbers.len() > 1 && self.deleted.counts(*number, position) {
                was_kept = true;
                self.deleted.put(*number, position, &mut self.pending_changes);
            }
            let Some(name) = self.streams.name_of(*number) else { continue };
            let Some(mut row) = self.streams.get(&name).filter(|row| row.floor < position) else {
                continue;
            };
            was_kept = true;
            row.remove_front(position, bytes, entry.numbers.len() == 1, entry.is_event());
            self.put_trimmed(&name, row);
        }
        if was_kept {
            self.freed(bytes);
        }
    }

    /// Removes from the front of a stream while `over` says so and there are `steps` left; returns
    /// the new front.
    fn trim_stream(
        &mut self,
        name: &StreamName,
        steps: &mut usize,
        over: impl Fn(&StreamRow, Position, &IndexItem) -> bool,
    ) -> Result<Option<(Position, IndexItem)>, JournalError> {
        let Some(mut row) = self.streams.get(name) else { return Ok(None) };
        let before = row;
        let mut front = None;
        while let Some((position, item)) = self.front(&row)? {
            // An end is the last of its stream; it goes by age and by the cap, as all of it does.
            if *steps == 0 || !over(&row, position, &item) {
                front = Some((position, item));
                break;
            }
            *steps -= 1;
            let bytes = u64::from(item.bytes);
            row.remove_front(position, bytes, item.streams == 1, item.is_event);
            if item.streams == 1 || !self.kept_elsewhere(position, row.number)? {
                self.freed(bytes);
            }
            self.totals.removed_to = self.totals.removed_to.max(position);
        }
        if row != before {
            self.put_trimmed(name, row);
        }
        Ok(front)
    }

    pub(super) fn freed(&mut self, bytes: u64) {
        self.totals.bytes = self.totals.bytes.saturating_sub(bytes);
        self.removed_bytes += bytes;
    }

    fn put_trimmed(&mut self, name: &StreamName, mut row: StreamRow) {
        self.removals += 1;
        row.removal = self.removals;
        self.watermarks.set_removed(&self.totals, self.removals);
        if row.is_empty() {
            let now = self.totals.time;
            self.add_tombstone(name, &row, now);
        } else {
            self.streams.put(name, row);
            self.trimmer.dirty.insert(name.clone());
            self.trimmer.unpublished.insert(name.clone());
        }
    }

    /// The first entry of a stream above its floor.
    fn front(&mut self, row: &StreamRow) -> Result<Option<(Position, IndexItem)>, JournalError> {
        if self.trimmer.ahead.len() > MAX_READ_AHEADS {
            self.trimmer.ahead.clear();
        }
        let ahead = self.trimmer.ahead.entry(row.number).or_default();
        while ahead.front().is_some_and(|(position, _)| *position <= row.floor) {
            ahead.pop_front();
        }
        if ahead.is_empty() {
            let from = keys::index(row.number, Position::from_stored(row.floor.get() + 1));
            let until = keys::index(row.number, Position::from_stored(u64::MAX));
            for pair in self.kv.walk(from, until).take(READ_AHEAD) {
                let (key, value) = pair?;
                let damaged = || JournalError::damaged("an index item");
                let position = keys::position_of(&key).ok_or_else(damaged)?;
                ahead.push_back((position, IndexItem::read(&value).ok_or_else(damaged)?));
            }
        }
        let front = ahead.front().copied();
        if front.is_none() {
            self.trimmer.ahead.remove(&row.number);
        }
        Ok(front)
    }

    /// Returns true if the entry is still counted for a stream other than `number`.
    pub(super) fn kept_elsewhere(
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
    fn the_first_rule_that_matches_decides() {
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
