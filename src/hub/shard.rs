//! A shard: the sessions of one worker thread.
//!
//! Promises: it frames a batch once for each view and queues it once for each group; what it
//! touches on the hot path belongs to its own thread.
//! Never: locks, waits, wakes another thread for a delivery.

use super::ConnectionManager;
use super::behind::place_of;
use super::expiry::Expiries;
use super::farewell::DRAIN_STEP;
use super::frames::Frames;
use super::group::{Group, Segment};
use super::hold::{self, Held};
use super::pace::Pace;
use super::pulse::Pulses;
use super::round::{self, Rounds};
use super::seat::{FromShard, GroupId, Refusal, Seated, ShardId, ToShard};
use super::session::{Mode, Session, SessionKey};
use super::views::{GroupKey, Views};
use super::wheel::Wheel;
use crate::access::{Access, Standing};
use crate::event::{Body, Position};
use crate::journal::{Committed, History};
use crate::telemetry::{Full, ShardFigures, Telemetry};
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
/// What all shards of a hub share.
#[derive(Clone)]
pub struct ShardSettings {
    /// The readers' side of the journal.
    pub history: Arc<History>,
    /// Where figures go.
    pub telemetry: Telemetry,
    /// When clients come back.
    pub pace: Arc<Pace>,
    /// When a connection that takes nothing is closed by its socket.
    pub write_timeout: Duration,
    /// Reads of history that may wait for the disk at once.
    pub disk_readers: Arc<Semaphore>,
    /// What credentials are held against.
    pub access: Arc<ArcSwap<Access>>,
    /// Where the shards show that they live.
    pub pulses: Arc<Pulses>,
}

/// The actor. Its state is shared with the connections of its thread.
pub(super) struct Shard {
    state: Rc<RefCell<State>>,
}

pub(super) struct State {
    id: ShardId,
    pub(super) settings: ShardSettings,
    manager: Addr<ConnectionManager>,
    outbox: VecDeque<FromShard>,
    pub(super) sessions: FxHashMap<SessionKey, Session>,
    pub(super) groups: FxHashMap<GroupKey, Group>,
    views: Views,
    next_key: SessionKey,
    /// Everything up to here has been handed to the groups that take it.
    pub(super) considered: Position,
    pub(super) wheel: Wheel,
    pub(super) expiries: Expiries,
    /// What all sessions have been held against.
    pub(super) standing: Standing,
    /// Sessions still to be told of a drain, the last one first.
    pub(super) leaving: Vec<(Duration, SessionKey)>,
    pub(super) drained_for: Duration,
    /// Sessions that were sent away, and when each is cut off.
    pub(super) cut_off: VecDeque<(u64, SessionKey)>,
    /// Sessions whose sockets had not taken something, when that was last looked at.
    pub(super) unsent: FxHashSet<SessionKey>,
    pub(super) figures: ShardFigures,
    pub(super) rounds: Rounds,
    pub(super) held: Held,
}

impl Shard {
    pub(super) fn state(&self) -> &RefCell<State> {
        &self.state
    }

    /// Starts a shard on this thread; returns what it shares with the thread's connections.
    pub(super) fn start(
        manager: Addr<ConnectionManager>,
        settings: ShardSettings,
    ) -> Rc<RefCell<State>> {
        static NEXT_SHARD: AtomicU64 = AtomicU64::new(1);
        let shard = NEXT_SHARD.fetch_add(1, Ordering::Relaxed);
        let state = Rc::new(RefCell::new(State {
            id: shard,
            considered: Position::ZERO,
            figures: ShardFigures::new(settings.telemetry.clone()),
            settings,
            manager,
            outbox: VecDeque::new(),
            sessions: FxHashMap::default(),
            groups: FxHashMap::default(),
            views: Views::default(),
            next_key: 1,
            wheel: Wheel::new(),
            expiries: Expiries::default(),
            standing: Standing::default(),
            leaving: Vec::new(),
            drained_for: Duration::ZERO,
            cut_off: VecDeque::new(),
            unsent: FxHashSet::default(),
            rounds: Rounds::new(),
            held: Held::default(),
        }));
        state.borrow().settings.pulses.beat(shard);
        let addr = Self { state: state.clone() }.start();
        state.borrow_mut().tell_manager(FromShard::Join { shard, addr });
        state
    }
}

