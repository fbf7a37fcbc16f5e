//! Handles to a shard: for its worker thread, and for the byte stream of each session.

use super::ids::SessionKey;
use super::manager::ConnectionManager;
use super::messages::{Subscribe, SubscribeRejection};
use super::shard::{
    CatchUp, FlushDelay, Mode, Session, SessionOrigin, SessionStart, Shard, ShardSettings,
    ShardState,
};
use crate::event::Position;
use crate::telemetry::CloseReason;
use actix::Addr;
use bytes::Bytes;
use rand::Rng;
use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Handle of a worker thread to its shard.
#[derive(Clone)]
pub struct ShardHandle {
    state: Rc<RefCell<ShardState>>,
}

/// Byte stream of a session: the body of its response. Dropping it ends the session.
pub struct Subscription {
    state: Rc<RefCell<ShardState>>,
    key: SessionKey,
    /// Dropped when the session has ended.
    guard: Option<Box<dyn Any>>,
}

/// A registered session that has not begun to read.
pub struct PendingSession {
    /// The session.
    pub subscription: Subscription,
    /// Position of the last event dispatched before it was registered; all later ones arrive live.
    pub through: Position,
}

impl ShardHandle {
    /// Starts the shard of this thread, which must run an actix system's arbiter.
    pub fn start(manager: Addr<ConnectionManager>, settings: ShardSettings) -> Self {
        Self { state: Shard::start(manager.recipient(), settings) }
    }

    /// Registers a subscriber.
    pub async fn register(
        &self,
        subscribe: Subscribe,
    ) -> Result<PendingSession, SubscribeRejection> {
        let (sender, registration) = oneshot::channel();
        let owner = Arc::new(subscribe.owner);
        let session = Session::new(subscribe.interest, subscribe.view, owner, sender);
        let Some(key) = self.state.borrow_mut().admit(session) else {
            return Err(SubscribeRejection::ManagerQueue);
        };
        let subscription = Subscription { state: self.state.clone(), key, guard: None };
        match registration.await {
            Ok(Ok(through)) => Ok(PendingSession { subscription, through }),
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(SubscribeRejection::WorkerGone),
        }
    }
}

impl Subscription {
    /// Returns the id of the session.
    pub fn id(&self) -> uuid::Uuid {
        self.state.borrow().members.session(self.key).map_or(uuid::Uuid::nil(), |s| s.id)
    }

    /// Keeps a value until the session has ended.
    pub fn keep(&mut self, guard: impl Any) {
        self.guard = Some(Box::new(guard));
    }

    /// Starts the session.
    pub fn begin(&self, start: SessionStart) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let now = state.heartbeats.now();
        let Some(session) = state.members.session_mut(self.key) else { return };
        session.cursor = start.cursor;
        session.last = start.until;
        session.seen_removals = start.seen_removals;
        session.ended.extend(start.ended);
        session.first_block = start.first_block;
        session.prefix = start.prefix;
        session.heartbeat = start.heartbeat;
        session.flush_delay = FlushDelay::new(start.flush);
        session.sink = start.sink;
        session.last_sent = now;
        session.origin = Some(SessionOrigin { at: crate::journal::now(), resume: start.resume });
        session.mode = Mode::CatchingUp(CatchUp { until: state.dispatched_watermark, job: None });
        // The first heartbeat is jittered, so that sessions that started together do not send
        // theirs together.
        let interval_s = session.heartbeat.every_s;
        let first = now + rand::rng().random_range(interval_s.div_ceil(2)..=interval_s);
        state.heartbeats.add(self.key, first);
        state.settings.telemetry.catching_up(1);
        // The credential may have been revoked after it was verified, and the shard may have
        // checked its sessions for that revocation already.
        let is_over = state.settings.access.load().is_over(&start.caller);
        let end = start.max_time.map(|time| crate::journal::now().plus_ms(time.as_millis() as u64));
        state.expiries.bind(self.key, session, start.caller, end);
        if is_over {
            state.close(self.key, CloseReason::Revoked);
        }
    }

    /// Records that the connection waits for its socket; `has_moved` is true if the socket has just
    /// taken bytes.
    pub fn wait_for_socket(&self, has_moved: bool) {
        let mut state = self.state.borrow_mut();
        let now = state.heartbeats.now();
        let Some(session) = state.members.session_mut(self.key) else { return };
        if has_moved {
            session.stalled_since = Some(now);
        } else {
            session.stalled_since.get_or_insert(now);
        }
    }

    /// Returns true if the session ended before it had sent everything, and without a closing
    /// block; its connection must then not end normally.
    pub fn is_truncated(&self) -> bool {
        let state = self.state.borrow();
        state.members.session(self.key).is_none_or(|session| {
            let is_complete =
                matches!(session.closing, Some(CloseReason::Complete | CloseReason::Ended));
            session.last.is_some() && !session.view.has_control() && !is_complete
        })
    }

    /// Records that the socket has taken all bytes that waited for it.
    pub fn resume_after_socket(&self) {
        if let Some(session) = self.state.borrow_mut().members.session_mut(self.key) {
            session.unsent_since = None;
        }
    }

    /// Closes the session because its socket took no bytes within the write timeout.
    pub fn close_for_write_timeout(&self) {
        if let Some(session) = self.state.borrow_mut().members.session_mut(self.key) {
            session.closing.get_or_insert(CloseReason::WriteTimeout);
        }
    }

    /// Returns the next bytes; `None` once the session has ended. Bytes always end between events.
    pub fn poll_next(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Bytes>> {
        self.state.borrow_mut().poll(self.key, cx)
    }
}

#[cfg(test)]
impl Subscription {
    /// Creates the subscription of an existing session.
    pub(super) fn of(state: Rc<RefCell<ShardState>>, key: SessionKey) -> Self {
        Self { state, key, guard: None }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.state.borrow_mut().leave(self.key);
    }
}
