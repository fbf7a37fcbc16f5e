//! A shard: the sessions of one worker thread.
//!
//! Promises: it frames a batch once for each view and queues it once for each group; what it
//! touches on the hot path belongs to its own thread.
//! Never: locks, waits, wakes another thread for a delivery.

use super::ConnectionManager;
use super::close::DRAIN_STEP;
use super::expiry::TokenExpiries;
use super::fallback::set_queue_slot;
use super::flush_delay::{self, DelayedFlushes};
use super::flush_scheduler::{self, FlushScheduler};
use super::frames::Frames;
use super::liveness::WorkerLiveness;
use super::messages::{FromShard, GroupId, Registered, ShardId, SubscribeRejection, ToShard};
use super::retry_pacer::RetryPacer;
use super::session::{Mode, Session, SessionKey};
use super::shared_queue::{Segment, SharedQueue};
use super::timer_wheel::TimerWheel;
use super::views::{GroupKey, Views};
use crate::access::{Access, AccessVersion};
use crate::event::{Body, Position};
use crate::journal::{Committed, History};
use crate::telemetry::{BoundHit, ShardMetrics, Telemetry};
use crate::wire::View;
use actix::Addr;
use actix::prelude::{Actor, AsyncContext, Context, Handler, SendError};
use arc_swap::ArcSwap;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Batches and seats that may wait for a shard; past it the shard goes on from history.
const SHARD_MAILBOX: usize = 1024;
/// Settings that all shards share.
#[derive(Clone)]
pub struct ShardSettings {
    /// The readers' side of the journal.
    pub history: Arc<History>,
    /// Metrics.
    pub telemetry: Telemetry,
    /// Paces the retries of clients.
    pub retry_pacer: Arc<RetryPacer>,
    /// Time after which the socket closes a connection that takes no bytes.
    pub write_timeout: Duration,
    /// Reads of history that may wait for the disk at once.
    pub disk_readers: Arc<Semaphore>,
    /// Keys and grants that credentials are checked against.
    pub access: Arc<ArcSwap<Access>>,
    /// Liveness of the worker threads.
    pub liveness: Arc<WorkerLiveness>,
}

/// A batch in the form of one view.
struct FramedBatch<'a> {
    batch: &'a Committed,
    view: &'a View,
    frames: Frames,
    /// Shared by the groups that get the batch; the last one to be written to measures the fan-out.
    committed_at: &'a Rc<Instant>,
}

/// The actor. Its state is shared with the connections of its thread.
pub(super) struct Shard {
    state: Rc<RefCell<ShardState>>,
}

pub(super) struct ShardState {
    id: ShardId,
    pub(super) settings: ShardSettings,
    manager: Addr<ConnectionManager>,
    outbox: VecDeque<FromShard>,
    pub(super) sessions: FxHashMap<SessionKey, Session>,
    pub(super) groups: FxHashMap<GroupKey, SharedQueue>,
    views: Views,
    next_key: SessionKey,
    /// Everything up to here has been handed to the groups that take it.
    pub(super) dispatched_watermark: Position,
    pub(super) wheel: TimerWheel,
    pub(super) expiries: TokenExpiries,
    /// Version of the keys and grants that all sessions were checked against.
    pub(super) access_version: AccessVersion,
    /// Sessions still to be told of a drain, the last one first.
    pub(super) leaving: Vec<(Duration, SessionKey)>,
    pub(super) drained_for: Duration,
    /// Sessions that were sent away, and when each is cut off.
    pub(super) cut_off: VecDeque<(u64, SessionKey)>,
    /// Sessions whose sockets had not taken something, when that was last looked at.
    pub(super) unsent: FxHashSet<SessionKey>,
    pub(super) metrics: ShardMetrics,
    pub(super) flushes: FlushScheduler,
    pub(super) delayed: DelayedFlushes,
}

impl Shard {
    pub(super) fn state(&self) -> &RefCell<ShardState> {
        &self.state
    }

    /// Starts a shard on this thread; returns what it shares with the thread's connections.
    pub(super) fn start(
        manager: Addr<ConnectionManager>,
        settings: ShardSettings,
    ) -> Rc<RefCell<ShardState>> {
        static NEXT_SHARD: AtomicU64 = AtomicU64::new(1);
        let shard = NEXT_SHARD.fetch_add(1, Ordering::Relaxed);
        let state = Rc::new(RefCell::new(ShardState {
            id: shard,
            dispatched_watermark: Position::ZERO,
            metrics: ShardMetrics::new(settings.telemetry.clone()),
            settings,
            manager,
            outbox: VecDeque::new(),
            sessions: FxHashMap::default(),
            groups: FxHashMap::default(),
            views: Views::default(),
            next_key: 1,
            wheel: TimerWheel::new(),
            expiries: TokenExpiries::default(),
            access_version: AccessVersion::default(),
            leaving: Vec::new(),
            drained_for: Duration::ZERO,
            cut_off: VecDeque::new(),
            unsent: FxHashSet::default(),
            flushes: FlushScheduler::new(),
            delayed: DelayedFlushes::default(),
        }));
        state.borrow().settings.liveness.beat(shard);
        let addr = Self { state: state.clone() }.start();
        state.borrow_mut().send_to_manager(FromShard::Join { shard, addr });
        state
    }
}

