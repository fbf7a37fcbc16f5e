//! The store: applies ordered batches on this machine.
//!
//! Promises: the result depends only on the batch and on what was applied before it; a unit of a
//! batch is applied or refused as a whole; a batch becomes readable, and as durable as requested,
//! when [`Store::apply`] returns, not before.
//! Never: decides the order, waits for a reader. One thread owns it; readers use [`Streams`],
//! [`Kv`] and [`Recent`](super::recent::Recent) concurrently.

mod commands;
mod deleted;
mod deletion;
mod epochs;
mod floors;
mod log_record;
mod member;
mod quota;
mod retention;
mod staging;
mod streams;
mod tombstones;
mod totals;

pub(super) use deleted::DeletedStreams;
pub(super) use epochs::Epochs;
pub(super) use floors::Floors;
pub use log_record::LogStep;
#[cfg(feature = "cluster")]
pub(super) use log_record::{LogProgress, TicketOrder};
pub use quota::StreamUsage;
pub use retention::{RetentionLimits, RetentionPolicy};
pub use streams::StreamView;
pub(super) use streams::{StreamRow, Streams};
pub(super) use totals::Totals;

use super::batch::{CommittedBatch, OrderedBatch, Outcome};
use super::history::Watermarks;
use super::keys;
use super::kv::{Changes, Kv, Sync};
use super::sealing::{KeyFile, StreamKeys};
use super::stream_record::StreamRecord;
use crate::event::{Position, StreamName, Timestamp};
use crate::journal::error::JournalError;
use crate::limits::Limits;
use arc_swap::ArcSwap;
use deletion::Deletion;
use member::Member;
use quota::Quota;
use staging::Staging;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tombstones::TombstoneLimit;

/// Maximum lead of the time of stored events over the wall clock; beyond it the clock was set back.
pub(super) const MAX_LEAD_MS: u64 = 60 * 1000;
/// Maximum number of time marks that are removed when the time of stored events steps back.
const MAX_REMOVED_MARKS: usize = 100_000;
/// Minimum interval between two entries of the time index, so that it stays small; `from=` scans at
/// most this much of the journal to find the exact position.
const TIME_MARK_EVERY_MS: u64 = 1000;

/// The only writer of a journal's data.
pub(super) struct Store {
    kv: Kv,
    sync: Sync,
    streams: Arc<Streams>,
    watermarks: Arc<Watermarks>,
    floors: Arc<Floors>,
    totals: Totals,
    trimmer: retention::Trimmer,
    deleted: DeletedStreams,
    tombstones: TombstoneLimit,
    /// State of a hub of a cluster; `None` if this hub orders its batches itself.
    member: Option<Member>,
    /// True if totals that compaction depends on are not committed yet.
    has_unwritten_totals: bool,
    quota: Quota,
    /// Changes that are added to the next commit, such as streams that retention emptied.
    pending_changes: Changes,
    pending_tombstones: HashMap<StreamName, keys::Tombstone>,
    last_time_mark: Timestamp,
    removed_streams: Vec<(StreamName, Position)>,
    removed_bytes: u64,
    /// Keys of hidden streams. A batch that is being staged may add to them.
    sealing: RefCell<KeyFile>,
    /// Number of removals since the start; those of earlier starts count as the first.
    removals: u64,
}

/// Result of applying a batch.
pub(super) struct Applied {
    /// Entries in order, for readers; `None` if nothing was added.
    pub(super) batch: Option<Arc<CommittedBatch>>,
    /// Outcomes of the units, in order.
    pub(super) outcomes: Vec<Outcome>,
}

