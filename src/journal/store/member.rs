//! The store of a hub of a cluster, which must decide as those of the other hubs do.
//!
//! Each hub applies retention by itself and at its own time, so that floors differ for a moment. But
//! whether a stream exists decides about later publishes, on which all hubs must agree. So an emptied
//! stream stays until the log of the cluster has its removal.

use super::quota::Quota;
#[cfg(feature = "cluster")]
use super::{Changes, Epochs, LogStep, Sync, keys};
use super::{MAX_LEAD_MS, Store};
#[cfg(feature = "cluster")]
use crate::cluster::ChainLink;
use crate::event::{Position, StreamName, Timestamp};
use crate::journal::batch::{Item, OrderedBatch, PublishUnit};
use crate::journal::error::JournalError;
use crate::limits::Limits;
use std::time::Instant;

/// Maximum number of streams in one removal.
const MAX_REMOVED_STREAMS: usize = 256;

/// State of a store that follows the log of a cluster.
pub(super) struct Member {
    /// Emptied streams whose removal is not proposed yet, with the position of their last entry.
    emptied: Vec<(StreamName, Position)>,
    /// Time at which the last batch was applied.
    applied_at: Instant,
}

impl Member {
    /// Finds the emptied streams of an earlier run.
    #[cfg(feature = "cluster")]
    fn new(streams: &super::Streams) -> Self {
        let mut emptied = Vec::new();
        streams.for_each(|name, row| {
            if row.is_empty() {
                emptied.push((name.clone(), row.last));
            }
        });
        Self { emptied, applied_at: Instant::now() }
    }

    pub(super) fn add_emptied(&mut self, name: &StreamName, last: Position) {
        self.emptied.push((name.clone(), last));
    }
}

impl Store {
    /// Makes this store one of a cluster: emptied streams are removed by batches only.
    #[cfg(feature = "cluster")]
    pub(in crate::journal) fn follow_log(&mut self) {
        self.member = Some(Member::new(&self.streams));
    }

    /// Commits that a log with the last of `epochs` follows `link`.
    #[cfg(feature = "cluster")]
    pub(in crate::journal) fn begin_log(
        &mut self,
        epochs: &Epochs,
        link: ChainLink,
    ) -> Result<(), JournalError> {
        let mut changes = Changes::default();
        LogStep { link, proposer: None, dropped: None }.write(&mut changes);
        changes.put(keys::EPOCHS.to_vec(), epochs.write());
        let totals = self.totals;
        self.commit(changes, &totals, Sync::Disk)
    }

    /// Returns true if other hubs apply the same batches.
    pub(in crate::journal) fn follows_log(&self) -> bool {
        self.member.is_some()
    }

    /// Returns the limits on the number of streams that other hubs judge a batch by; `None` if it adds none, or
    /// there are no other hubs.
    pub(in crate::journal) fn limits_for(&self, units: &[PublishUnit]) -> Option<Limits> {
        let is_new = |stream: &StreamName| self.streams.get(stream).is_none();
        let adds = |item: &Item| match item {
            Item::Event(draft) => draft.streams().iter().any(is_new),
            Item::End(stream) => is_new(stream),
            Item::Command(command) => is_new(&command.stream),
            Item::Delete { .. } => false,
        };
        let may_add = || units.iter().flatten().any(adds);
        (self.follows_log() && may_add()).then(|| self.quota.limits())
    }

    /// Returns the quota that a batch of the log is judged by, unless it is that of this hub: the limits of
    /// the hub that proposed it, so that all hubs decide alike even if their settings differ.
    pub(super) fn quota_of_proposer(&self, ordered: &OrderedBatch) -> Option<Quota> {
        match &ordered.stream_limits {
            _ if !self.follows_log() => None,
            None => Some(Quota::unlimited()),
            Some(limits) if *limits == self.quota.limits() => None,
            Some(limits) => Some(Quota::with(limits.clone(), &self.streams)),
        }
    }

    /// Takes emptied streams, to propose their removal.
    pub(in crate::journal) fn take_emptied(&mut self) -> Vec<(StreamName, Position)> {
        let Some(Member { emptied: streams, .. }) = &mut self.member else { return Vec::new() };
        let rest = streams.split_off(streams.len().min(MAX_REMOVED_STREAMS));
        std::mem::replace(streams, rest)
    }

    /// Applies the part of a batch of the log that comes before its units. The log's time is that of the
    /// servers; if it was far ahead, all hubs set theirs back with the same batch.
    pub(super) fn begin_ordered(&mut self, ordered: &OrderedBatch) -> Result<(), JournalError> {
        if self.totals.time.ms() > ordered.time.ms().saturating_add(MAX_LEAD_MS) {
            self.set_time_back(ordered.time)?;
        }
        if let Some(member) = &mut self.member {
            member.applied_at = Instant::now();
        }
        for (stream, last) in &ordered.emptied {
            self.remove_emptied(stream, *last);
        }
        Ok(())
    }

    /// Returns the times that retention goes by, `now` and `wall` of a single hub. A hub of a cluster counts on
    /// from the time of the log, because a stream that it empties by a wrong clock is removed everywhere.
    pub(super) fn retention_times(
        &self,
        now: Timestamp,
        wall: Timestamp,
    ) -> (Timestamp, Timestamp) {
        let Some(member) = &self.member else { return (now, wall) };
        let of_log = self.totals.time.plus_ms(member.applied_at.elapsed().as_millis() as u64);
        (now.min(of_log), of_log)
    }

    /// Removes a stream, unless it has an entry after `last`. This hub may still have entries of it.
    fn remove_emptied(&mut self, name: &StreamName, last: Position) {
        let Some(row) = self.streams.get(name) else { return };
        if row.last != last || row.has_record {
            return;
        }
        self.subtract_bytes(row.sole_bytes);
        self.totals.removed_to = self.totals.removed_to.max(last);
        self.removals += 1;
        self.add_tombstone(name, &row, self.totals.time);
    }
}