impl ShardState {
    /// Inserts a session that asks for a seat; `None` where the manager has too much to do.
    pub(super) fn admit(&mut self, session: Session) -> Option<SessionKey> {
        if !self.outbox.is_empty() {
            return None;
        }
        let key = self.next_key;
        self.next_key += 1;
        let (shard, interest) = (self.id, session.interest.clone());
        let holder = session.holder.clone();
        self.sessions.insert(key, session);
        self.send_to_manager(FromShard::Seat { shard, key, interest, holder });
        Some(key)
    }

    fn send_to_manager(&mut self, message: FromShard) {
        self.outbox.push_back(message);
        self.flush_outbox();
    }

    /// A message that does not fit stays, in order; each session has at most two.
    fn flush_outbox(&mut self) {
        while let Some(message) = self.outbox.pop_front() {
            match self.manager.try_send(message) {
                Ok(()) => {}
                Err(SendError::Full(message)) => {
                    self.settings.telemetry.bound_hit(BoundHit::ManagerMailbox);
                    self.outbox.push_front(message);
                    return;
                }
                Err(SendError::Closed(_)) => self.outbox.clear(),
            }
        }
    }

    pub(super) fn registered(
        &mut self,
        key: SessionKey,
        answer: Result<Registered, SubscribeRejection>,
    ) {
        let Registered { group, through } = match answer {
            Ok(seated) => seated,
            Err(refusal) => {
                let session = self.sessions.remove(&key);
                if let Some(Session { mode: Mode::Seating(seat), .. }) = session {
                    let _ = seat.send(Err(refusal));
                }
                return;
            }
        };
        self.dispatched_watermark = self.dispatched_watermark.max(through);
        let Some(session) = self.sessions.get_mut(&key) else {
            // The client went while its seat was on the way.
            let shard = self.id;
            self.send_to_manager(FromShard::Leave { shard, key });
            return;
        };
        let mode = std::mem::replace(&mut session.mode, Mode::Seated);
        self.enter_group(key, group);
        if let Mode::Seating(seat) = mode {
            // A client that went meanwhile has its `Subscription` dropped, which leaves.
            let _ = seat.send(Ok(through));
        }
    }

    pub(super) fn leave(&mut self, key: SessionKey) {
        let Some(mut session) = self.sessions.remove(&key) else { return };
        self.cancel(key, session.expires);
        let mode = std::mem::replace(&mut session.mode, Mode::Seated);
        let begun = matches!(mode, Mode::CatchingUp(_) | Mode::Live { .. });
        if let Mode::CatchingUp(_) = mode {
            self.settings.telemetry.catching_up(-1);
        }
        let Some(group) = session.group else { return };
        if let Mode::Live { next, place } = mode
            && let Some(members) = self.groups.get_mut(&group)
            && let Some(moved) = members.leave(place, next)
        {
            set_queue_slot(&mut self.sessions, moved, place);
        }
        self.leave_group(group);
        let shard = self.id;
        self.send_to_manager(FromShard::Leave { shard, key });
        if begun {
            let reason = session.closing.unwrap_or_else(|| self.disconnect_reason(&session));
            self.settings.telemetry.session_closed(reason);
            self.log_closed(&session, reason);
        }
    }

