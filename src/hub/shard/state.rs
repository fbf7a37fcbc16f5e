//! A shard: the sessions of one worker thread.
//!
//! Promises: it frames a batch once for each view and queues it once for each group; all data of
//! the hot path belongs to its own thread.
//! Never: locks, waits, wakes another thread for a delivery.

use super::close::{self, CloseSchedule};
use super::delivery::Delivery;
use super::dispatch;
use super::expiry::CredentialExpiries;
use super::flush_delay::DelayedFlushes;
use super::flush_scheduler::{FlushScheduler, SLICE_SESSIONS};
use super::listing;
use super::manager_link::ManagerLink;
use super::members::{Members, Removed};
use super::poll::Polling;
use super::session::{Mode, Session};
use super::settings::ShardSettings;
use super::timer_wheel::TimerWheel;
use crate::event::Position;
use crate::hub::ids::{GroupId, SessionKey, ShardId};
use crate::hub::messages::{FromShard, Registered, ShardAddress, SubscribeRejection};
use crate::hub::session_view::{SessionFilter, SessionView};
use crate::journal::CommittedBatch;
use crate::telemetry::{BoundHit, CloseReason};
use actix::Recipient;
use bytes::Bytes;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Parts of a shard. Each part owns its fields and is changed only by functions that take it.
pub(in crate::hub) struct ShardState {
    id: ShardId,
    pub(in crate::hub) settings: ShardSettings,
    manager: ManagerLink,
    pub(in crate::hub) members: Members,
    /// Position up to which everything is in the queues of the groups that take it.
    pub(in crate::hub) dispatched_watermark: Position,
    pub(in crate::hub) flushes: FlushScheduler,
    pub(in crate::hub) delayed: DelayedFlushes,
    pub(in crate::hub) delivery: Delivery,
    /// Sessions by the time of their next heartbeat; its seconds are the shard's clock.
    pub(in crate::hub) heartbeats: TimerWheel,
    pub(in crate::hub) expiries: CredentialExpiries,
    closes: CloseSchedule,
}

impl ShardState {
    /// Creates a shard without sessions.
    pub(in crate::hub) fn new(
        id: ShardId,
        manager: Recipient<FromShard>,
        settings: ShardSettings,
    ) -> Self {
        settings.liveness.beat(id);
        Self {
            id,
            manager: ManagerLink::new(manager, settings.telemetry.clone()),
            members: Members::default(),
            dispatched_watermark: Position::ZERO,
            flushes: FlushScheduler::new(),
            delayed: DelayedFlushes::default(),
            delivery: Delivery::new(settings.telemetry.clone()),
            heartbeats: TimerWheel::new(),
            expiries: CredentialExpiries::default(),
            closes: CloseSchedule::default(),
            settings,
        }
    }

    /// Announces the shard to the manager.
    pub(in crate::hub) fn join(&mut self, address: ShardAddress) {
        self.manager.send(FromShard::ShardStarted { shard: self.id, address });
    }

    /// Inserts a session and registers it; `None` if the manager's mailbox is full.
    pub(in crate::hub) fn admit(&mut self, session: Session) -> Option<SessionKey> {
        if self.manager.is_congested() {
            return None;
        }
        let (shard, interest) = (self.id, session.interest.clone());
        let owner = session.owner.clone();
        let key = self.members.insert(session);
        self.manager.send(FromShard::Register { shard, key, interest, owner });
        Some(key)
    }

    pub(in crate::hub) fn registered(
        &mut self,
        key: SessionKey,
        answer: Result<Registered, SubscribeRejection>,
    ) {
        let Registered { group, through } = match answer {
            Ok(registered) => registered,
            Err(refusal) => {
                if let Some(Removed { mode: Mode::Registering(registration), .. }) =
                    self.members.remove(key)
                {
                    let _ = registration.send(Err(refusal));
                }
                return;
            }
        };
        self.dispatched_watermark = self.dispatched_watermark.max(through);
        let Some(session) = self.members.session_mut(key) else {
            // The client left before its registration was answered.
            self.manager.send(FromShard::Unregister { shard: self.id, key });
            return;
        };
        let mode = std::mem::replace(&mut session.mode, Mode::Registered);
        self.members.enter_group(key, group);
        if let Mode::Registering(registration) = mode {
            // If the client has left, the drop of its `Subscription` removes the session.
            let _ = registration.send(Ok(through));
        }
    }