impl Store {
    /// Loads the heads of all streams, but no entries.
    pub(super) fn open(
        kv: Kv,
        sync: Sync,
        retention: RetentionPolicy,
        limits: Arc<ArcSwap<Limits>>,
        floors: Arc<Floors>,
        mut sealing: KeyFile,
    ) -> Result<Self, JournalError> {
        let totals = Totals::load(&kv)?;
        let streams = Arc::new(Streams::load(&kv)?);
        sealing.erase_orphans(|number| streams.name_of(number).is_some())?;
        let watermarks = Arc::new(Watermarks::default());
        let deleted = DeletedStreams::load(&kv)?;
        let tombstones = TombstoneLimit::load(&kv)?;
        floors.reset(&streams, &deleted, totals.next_stream);
        let trimmer = retention::Trimmer::new(retention, &streams);
        let quota = Quota::new(limits, &streams);
        let pending_changes = Changes::default();
        let last_time_mark = Timestamp::default();
        let removed_streams = Vec::new();
        let (removed_bytes, removals) = (0, 1);
        watermarks.set_removed(&totals, removals);
        watermarks.set_tombstones_lost(&totals, removals);
        watermarks.set_head(totals.last);
        Ok(Self {
            kv,
            sync,
            streams,
            watermarks,
            floors,
            totals,
            trimmer,
            deleted,
            tombstones,
            member: None,
            has_unwritten_totals: false,
            quota,
            pending_changes,
            pending_tombstones: HashMap::new(),
            last_time_mark,
            removed_streams,
            removed_bytes,
            sealing: RefCell::new(sealing),
            removals,
        })
    }

    /// Takes the streams that were deleted or emptied since the last call, with their last
    /// positions.
    pub(super) fn take_removed_streams(&mut self) -> Vec<(StreamName, Position)> {
        std::mem::take(&mut self.removed_streams)
    }

    /// Returns the positions that readers check. Those of removals move before a row does, so that
    /// a reader that was clamped by a floor finds the removal here.
    pub(super) fn watermarks(&self) -> Arc<Watermarks> {
        self.watermarks.clone()
    }

    pub(super) fn streams(&self) -> Arc<Streams> {
        self.streams.clone()
    }

    /// Returns the number of streams, by scope.
    pub(super) fn stream_usage(&self) -> Arc<StreamUsage> {
        self.quota.usage()
    }