    /// A session is among those of `group` who have its view.
    fn enter_group(&mut self, key: SessionKey, group: GroupId) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let group = (group, self.views.enter(&session.view));
        session.group = Some(group);
        let interest = || SharedQueue::new(session.interest.clone());
        self.groups.entry(group).or_insert_with(interest).seats += 1;
    }

    fn leave_group(&mut self, key: GroupKey) {
        self.views.leave(key.1);
        let Some(group) = self.groups.get_mut(&key) else { return };
        group.seats -= 1;
        if group.seats == 0 {
            self.groups.remove(&key);
            // One of the same name would count from the start again.
            self.flushes.clear_coalesced();
        }
    }

    /// A session that is not live has another view from here on.
    pub(super) fn change_view(&mut self, key: SessionKey, view: View) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        debug_assert!(!matches!(session.mode, Mode::Live { .. }));
        session.view = view;
        let Some(group) = session.group.take() else { return };
        self.leave_group(group);
        self.enter_group(key, group.0);
    }

    /// Frames what a batch has for this shard and queues it for its groups.
    pub(super) fn deliver(&mut self, batch: &Committed, takers: &[(u32, GroupId)]) {
        self.dispatched_watermark = self.dispatched_watermark.max(batch.last);
        let mut by_group: Vec<(GroupId, Vec<u32>)> = Vec::new();
        let mut index_of: FxHashMap<GroupId, usize> = FxHashMap::default();
        for (entry, group) in takers {
            let at = *index_of.entry(*group).or_insert_with(|| {
                by_group.push((*group, Vec::new()));
                by_group.len() - 1
            });
            by_group[at].1.push(*entry);
        }
        let committed_at = Rc::new(batch.at);
        for (id, view) in self.views.all() {
            let is_there = |(group, _): &&(GroupId, _)| self.groups.contains_key(&(*group, id));
            let takers: Vec<_> = by_group.iter().filter(is_there).collect();
            let taken = takers.iter().flat_map(|(_, entries)| entries).copied();
            let frames = Frames::of(batch, &view, &self.settings.history, taken);
            let framed = FramedBatch { batch, view: &view, frames, committed_at: &committed_at };
            for (group, entries) in takers {
                self.push((*group, id), &framed, entries);
            }
        }
    }

    /// Queues some entries of a batch for one group.
    fn push(&mut self, key: GroupKey, framed: &FramedBatch<'_>, entries: &[u32]) {
        let FramedBatch { batch, view, frames, committed_at } = framed;
        let Some(group) = self.groups.get_mut(&key) else { return };
        let (mut events, mut ends) = (0, Vec::new());
        for index in entries {
            let Some(entry) = batch.entries.get(*index as usize) else { continue };
            match entry.body {
                Body::Event { .. } => events += 1,
                Body::End(_) => ends.extend(entry.streams.iter().cloned()),
            }
        }
        // What is told of an event's other streams is each group's own.
        let names_several = |index: &u32| {
            batch.entries.get(*index as usize).is_some_and(|entry| entry.streams.len() > 1)
        };
        let bytes = if view.names_streams() && entries.iter().any(names_several) {
            Frames::of_group(batch, entries, &self.settings.history, view, group)
        } else {
            frames.of_entries(entries)
        };
        let (first, last, at) = (batch.first, batch.last, batch.at);
        group.push(Segment { bytes, events, first, last, at, ends }, committed_at);
        if group.is_over() {
            self.overflow(key);
        }
        if let Some(group) = self.groups.get_mut(&key) {
            self.flushes.schedule(key, group);
        }
    }

    /// Once a second: heartbeats that are due, figures that were kept back.
    fn tick(&mut self) {
        self.settings.liveness.beat(self.id);
        self.flush_outbox();
        self.expire(crate::journal::now());
        self.close_revoked();
        self.abort_overdue();
        let due = self.wheel.advance();
        let now = self.wheel.now();
        for key in due {
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            let every = session.beat.every_s;
            let quiet_since = session.last_sent;
            if now >= quiet_since + every {
                session.heartbeat_due = true;
                session.wake(now);
                self.wheel.add(key, now + every);
            } else {
                self.wheel.add(key, quiet_since + every);
            }
        }
        self.report_metrics();
    }
}

impl ShardState {
    /// Hands over what was counted, with what waits for sessions that are live: in their queues, and
    /// between those and their sockets.
    fn report_metrics(&mut self) {
        let (mut queued, mut oldest) = (0, None);
        let mut waits = |at: Instant, bytes: u64| {
            queued += bytes;
            oldest = Some(oldest.map_or(at, |oldest: Instant| oldest.min(at)));
        };
        self.groups
            .values()
            .filter_map(SharedQueue::oldest)
            .for_each(|(at, bytes)| waits(at, bytes));
        self.unsent.retain(|key| {
            let unsent = self.sessions.get(key).and_then(Session::unsent);
            unsent.map(|(at, bytes)| waits(at, bytes)).is_some()
        });
        let age = oldest.map_or(Duration::ZERO, |at| at.elapsed());
        self.metrics.flush(queued, (!self.sessions.is_empty()).then_some(age));
    }
}

impl Drop for ShardState {
    fn drop(&mut self) {
        self.settings.liveness.end(self.id);
    }
}

impl Actor for Shard {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(SHARD_MAILBOX);
        ctx.run_interval(Duration::from_secs(1), |shard, _| shard.state.borrow_mut().tick());
        // In the actor's own task, so that the manager sees when it is gone.
        ctx.spawn(actix::fut::wrap_future(flush_scheduler::run(self.state.clone())));
        ctx.spawn(actix::fut::wrap_future(flush_delay::run(self.state.clone())));
    }
}

impl Handler<ToShard> for Shard {
    type Result = ();

    fn handle(&mut self, message: ToShard, ctx: &mut Self::Context) {
        let mut state = self.state.borrow_mut();
        match message {
            ToShard::Seated { key, answer } => state.registered(key, answer),
            ToShard::Deliver { batch, takers } => state.deliver(&batch, &takers),
            ToShard::Resync { through } => state.resync(through),
            ToShard::Drain { window } => {
                state.drain(window);
                ctx.run_interval(DRAIN_STEP, |shard, _| shard.state.borrow_mut().drain_step());
            }
        }
    }
}