    pub(in crate::hub) fn leave(&mut self, key: SessionKey) {
        let Some(Removed { session, mode, ended_group }) = self.members.remove(key) else { return };
        self.expiries.cancel(key, &session);
        if ended_group {
            self.flushes.clear_coalesced();
        }
        if let Mode::CatchingUp(_) = mode {
            self.settings.telemetry.catching_up(-1);
        }
        // A session without a group is not registered yet; `registered` handles its removal.
        if session.group.is_none() {
            return;
        }
        self.manager.send(FromShard::Unregister { shard: self.id, key });
        if matches!(mode, Mode::CatchingUp(_) | Mode::Live { .. }) {
            let (now, timeout) = (self.heartbeats.elapsed(), self.settings.write_timeout);
            let disconnect_reason = || close::disconnect_reason(&session, now, timeout);
            let reason = session.closing.unwrap_or_else(disconnect_reason);
            self.settings.telemetry.session_closed(reason);
            self.log_closed(&session, reason);
        }
    }

    /// Closes a session between two events, with a reason and a retry time.
    pub(in crate::hub) fn close(&mut self, key: SessionKey, reason: CloseReason) {
        let now = self.heartbeats.now();
        self.closes.close(&mut self.members, &self.settings.retry_pacer, now, key, reason);
    }

    fn log_closed(&self, session: &Session, reason: CloseReason) {
        if self.settings.telemetry.may_log(reason.as_str()) {
            tracing::info!(
                session = %session.id,
                reason = reason.as_str(),
                position = %self.settings.history.id(session.cursor),
                "session closed"
            );
        }
    }

    /// Returns the next bytes of a session; `None` once it has ended.
    pub(in crate::hub) fn poll(
        &mut self,
        key: SessionKey,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Bytes>> {
        let mut polling = Polling {
            members: &mut self.members,
            flushes: &mut self.flushes,
            delivery: &mut self.delivery,
            closes: &mut self.closes,
            settings: &self.settings,
            dispatched: self.dispatched_watermark,
            now: self.heartbeats.now(),
        };
        polling.poll(key, cx)
    }

    /// Queues the entries of a batch for the groups of this shard.
    pub(in crate::hub) fn deliver(
        &mut self,
        batch: &CommittedBatch,
        recipients: &[(u32, GroupId)],
    ) {
        self.dispatched_watermark = self.dispatched_watermark.max(batch.last);
        let history = &self.settings.history;
        let too_far_behind =
            dispatch::deliver(&mut self.members, &mut self.flushes, history, batch, recipients);
        for key in too_far_behind {
            self.settings.telemetry.bound_hit(BoundHit::SessionQueue);
            self.fall_behind(key);
        }
    }

    fn fall_behind(&mut self, key: SessionKey) {
        let now = self.heartbeats.now();
        if self.members.fall_behind(key, self.dispatched_watermark, now) {
            self.settings.telemetry.catching_up(1);
        }
    }

    /// Makes every session read the batches up to `through`, which were left out, from history.
    pub(in crate::hub) fn resync(&mut self, through: Position) {
        let is_live = |session: &Session| matches!(session.mode, Mode::Live { .. });
        let live = self.members.sessions().filter(|(_, session)| is_live(session));
        for key in live.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.fall_behind(key);
        }
        self.dispatched_watermark = self.dispatched_watermark.max(through);
        self.members.wake_all(self.heartbeats.now());
    }

