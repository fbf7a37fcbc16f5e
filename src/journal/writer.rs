//! The writer: one thread that orders, applies, syncs and dispatches batches.
//!
//! Promises: publishes that wait together share one commit; a batch is dispatched only once it is
//! durable; the first failed write or sync poisons the journal, which then refuses all publishes.

use super::batch::{OrderedBatch, Outcome};
use super::clock::{RetentionClock, now};
use super::dispatch::Dispatch;
use super::free_space::FreeSpaceGuard;
use super::health::{Health, Step};
use super::high_water::Mark;
use super::history::History;
use super::intake::Intake;
use super::kv::Kv;
use super::metrics::JournalMetrics;
use super::proposals::Proposals;
use super::publisher::{Answer, PublishError, Reply};
use super::reclaim::Reclaimer;
use super::sequencer::{Sequencer, Ticket};
use super::store::{Applied, Store};
use super::watermark::Watermark;
use crate::event::{Receipt, StreamName};
use crate::journal::error::JournalError;
use crate::telemetry::{BoundHit, Telemetry};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

/// Interval of age limits, the total cap and the watermark.
const TICK: Duration = Duration::from_secs(1);
/// Interval at which an idle journal checks that the disk accepts writes.
const DISK_CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Idle time after which the watermark is synced, so that a busy publisher does not wait for it.
const MARK_SYNC_DELAY: Duration = Duration::from_millis(20);
/// Interval of further steps if one was not enough; publishes are handled in between.
const STEP_INTERVAL: Duration = Duration::from_millis(20);

/// Everything the writer thread owns.
pub(super) struct Writer {
    pub(super) intake: Intake,
    pub(super) proposals: Proposals,
    pub(super) sequencer: Box<dyn Sequencer>,
    pub(super) store: Store,
    pub(super) history: Arc<History>,
    pub(super) watermark: Watermark,
    pub(super) kv: Kv,
    pub(super) free_space: Option<FreeSpaceGuard>,
    pub(super) health: Arc<Health>,
    pub(super) telemetry: Telemetry,
    pub(super) dispatch_sender: Sender<Dispatch>,
    pub(super) reclaim: Reclaimer,
    pub(super) metrics: JournalMetrics,
    pub(super) clock: RetentionClock,
}

impl Writer {
    /// Records on disk that the journal is open, so that an unclean stop is detected.
    pub(super) fn begin(&mut self) -> Result<(), JournalError> {
        self.write_mark()?;
        self.watermark.sync()
    }

    /// Runs until it is stopped, then syncs everything to disk.
    pub(super) fn run(mut self) {
        let mut last_tick = Instant::now();
        let mut tick_interval = TICK;
        while !self.is_over() {
            self.health.finish();
            if !self.intake.is_empty() && self.can_propose() {
                self.propose_next();
            } else if !self.intake.wait(self.wait_time(tick_interval, last_tick)) {
                self.sync_mark();
            }
            self.apply_ordered();
            if self.history.log.as_ref().is_some_and(|log| log.is_paused())
                && let Some(shortage) = self.free_space.as_ref().and_then(FreeSpaceGuard::shortage)
            {
                // Not those of the log: this hub knows a better reason.
                self.refuse_waiting(&PublishError::DiskFull(shortage));
            }
            if self.proposals.is_stalled() {
                self.refuse_stalled();
            }
            if last_tick.elapsed() >= tick_interval {
                self.health.begin(Step::Housekeeping);
                tick_interval = if self.tick() { STEP_INTERVAL } else { TICK };
                last_tick = Instant::now();
            }
        }
        self.health.begin(Step::Close);
        self.close();
        self.health.finish();
    }

    /// Returns true once the journal is to be closed and everything that waited is answered.
    fn is_over(&self) -> bool {
        self.intake.is_stopping()
            && self.intake.is_empty()
            && !self.proposals.has_waiting_publishers()
    }

    /// Returns true if the next batch can be proposed, or refused at once.
    fn can_propose(&self) -> bool {
        self.sequencer.has_room() || self.health.poisoned().is_some()
    }

    /// Returns how long the writer waits for a publish before it does something else.
    fn wait_time(&self, tick_interval: Duration, last_tick: Instant) -> Duration {
        let until_tick = tick_interval.saturating_sub(last_tick.elapsed());
        if self.should_sync_mark() { until_tick.min(MARK_SYNC_DELAY) } else { until_tick }
    }