impl State {
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
        self.tell_manager(FromShard::Seat { shard, key, interest, holder });
        Some(key)
    }

    fn tell_manager(&mut self, message: FromShard) {
        self.outbox.push_back(message);
        self.flush_outbox();
    }

    /// A message that does not fit stays, in order; each session has at most two.
    fn flush_outbox(&mut self) {
        while let Some(message) = self.outbox.pop_front() {
            match self.manager.try_send(message) {
                Ok(()) => {}
                Err(SendError::Full(message)) => {
                    self.settings.telemetry.bound_hit(Full::ManagerMailbox);
                    self.outbox.push_front(message);
                    return;
                }
                Err(SendError::Closed(_)) => self.outbox.clear(),
            }
        }
    }

    pub(super) fn seated(&mut self, key: SessionKey, answer: Result<Seated, Refusal>) {
        let Seated { group, through } = match answer {
            Ok(seated) => seated,
            Err(refusal) => {
                let session = self.sessions.remove(&key);
                if let Some(Session { mode: Mode::Seating(seat), .. }) = session {
                    let _ = seat.send(Err(refusal));
                }
                return;
            }
        };
        self.considered = self.considered.max(through);
        let Some(session) = self.sessions.get_mut(&key) else {
            // The client went while its seat was on the way.
            let shard = self.id;
            self.tell_manager(FromShard::Leave { shard, key });
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
        self.never_ends(key, session.expires);
        let mode = std::mem::replace(&mut session.mode, Mode::Seated);
        let begun = matches!(mode, Mode::CatchingUp(_) | Mode::Live { .. });
        if let Mode::CatchingUp(_) = mode {
            self.settings.telemetry.catching_up(-1);
        }
        let Some(group) = session.group else { return };
        if let Mode::Live { next, place } = mode
            && let Some(members) = self.groups.get_mut(&group)
            && let Some(moved) = members.exit(place, next)
        {
            place_of(&mut self.sessions, moved, place);
        }
        self.leave_group(group);
        let shard = self.id;
        self.tell_manager(FromShard::Leave { shard, key });
        if begun {
            let reason = session.closing.unwrap_or_else(|| self.why_gone(&session));
            self.settings.telemetry.session_closed(reason);
            self.log_closed(&session, reason);
        }
    }

    /// A session is among those of `group` who have its view.
    fn enter_group(&mut self, key: SessionKey, group: GroupId) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let group = (group, self.views.enter(&session.view));
        session.group = Some(group);
        let interest = || Group::new(session.interest.clone());
        self.groups.entry(group).or_insert_with(interest).seats += 1;
    }

    fn leave_group(&mut self, key: GroupKey) {
        self.views.leave(key.1);
        let Some(group) = self.groups.get_mut(&key) else { return };
        group.seats -= 1;
        if group.seats == 0 {
            self.groups.remove(&key);
            // One of the same name would count from the start again.
            self.rounds.forget_joins();
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
        self.considered = self.considered.max(batch.last);
        let mut by_group: Vec<(GroupId, Vec<u32>)> = Vec::new();
        let mut index_of: FxHashMap<GroupId, usize> = FxHashMap::default();
        for (entry, group) in takers {
            let at = *index_of.entry(*group).or_insert_with(|| {
                by_group.push((*group, Vec::new()));
                by_group.len() - 1
            });
            by_group[at].1.push(*entry);
        }
        let way = Rc::new(batch.at);
        for (id, view) in self.views.all() {
            let is_there = |(group, _): &&(GroupId, _)| self.groups.contains_key(&(*group, id));
            let takers: Vec<_> = by_group.iter().filter(is_there).collect();
            let taken = takers.iter().flat_map(|(_, entries)| entries).copied();
            let frames = Frames::of(batch, &view, &self.settings.history, taken);
            for (group, entries) in takers {
                self.push(((*group, id), &view), (batch, &way), &frames, entries);
            }
        }
    }

    fn push(
        &mut self,
        (key, view): (GroupKey, &View),
        (batch, way): (&Committed, &Rc<Instant>),
        frames: &Frames,
        entries: &[u32],
    ) {
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
            Frames::of_group(batch, entries, &self.settings.history, (view, group))
        } else {
            frames.of_entries(entries)
        };
        let (first, last, at) = (batch.first, batch.last, batch.at);
        group.push(Segment { bytes, events, first, last, at, ends }, way);
        if group.is_over() {
            self.overflow(key);
        }
        if let Some(group) = self.groups.get_mut(&key) {
            self.rounds.note(key, group);
        }
    }

    /// Once a second: heartbeats that are due, figures that were kept back.
    fn second(&mut self) {
        self.settings.pulses.beat(self.id);
        self.flush_outbox();
        self.expire(crate::journal::now());
        self.send_revoked_away();
        self.cut_off_who_stays();
        let due = self.wheel.turn();
        let now = self.wheel.now();
        for key in due {
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            let every = session.beat.every_s;
            let quiet_since = session.last_sent;
            if now >= quiet_since + every {
                session.beat_due = true;
                session.wake(now);
                self.wheel.add(key, now + every);
            } else {
                self.wheel.add(key, quiet_since + every);
            }
        }
        self.tell_figures();
    }
}

impl State {
    /// Hands over what was counted, with what waits for sessions that are live: in their queues, and
    /// between those and their sockets.
    fn tell_figures(&mut self) {
        let (mut queued, mut oldest) = (0, None);
        let mut waits = |at: Instant, bytes: u64| {
            queued += bytes;
            oldest = Some(oldest.map_or(at, |oldest: Instant| oldest.min(at)));
        };
        self.groups.values().filter_map(Group::oldest).for_each(|(at, bytes)| waits(at, bytes));
        self.unsent.retain(|key| {
            let unsent = self.sessions.get(key).and_then(Session::unsent);
            unsent.map(|(at, bytes)| waits(at, bytes)).is_some()
        });
        let age = oldest.map_or(Duration::ZERO, |at| at.elapsed());
        self.figures.hand_over(queued, (!self.sessions.is_empty()).then_some(age));
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.settings.pulses.end(self.id);
    }
}

impl Actor for Shard {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(SHARD_MAILBOX);
        ctx.run_interval(Duration::from_secs(1), |shard, _| shard.state.borrow_mut().second());
        // In the actor's own task, so that the manager sees when it is gone.
        ctx.spawn(actix::fut::wrap_future(round::run(self.state.clone())));
        ctx.spawn(actix::fut::wrap_future(hold::run(self.state.clone())));
    }
}

impl Handler<ToShard> for Shard {
    type Result = ();

    fn handle(&mut self, message: ToShard, ctx: &mut Self::Context) {
        let mut state = self.state.borrow_mut();
        match message {
            ToShard::Seated { key, answer } => state.seated(key, answer),
            ToShard::Deliver { batch, takers } => state.deliver(&batch, &takers),
            ToShard::Resync { through } => state.resync(through),
            ToShard::Drain { window } => {
                state.drain(window);
                ctx.run_interval(DRAIN_STEP, |shard, _| shard.state.borrow_mut().drain_step());
            }
        }
    }
}