    /// Returns true if a batch is synced to disk when it is applied.
    pub(super) fn syncs(&self) -> bool {
        self.sync == Sync::Disk
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Takes the number of bytes that died since the last call.
    pub(super) fn take_removed_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.removed_bytes)
    }

    /// Returns the keys that decrypt payloads of hidden streams.
    pub(super) fn keys(&self) -> StreamKeys {
        self.sealing.borrow().keys()
    }

    /// Applies the next batch of the order.
    pub(super) fn apply(&mut self, ordered: OrderedBatch) -> Result<Applied, JournalError> {
        self.quota.refresh(&self.streams);
        if self.follows_log() {
            self.begin_ordered(&ordered)?;
        }
        let quota = self.quota_of_proposer(&ordered);
        let quota = quota.as_ref().unwrap_or(&self.quota);
        let mut staging = Staging::new(self, quota, ordered.number, ordered.time);
        let mut outcomes = Vec::with_capacity(ordered.units.len());
        for unit in ordered.units {
            outcomes.push(staging.apply_unit(unit)?);
        }
        let staged = staging.finish();
        if staged.entries.is_empty() {
            // Written with the next commit, at the latest by the next tick.
            self.pending_changes.append(staged.changes);
            self.put_records(staged.records);
            if let Some(step) = &ordered.log_step {
                step.write(&mut self.pending_changes);
                (self.totals.number, self.totals.time) = (staged.totals.number, staged.totals.time);
            }
            return Ok(Applied { batch: None, outcomes });
        }
        let mut changes = staged.changes;
        if let Some(step) = &ordered.log_step {
            step.write(&mut changes);
        }
        if staged.totals.time.ms() >= self.last_time_mark.ms() + TIME_MARK_EVERY_MS {
            let first = Position::of(ordered.number, 0);
            changes.put(keys::time(staged.totals.time), first.get().to_be_bytes().to_vec());
            self.last_time_mark = staged.totals.time;
        }
        self.sealing.borrow_mut().sync_new_keys(self.sync)?;
        self.commit(changes, &staged.totals, self.sync)?;
        let at = Instant::now();
        self.totals = staged.totals;
        self.removed_bytes += staged.removed_bytes;
        let mut touched = Vec::with_capacity(staged.rows.len());
        if !staged.deleted.is_empty() {
            self.removals += 1;
            self.watermarks.set_removed(&self.totals, self.removals);
        }
        self.put_records(staged.records);
        for (name, row) in staged.rows {
            match row {
                Some(row) => {
                    self.trimmer.record_append(&name, &row, self.totals.time);
                    if self.streams.put(&name, row) {
                        self.quota.add_stream(&name);
                    }
                    touched.push(name);
                }
                None => self.remove(&name),
            }
        }
        for Deletion { name, number, last, floor, is_shared } in staged.deleted {
            self.streams.forget_number(number);
            self.trimmer.forget(number);
            if is_shared {
                self.deleted.put(number, floor, &mut self.pending_changes);
            } else {
                self.trimmer.release(number);
            }
            self.removed_streams.push((name, last));
            self.count_tombstone();
        }
        self.trim(&touched)?;
        let first = Position::of(ordered.number, 0);
        let batch = CommittedBatch { first, last: self.totals.last, at, entries: staged.entries };
        Ok(Applied { batch: Some(Arc::new(batch)), outcomes })
    }

    /// Sets the time of stored events back to `time`, to which the wall clock was set back. Removes
    /// the time marks after it, because a search by time would take them for marks of later events.
    pub(super) fn set_time_back(&mut self, time: Timestamp) -> Result<(), JournalError> {
        let ahead_s = (self.totals.time.ms() - time.ms()) / 1000;
        tracing::warn!(ahead_s, "setting the time of new events back to the system clock");
        self.last_time_mark = Timestamp::default();
        self.totals.time = time;
        self.has_unwritten_totals = true;
        self.trimmer.schedule_expiry(time);
        let marks = self.kv.walk(keys::time(time.plus_ms(1)), keys::end_of(keys::TIME));
        for mark in marks.take(MAX_REMOVED_MARKS) {
            self.pending_changes.remove(mark?.0.to_vec());
        }
        Ok(())
    }

    /// Runs one bounded step of the work that does not depend on batches: age limits, the total
    /// cap, and making floors durable so that compaction may drop the entries below them. Called
    /// about once a second, and soon again if it returns true because there is more to do.
    ///
    /// `now` is the retention time, which may be held behind the clock, `wall`.
    pub(super) fn tick(&mut self, now: Timestamp, wall: Timestamp) -> Result<bool, JournalError> {
        let (now, wall) = self.retention_times(now, wall);
        let floor = self.totals.floor;
        self.expire(now, wall)?;
        self.trim_unfinished()?;
        self.shrink()?;
        self.subtract_deleted()?;
        let moved_streams = self.trimmer.take_unpublished();
        let removed_numbers = self.trimmer.take_removed();
        let has_pending = self.has_unwritten_totals || !self.pending_changes.is_empty();
        if has_pending || !moved_streams.is_empty() || !removed_numbers.is_empty() {
            let totals = self.totals;
            self.commit(Changes::default(), &totals, Sync::Disk)?;
            self.has_unwritten_totals = false;
        }
        let rows = moved_streams.iter().filter_map(|name| self.streams.get(name));
        // Which keys are remembered depends on the time of the log alone.
        let now = if self.follows_log() { now.min(self.totals.time) } else { now };
        self.floors.publish(rows, &removed_numbers, &self.totals, now);
        self.sealing.borrow_mut().erase(&removed_numbers)?;
        Ok(self.trimmer.has_more(now)
            || !self.deleted.is_empty()
            || (self.is_over_cap() && self.totals.floor > floor))
    }

    /// Commits the list of epochs.
    pub(super) fn write_epochs(&mut self, epochs: &Epochs) -> Result<(), JournalError> {
        let mut changes = Changes::default();
        changes.put(keys::EPOCHS.to_vec(), epochs.write());
        let totals = self.totals;
        self.commit(changes, &totals, Sync::Disk)
    }

    fn commit(
        &mut self,
        changes: Changes,
        totals: &Totals,
        sync: Sync,
    ) -> Result<(), JournalError> {
        // Heads that retention changed are committed with the totals that depend on them.
        let mut all = std::mem::take(&mut self.pending_changes);
        self.pending_tombstones.clear();
        for name in self.trimmer.take_dirty() {
            if let Some(row) = self.streams.get(&name) {
                all.put(keys::head(row.number), row.write());
            }
        }
        all.append(changes);
        all.put(keys::TOTALS.to_vec(), totals.write());
        self.kv.commit(all, sync)
    }

    /// Replaces the row of an emptied stream with a tombstone, for clients that resume.
    fn add_tombstone(&mut self, name: &StreamName, row: &StreamRow, now: Timestamp) {
        let (position, last) = (row.last, row.last);
        let tombstone =
            keys::Tombstone { position, last, time: now, deleted: false, keys_number: row.keys };
        self.pending_changes.remove(keys::head(row.number));
        self.pending_changes.remove(keys::name(name.as_str()));
        self.pending_changes.put(keys::tombstone(name.as_str()), tombstone.write());
        if self.pending_tombstones.insert(name.clone(), tombstone).is_none() {
            self.count_tombstone();
        }
        self.totals.forgotten_to = self.totals.forgotten_to.max(row.last);
        self.watermarks.set_removed(&self.totals, self.removals);
        self.remove(name);
        self.streams.forget_number(row.number);
        if row.shared_bytes > 0 {
            self.trimmer.forget(row.number);
            self.deleted.put(row.number, row.floor, &mut self.pending_changes);
        } else {
            self.trimmer.release(row.number);
        }
        self.removed_streams.push((name.clone(), row.last));
    }

    /// Counts another tombstone; beyond the limit the oldest are dropped.
    fn count_tombstone(&mut self) {
        if let Some(lost_to) = self.tombstones.add(self.totals.last) {
            self.has_unwritten_totals = true;
            self.totals.tombstones_lost_to = self.totals.tombstones_lost_to.max(lost_to);
            self.watermarks.set_tombstones_lost(&self.totals, self.removals);
        }
    }

    fn put_records(&self, records: HashMap<keys::StreamNumber, Option<StreamRecord>>) {
        for (number, record) in records {
            self.streams.put_record(number, record);
        }
    }

    fn remove(&self, name: &StreamName) {
        if self.streams.remove(name) {
            self.quota.remove_stream(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::Item;
    use super::super::kv::MemoryKv;
    use super::super::sealing::KeyFile;
    use super::*;
    use crate::event::{Draft, EventType};
    use crate::journal::RetentionLimits;

    const HOUR_MS: u64 = 60 * 60 * 1000;

    fn store(retention: RetentionPolicy) -> Store {
        let floors = Arc::new(Floors::default());
        let kv = Kv::Memory(MemoryKv::new(floors.clone()).into());
        Store::open(kv, Sync::Process, retention, Arc::default(), floors, KeyFile::none()).unwrap()
    }

    fn publish(store: &mut Store, number: u64, time: Timestamp) -> Timestamp {
        let streams = vec![StreamName::parse("s").unwrap()];
        let draft = Draft::from_text(streams, EventType::default(), "x", time).unwrap();
        let units = vec![vec![Item::Event(draft)]];
        let ordered = OrderedBatch {
            number,
            time,
            emptied: Vec::new(),
            units,
            stream_limits: None,
            log_step: None,
        };
        let applied = store.apply(ordered).unwrap();
        applied.batch.unwrap().entries[0].time
    }

    fn events(store: &Store) -> u64 {
        let row = store.streams().get(&StreamName::parse("s").unwrap());
        row.map_or(0, |row| row.events)
    }

    #[test]
    fn events_of_a_clock_that_was_ahead_expire_after_it_was_set_back() {
        let otherwise = RetentionLimits { max_age_ms: Some(HOUR_MS), ..RetentionLimits::default() };
        let policy = RetentionPolicy { rules: Vec::new(), otherwise, total_bytes: u64::MAX };
        let mut store = store(policy);
        let true_time = Timestamp::from_ms(100 * 24 * HOUR_MS);
        let wrong_time = true_time.plus_ms(24 * HOUR_MS);
        assert_eq!(publish(&mut store, 1, wrong_time), wrong_time);
        assert!(
            publish(&mut store, 2, true_time) >= wrong_time,
            "stored time does not step back by itself"
        );
        store.set_time_back(true_time).unwrap();
        let marks = |store: &Store| {
            store.kv.walk(keys::time(true_time.plus_ms(HOUR_MS)), keys::end_of(keys::TIME)).count()
        };
        assert_eq!(marks(&store), 1);
        assert_eq!(publish(&mut store, 3, true_time.plus_ms(1000)), true_time.plus_ms(1000));
        assert_eq!(marks(&store), 0, "the time mark of the wrong clock is removed");
        let tick = |store: &mut Store, now: Timestamp| {
            while store.tick(now, now).unwrap() {}
        };
        tick(&mut store, true_time.plus_ms(HOUR_MS / 2));
        assert_eq!(events(&store), 3);
        // The age of events from the wrong clock counts from when they are found.
        tick(&mut store, true_time.plus_ms(HOUR_MS + 2000));
        tick(&mut store, true_time.plus_ms(2 * HOUR_MS + 4000));
        assert_eq!(events(&store), 0);
    }
}