    /// Runs once a second: heartbeats, expired and revoked credentials, metrics.
    pub(in crate::hub) fn tick(&mut self) {
        self.settings.liveness.beat(self.id);
        self.manager.flush();
        let (time, second) = (crate::journal::now(), self.heartbeats.now());
        for key in self.expiries.expired(&mut self.members, time, second) {
            let session = self.members.session(key);
            let expires = session.and_then(|session| session.caller.as_ref()?.expires);
            let is_expired = expires.is_some_and(|expires| expires <= time);
            let reason = if is_expired { CloseReason::Expired } else { CloseReason::Lifetime };
            self.close(key, reason);
        }
        for key in self.expiries.revoked(&self.members, &self.settings.access.load()) {
            self.close(key, CloseReason::Revoked);
        }
        self.abort_overdue();
        while self.heartbeats.now() < self.heartbeats.elapsed() {
            self.send_heartbeats();
        }
        self.delivery.report(&self.members);
    }

    /// Advances the clock by one second and sends the heartbeats that are due.
    fn send_heartbeats(&mut self) {
        let due = self.heartbeats.advance();
        let now = self.heartbeats.now();
        for key in due {
            let Some(session) = self.members.session_mut(key) else { continue };
            let interval_s = session.heartbeat.every_s;
            let last_sent = session.last_sent;
            if now >= last_sent + interval_s {
                session.heartbeat_due = true;
                session.wake(now);
                self.heartbeats.add(key, now + interval_s);
            } else {
                self.heartbeats.add(key, last_sent + interval_s);
            }
        }
    }

    /// Aborts closed sessions that have not ended, such as those whose socket accepts no bytes.
    fn abort_overdue(&mut self) {
        while let Some(key) = self.closes.next_overdue(self.heartbeats.now()) {
            let Some(session) = self.members.session(key) else { continue };
            if let Some(sink) = &session.sink {
                sink.abort();
            }
            // The session is no longer counted, even if its connection lingers.
            self.leave(key);
        }
    }

    /// Begins to close all sessions, spread over `window`.
    pub(in crate::hub) fn start_leaving(&mut self, window: Duration, reason: CloseReason) {
        self.closes.start_leaving(&self.members, window, reason);
    }

    /// Advances the window by [`LEAVE_STEP`] and closes the sessions that are due. Returns true if there are
    /// more.
    ///
    /// [`LEAVE_STEP`]: super::close::LEAVE_STEP
    pub(in crate::hub) fn leave_step(&mut self) -> bool {
        self.closes.leave_step();
        while let Some((key, reason)) = self.closes.next_leaving() {
            self.close(key, reason);
        }
        self.closes.is_leaving()
    }

    /// Writes to some sessions; returns true if there are more.
    pub(in crate::hub) fn write_slice(&mut self) -> bool {
        let now = self.heartbeats.now();
        self.flushes.write_slice(&mut self.members, &mut self.delayed, &mut self.delivery, now)
    }

    /// Writes to some sessions whose delay is over; returns true if there may be more.
    pub(in crate::hub) fn write_delayed(&mut self) -> bool {
        let (time, now) = (Instant::now(), self.heartbeats.now());
        for _ in 0..SLICE_SESSIONS {
            let Some(key) = self.delayed.pop_due(time) else { return false };
            let Some(session) = self.members.session_mut(key) else { continue };
            if self.delayed.is_due(&mut session.flush_delay, key, time) {
                self.flushes.write_now(&mut self.members, &mut self.delivery, key, now);
            }
        }
        true
    }

    /// Records how long batches took to reach the sockets.
    pub(in crate::hub) fn measure_fan_out(&mut self) {
        self.flushes.measure_fan_out(&mut self.delivery);
    }

    /// Returns the sessions that `filter` matches.
    pub(in crate::hub) fn list(&self, filter: &SessionFilter) -> Vec<SessionView> {
        listing::list(&self.members, &self.settings.history, filter)
    }

    /// Closes the session with an id on behalf of an operator; returns false if there is none.
    pub(in crate::hub) fn close_by_operator(&mut self, id: Uuid) -> bool {
        let is_requested = |session: &Session| session.id == id && session.origin.is_some();
        let found = self.members.sessions().find(|(_, session)| is_requested(session));
        let Some(key) = found.map(|(key, _)| *key) else { return false };
        self.close(key, CloseReason::Operator);
        true
    }
}

impl Drop for ShardState {
    fn drop(&mut self) {
        self.settings.liveness.end(self.id);
    }
}
