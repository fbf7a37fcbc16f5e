//! The newest entries in memory, so that clients that reconnect soon read no disk.
//!
//! Promises: holds every entry above its floor, in order, up to a bound in bytes.
//! Never: waits for anything else while its lock is held.

use super::batch::CommittedBatch;
use super::store::Streams;
use crate::event::{Entry, Interest, Position, StreamName};
use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// Maximum number of entries that one read examines, selected or not; the writer waits meanwhile.
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
    removed_streams: HashMap<StreamName, Position>,
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
            removed_streams: HashMap::new(),
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
        ring.removed_streams.insert(stream, last);
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
        let ring = self.lock();
        if after < ring.floor {
            return None;
        }
        Some(match interest.exact_streams() {
            Some(names) => ring.read_streams(streams, &names, after, until, &mut |entry| {
                if interest.passes(entry) { visit(entry) } else { ControlFlow::Continue(()) }
            }),
            None => ring.read_pattern(streams, interest, after, until, visit),
        })
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
            self.removed_streams.retain(|_, last| *last > batch.last);
        }
    }

    fn entry(&self, position: Position) -> Option<&Entry> {
        let index = self.batches.partition_point(|batch| batch.last < position);
        let batch = self.batches.get(index)?;
        batch.entries.get(usize::try_from(position.get().checked_sub(batch.first.get())?).ok()?)
    }

    fn read_streams(
        &self,
        streams: &Streams,
        names: &[&StreamName],
        after: Position,
        mut until: Position,
        visit: &mut Visit<'_>,
    ) -> Position {
        let max_per_stream = (MAX_EXAMINED_ENTRIES / names.len()).max(1);
        let mut positions: Vec<Position> = Vec::new();
        for name in names {
            let Some(stream_positions) = self.by_stream.get(*name) else { continue };
            let floor = streams.get(name).map_or(Position::ZERO, |row| row.floor).max(after);
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
        selected
            .filter_map(|position| self.entry(position))
            .find(|entry| visit(entry).is_break())
            .map_or(until, |entry| entry.position)
    }

    fn read_pattern(
        &self,
        streams: &Streams,
        interest: &Interest,
        after: Position,
        until: Position,
        visit: &mut Visit<'_>,
    ) -> Position {
        // Floor of each stream, or `None` if the stream is not selected.
        let mut floors: HashMap<&StreamName, Option<Position>> = HashMap::new();
        let floor_of = |name: &StreamName| {
            let floor = streams.get(name).map_or(Position::ZERO, |row| row.floor);
            let floor = self.removed_streams.get(name).map_or(floor, |last| floor.max(*last));
            interest.selects(name).then_some(floor)
        };
        let from = self.batches.partition_point(|batch| batch.last <= after);
        let entries = self.batches.range(from..).flat_map(|batch| &batch.entries);
        let entries = entries.skip_while(|entry| entry.position <= after);
        for (examined, entry) in entries.take_while(|entry| entry.position <= until).enumerate() {
            let is_selected = interest.passes(entry)
                && entry.streams.iter().any(|name| {
                    let floor = *floors.entry(name).or_insert_with(|| floor_of(name));
                    floor.is_some_and(|floor| floor < entry.position)
                });
            if (is_selected && visit(entry).is_break()) || examined + 1 == MAX_EXAMINED_ENTRIES {
                return entry.position;
            }
        }
        until
    }
}