    fn should_sync_mark(&self) -> bool {
        self.store.syncs() && self.watermark.is_unsynced()
    }

    /// Syncs the high-water mark while idle, so that damage to the last batch is detected.
    fn sync_mark(&mut self) {
        if self.should_sync_mark()
            && self.health.poisoned().is_none()
            && !self.is_reserve_spent()
            && let Err(error) = self.watermark.sync()
        {
            self.health.poison(&error.to_string(), &self.telemetry);
        }
    }

    /// Applies and dispatches all batches that the sequencer has ordered.
    fn apply_ordered(&mut self) {
        loop {
            if self.health.poisoned().is_some() || self.is_paused() {
                return;
            }
            match self.sequencer.next() {
                Ok(Some((ordered, ticket))) => {
                    self.health.begin(Step::Commit);
                    self.apply(ordered, ticket);
                }
                Ok(None) => return,
                Err(error) => return self.fail(&error.into()),
            }
        }
    }

    /// Returns true if nothing may be applied now. The log of a cluster keeps its messages until the disk has
    /// room again; what this hub orders itself was admitted before.
    fn is_paused(&self) -> bool {
        let Some(log) = &self.history.log else { return false };
        let is_paused = self.is_reserve_spent();
        log.set_paused(is_paused);
        is_paused
    }

    fn apply(&mut self, ordered: OrderedBatch, ticket: Option<Ticket>) {
        let started_at = Instant::now();
        let applied = match self.store_batch(ordered) {
            Ok(applied) => applied,
            Err(error) => return self.fail(&error),
        };
        let own = ticket.and_then(|ticket| self.proposals.take(ticket));
        if self.store.follows_log() {
            let append = own.as_ref().map(|own| started_at - own.started_at);
            self.telemetry.log_batch_applied(append, started_at.elapsed());
        }
        let entries = applied.batch.as_ref().map_or(0, |batch| batch.entries.len());
        let synced = self.store.syncs() && applied.batch.is_some();
        let (bytes, since) =
            own.as_ref().map_or((0, started_at), |own| (own.bytes, own.started_at));
        self.telemetry.batch_committed(entries, bytes, since.elapsed(), synced);
        self.dispatch(applied, own.map(|own| own.replies).unwrap_or_default());
    }

    /// Stops publishing after a failure that cannot be repaired, and answers the waiting publishers.
    pub(super) fn fail(&mut self, error: &JournalError) {
        let causes = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
        let reason = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        self.health.poison(&reason, &self.telemetry);
        // Other hubs may publish the batches that are in the log already.
        let answer = if self.store.follows_log() {
            PublishError::Unconfirmed
        } else {
            PublishError::Poisoned(reason)
        };
        self.proposals.answer_all(&answer);
        self.proposals.clear();
    }

    pub(super) fn is_reserve_spent(&self) -> bool {
        self.free_space.as_ref().is_some_and(FreeSpaceGuard::is_reserve_spent)
    }

    /// Applies a batch and makes it durable.
    fn store_batch(&mut self, ordered: OrderedBatch) -> Result<Applied, JournalError> {
        let applied = self.store.apply(ordered)?;
        if applied.batch.is_some() {
            self.write_mark()?;
        }
        Ok(applied)
    }

    fn dispatch(&mut self, applied: Applied, replies: Vec<(Reply, Vec<Box<[StreamName]>>)>) {
        // Before any answer, so that a publisher that reads afterwards finds its events.
        if let Some(batch) = &applied.batch {
            self.history.recent.push(batch.clone());
            self.publish_watermarks();
        }
        let mut answers = Vec::with_capacity(replies.len());
        for (outcome, (reply, streams)) in applied.outcomes.into_iter().zip(replies) {
            if let Some(answer) = self.answer(outcome, streams, reply) {
                answers.push(answer);
            }
        }
        if applied.batch.is_none() && answers.is_empty() {
            return;
        }
        // The manager waits for no reader, so this waits only a moment for it. It stops only when
        // the hub does.
        let dispatch = Dispatch { batch: applied.batch, answers };
        let is_sent = match self.dispatch_sender.try_send(dispatch) {
            Err(TrySendError::Full(dispatch)) => {
                self.telemetry.bound_hit(BoundHit::DispatchQueue);
                self.health.begin(Step::Dispatch);
                self.dispatch_sender.blocking_send(dispatch).is_ok()
            }
            result => result.is_ok(),
        };
        if !is_sent {
            tracing::error!("the dispatcher has stopped; a committed batch was not delivered");
        }
    }

