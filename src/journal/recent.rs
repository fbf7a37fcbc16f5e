//! The newest entries in memory, so that clients that reconnect soon read no disk.
//!
//! Promises: holds every entry above its floor, in order, up to a bound in bytes.
//! Never: waits for anything else, or calls a visitor, while its lock is held: a reader that takes it again
//! and again would keep the writer out.

use super::batch::CommittedBatch;
use super::store::Streams;
use crate::event::{Entry, Interest, Position, StreamName};
use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// Maximum number of entries that one read examines, selected or not.
const MAX_EXAMINED_ENTRIES: usize = 2_048;

/// Visitor of entries; breaks after the last entry that it wants.
pub(super) type Visit<'a> = dyn FnMut(&Entry) -> ControlFlow<()> + 'a;

/// A ring of committed batches with an index by stream.
pub(super) struct Recent {
    ring: RwLock<Ring>,
    max_bytes: usize,
}

struct Ring {
    batches: VecDeque<Arc<CommittedBatch>>,
    by_stream: HashMap<StreamName, VecDeque<Position>>,
    /// Last positions of streams that were deleted or emptied while the ring held entries of them.
    removed_streams: Arc<HashMap<StreamName, Position>>,
    bytes: usize,
    /// The ring holds every entry above this position.
    floor: Position,
}

impl Recent {
    /// Creates an empty ring for entries after `head`; [`Entry::footprint_bytes`] counts toward
    /// `max_bytes`.
    pub(super) fn new(head: Position, max_bytes: usize) -> Self {
        let ring = Ring {
            batches: VecDeque::new(),
            by_stream: HashMap::new(),
            removed_streams: Arc::default(),
            bytes: 0,
            floor: head,
        };
        Self { ring: RwLock::new(ring), max_bytes }
    }

    /// Adds the next batch and evicts the oldest ones beyond the bound.
    pub(super) fn push(&self, batch: Arc<CommittedBatch>) {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        for entry in &batch.entries {
            ring.bytes += entry.footprint_bytes();
            for stream in &entry.streams {
                match ring.by_stream.get_mut(stream) {
                    Some(positions) => positions.push_back(entry.position),
                    None => {
                        ring.by_stream.insert(stream.clone(), VecDeque::from([entry.position]));
                    }
                }
            }
        }
        ring.batches.push_back(batch);
        while ring.bytes > self.max_bytes {
            let Some(oldest) = ring.batches.pop_front() else { break };
            ring.evict(&oldest);
        }
    }

    /// Hides the entries of `stream` up to `last` from readers.
    pub(super) fn forget(&self, stream: StreamName, last: Position) {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        if last <= ring.floor {
            return;
        }
        if let Some(positions) = ring.by_stream.get_mut(&stream) {
            while positions.front().is_some_and(|position| *position <= last) {
                positions.pop_front();
            }
        }
        Arc::make_mut(&mut ring.removed_streams).insert(stream, last);
    }

    /// Calls `visit` for the entries in `(after, until]` that `interest` selects, in order. Returns
    /// the position reached, which may be before `until`, or `None` if the ring does not hold the
    /// whole range.
    pub(super) fn read(
        &self,
        streams: &Streams,
        interest: &Interest,
        after: Position,
        until: Position,
        visit: &mut Visit<'_>,
    ) -> Option<Position> {
        match interest.exact_streams() {
            Some(names) => {
                let max = interest.examined(MAX_EXAMINED_ENTRIES);
                let selected = self.lock().of_streams(streams, &names, max, after..until)?;
                Some(selected.visit(interest, visit))
            }
            None => {
                let range = self.lock().range(after, until)?;
                Some(range.visit(streams, interest, visit))
            }
        }
    }

    fn lock(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn evict(&mut self, batch: &CommittedBatch) {
        self.floor = batch.last;
        for entry in &batch.entries {
            self.bytes -= entry.footprint_bytes();
            for stream in &entry.streams {
                if let Some(positions) = self.by_stream.get_mut(stream) {
                    if positions.front() == Some(&entry.position) {
                        positions.pop_front();
                    }
                    if positions.is_empty() {
                        self.by_stream.remove(stream);
                    }
                }
            }
        }
        if !self.removed_streams.is_empty() {
            Arc::make_mut(&mut self.removed_streams).retain(|_, last| *last > batch.last);
        }
    }

    /// Returns the index of the first batch from `start` on that ends at `position` or after it. Batches
    /// near `start` are found fastest.
    fn batch_from(&self, start: usize, position: Position) -> usize {
        let (mut low, mut step) = (start, 1);
        while self.batches.get(low + step - 1).is_some_and(|batch| batch.last < position) {
            low += step;
            step *= 2;
        }
        let mut high = (low + step).min(self.batches.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.batches.get(middle) {
                Some(batch) if batch.last < position => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }

    /// Returns where entries are: their batches, and their indexes in them.
    fn find(&self, positions: impl Iterator<Item = Position>) -> Vec<(Arc<CommittedBatch>, usize)> {
        let mut index = 0;
        let found = positions.filter_map(|position| {
            index = self.batch_from(index, position);
            let batch = self.batches.get(index)?;
            let offset = position.get().checked_sub(batch.first.get())?;
            Some((batch.clone(), usize::try_from(offset).ok()?))
        });
        found.collect()
    }

    /// Returns at most about `max` entries of `names` in `(after, until]`, in order, and the position that they
    /// reach; `None` if the ring does not hold the whole range.
    fn of_streams(
        &self,
        streams: &Streams,
        names: &[&StreamName],
        max: usize,
        std::ops::Range { start: after, end: mut until }: std::ops::Range<Position>,
    ) -> Option<Selected> {
        if after < self.floor {
            return None;
        }
        let max_per_stream = (max / names.len()).max(1);
        let mut positions: Vec<Position> = Vec::new();
        for name in names {
            let Some(stream_positions) = self.by_stream.get(*name) else { continue };
            let row = streams.get(name);
            // The ring has the entries of a fork that belong to its source under that name, and not the end of a
            // deleted stream with forks.
            if row.is_some_and(|row| row.inherits_to > after || row.is_gone) {
                return None;
            }
            let floor = row.map_or(Position::ZERO, |row| row.floor).max(after);
            let from = stream_positions.partition_point(|position| *position <= floor);
            let mut to = stream_positions.partition_point(|position| *position <= until).max(from);
            if to - from > max_per_stream {
                // The rest of this stream, and everything after it, is left to the next read.
                to = from + max_per_stream;
                until = stream_positions[to - 1];
            }
            positions.extend(stream_positions.range(from..to));
        }
        if names.len() > 1 {
            positions.sort_unstable();
            positions.dedup();
        }
        let selected = positions.into_iter().take_while(|position| *position <= until);
        Some(Selected { entries: self.find(selected), until })
    }

    /// Returns the batches with the entries in `(after, until]`, as many as one read examines; `None` if
    /// the ring does not hold the whole range.
    fn range(&self, after: Position, until: Position) -> Option<Range> {
        if after < self.floor {
            return None;
        }
        let from = self.batches.partition_point(|batch| batch.last <= after);
        let mut count = 0;
        let batches = self.batches.range(from..).take_while(|batch| {
            let has_room = count < MAX_EXAMINED_ENTRIES && batch.first <= until;
            count += batch.entries.len();
            has_room
        });
        let batches: Vec<_> = batches.cloned().collect();
        Some(Range { batches, removed_streams: self.removed_streams.clone(), after, until })
    }
}

/// Entries of streams, each as its batch and its index in it, and the position that they reach.
struct Selected {
    entries: Vec<(Arc<CommittedBatch>, usize)>,
    until: Position,
}

impl Selected {
    /// Calls `visit` for the entries that `interest` selects. Returns the position reached.
    fn visit(&self, interest: &Interest, visit: &mut Visit<'_>) -> Position {
        let entries = self.entries.iter().filter_map(|(batch, index)| batch.entries.get(*index));
        let mut passing = entries.filter(|entry| interest.passes(entry));
        passing.find(|entry| visit(entry).is_break()).map_or(self.until, |entry| entry.position)
    }
}

/// A part of the ring.
struct Range {
    batches: Vec<Arc<CommittedBatch>>,
    removed_streams: Arc<HashMap<StreamName, Position>>,
    after: Position,
    until: Position,
}

impl Range {
    /// Calls `visit` for the entries that `interest` selects. Returns the position reached.
    fn visit(&self, streams: &Streams, interest: &Interest, visit: &mut Visit<'_>) -> Position {
        // Floor of each stream, or `None` if the stream is not selected.
        let mut floors: HashMap<&StreamName, Option<Position>> = HashMap::new();
        let floor_of = |name: &StreamName| {
            let row = streams.get(name);
            if let Some(row) = row.filter(|row| row.is_gone) {
                // Only its deletion, which is its last entry.
                return interest.selects(name).then_some(row.last.before());
            }
            let floor = row.map_or(Position::ZERO, |row| row.floor);
            let floor = self.removed_streams.get(name).map_or(floor, |last| floor.max(*last));
            interest.selects(name).then_some(floor)
        };
        let entries = self.batches.iter().flat_map(|batch| &batch.entries);
        let entries = entries.skip_while(|entry| entry.position <= self.after);
        for (examined, entry) in
            entries.take_while(|entry| entry.position <= self.until).enumerate()
        {
            let is_selected = interest.passes(entry)
                && entry.streams.iter().any(|name| {
                    let floor = *floors.entry(name).or_insert_with(|| floor_of(name));
                    floor.is_some_and(|floor| floor < entry.position)
                });
            if (is_selected && visit(entry).is_break()) || examined + 1 == MAX_EXAMINED_ENTRIES {
                return entry.position;
            }
        }
        // Batches that the bound cut off begin after the last one of these.
        self.batches.last().map_or(self.until, |batch| batch.last.min(self.until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Body, EventType, Payload, Selector, Timestamp};
    use std::time::Instant;

    fn stream() -> StreamName {
        StreamName::parse("a").expect("a name")
    }

    fn batch(number: u64) -> Arc<CommittedBatch> {
        let entry = |index| Entry {
            position: Position::of(number, index),
            time: Timestamp::from_ms(number),
            streams: [stream()].into(),
            body: Body::Event { kind: EventType::default(), payload: Payload::text("x") },
        };
        let entries: Vec<Entry> = (0..3).map(entry).collect();
        let (first, last) = (entries[0].position, entries[2].position);
        Arc::new(CommittedBatch { first, last, at: Instant::now(), entries })
    }

    #[test]
    fn the_ring_can_be_written_while_entries_are_visited() {
        let recent = Recent::new(Position::ZERO, 1024 * 1024);
        (1..=4).for_each(|number| recent.push(batch(number)));
        let until = Position::of(4, 1);
        for selector in ["a", "**"] {
            let selector = Selector::parse(selector).expect("a selector");
            let interest = Interest::new(vec![selector], None).expect("an interest");
            let mut positions = Vec::new();
            let mut after = Position::of(1, 1);
            while after < until {
                let visit = &mut |entry: &Entry| {
                    assert!(recent.ring.try_write().is_ok(), "the writer would wait");
                    positions.push(entry.position);
                    ControlFlow::Continue(())
                };
                let reached = recent.read(&Streams::default(), &interest, after, until, visit);
                after = reached.expect("the ring holds the range");
            }
            let numbers = [(1, 2), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (3, 2), (4, 0), (4, 1)];
            assert_eq!(positions, numbers.map(|(number, index)| Position::of(number, index)));
        }
    }
}