    fn answer(
        &self,
        outcome: Outcome,
        streams: Vec<Box<[StreamName]>>,
        reply: Reply,
    ) -> Option<Answer> {
        let results = match outcome {
            Ok(results) => results,
            Err(refusal) => {
                let _ = reply.send(Err(refusal.into()));
                return None;
            }
        };
        let receipts = results.iter().zip(streams).map(|(result, streams)| Receipt {
            id: self.history.id(result.position),
            streams,
            subscribers: 0,
            duplicate: result.duplicate,
        });
        Some(Answer { receipts: receipts.collect(), results, reply })
    }

    fn publish_watermarks(&mut self) {
        let totals = *self.store.totals();
        for (stream, last) in self.store.take_removed_streams() {
            self.history.recent.forget(stream, last);
        }
        self.history.marks.set_head(totals.last);
    }

    /// Runs one step of housekeeping; returns true if there is more to do.
    fn tick(&mut self) -> bool {
        let has_more = match self.admit() {
            // Moving floors writes, too, but only a little, and it frees space.
            Ok(()) | Err(PublishError::DiskFull(_) | PublishError::LogUnavailable) => {
                self.run_housekeeping()
            }
            Err(_) => false,
        };
        self.report_metrics();
        has_more
    }

    /// Moves floors and syncs the high-water mark; returns true if there is more to do.
    fn run_housekeeping(&mut self) -> bool {
        let is_due = self.watermark.age() >= DISK_CHECK_INTERVAL;
        let written = if is_due { self.write_mark() } else { Ok(()) };
        let result = written.and_then(|()| self.tick_store());
        let result = result.and_then(|has_more| self.propose_removal().map(|()| has_more));
        match result.and_then(|has_more| self.watermark.sync().map(|()| has_more)) {
            Ok(has_more) => {
                self.publish_watermarks();
                has_more
            }
            Err(error) => {
                self.health.poison(&error.to_string(), &self.telemetry);
                false
            }
        }
    }

    /// Runs one step of the store at the retention time.
    fn tick_store(&mut self) -> Result<bool, JournalError> {
        let wall = now();
        let time = self.clock.time(wall, Instant::now());
        let is_behind = self.clock.is_long_behind(self.store.totals().time);
        if is_behind && !self.store.follows_log() {
            self.store.set_time_back(wall)?;
        }
        self.store.tick(time, wall)
    }

    /// Reports metrics, even if the journal accepts no publishes.
    fn report_metrics(&mut self) {
        let removed_bytes = self.store.take_removed_bytes();
        let totals = self.store.totals();
        let is_full = self.health.disk_full().is_some();
        if self.health.poisoned().is_none() {
            self.reclaim.record_removed(removed_bytes, totals.bytes, is_full);
        }
        self.telemetry.clock_jumped(self.clock.ahead());
        self.telemetry.journal_read_failed(self.health.read_error().is_some());
        let free_bytes =
            self.free_space.as_ref().and_then(FreeSpaceGuard::free_bytes).unwrap_or_default();
        let streams = self.history.stream_count();
        self.telemetry.journal_holds(&self.metrics.sample(totals, streams, free_bytes));
    }

    fn write_mark(&mut self) -> Result<(), JournalError> {
        let position = self.store.totals().last;
        self.watermark.write(Mark { epoch: self.history.epoch(), position })
    }

    fn close(&mut self) {
        if self.health.poisoned().is_some() {
            return;
        }
        match self.close_in_order() {
            Ok(()) => tracing::info!("closed the journal"),
            Err(error) => tracing::error!(%error, "failed to close the journal"),
        }
    }

    fn close_in_order(&mut self) -> Result<(), JournalError> {
        self.tick_store()?;
        self.write_mark()?;
        self.kv.sync()?;
        self.watermark.close()
    }
}
