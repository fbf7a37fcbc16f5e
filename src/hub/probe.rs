//! Hot paths of the hub in isolation, for the micro-benchmarks (`cargo bench --bench hot`).
//!
//! Only benchmarks and tests use this module.

use super::ids::{GroupId, SessionKey};
#[cfg(feature = "mercure")]
use super::manager::InterestIndex;
use super::manager::{ConnectionManager, SelectorIndex};
use super::messages::Registered;
use super::retry_pacer::RetryPacer;
use super::shard::{
    CatchUp, DirectSink, Mode, Session, Shard, ShardSettings, ShardState, WriteOutcome,
};
#[cfg(feature = "mercure")]
use crate::event::Entry;
use crate::event::{Interest, Position, Selector, StreamName};
use crate::journal::{CommittedBatch, History};
use crate::limits::Client;
use crate::limits::QuotaOwner;
use crate::telemetry::Telemetry;
use crate::wire::View;
use actix::Addr;
use bytes::Bytes;
#[cfg(feature = "mercure")]
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

const GROUP: GroupId = GroupId::of(1);
const MANAGER_MAILBOX: usize = 1 << 20;

/// Returns settings for a shard.
pub(super) fn settings(history: Arc<History>, telemetry: Telemetry) -> ShardSettings {
    ShardSettings {
        history,
        telemetry,
        retry_pacer: Arc::new(RetryPacer::new(Duration::from_secs(1), 1)),
        write_timeout: Duration::from_secs(1),
        disk_readers: Arc::new(Semaphore::new(1)),
        access: Arc::default(),
        liveness: Arc::default(),
    }
}

/// Starts a shard whose manager receives nothing. Must be called in an actix system.
pub(super) fn shard(history: Arc<History>, telemetry: Telemetry) -> Rc<RefCell<ShardState>> {
    let settings = settings(history, telemetry);
    let (sender, _mailbox) = actix::dev::channel::channel::<ConnectionManager>(MANAGER_MAILBOX);
    Shard::start(Addr::new(sender).recipient(), settings)
}

/// Returns an owner on this machine.
pub(super) fn owner() -> Arc<QuotaOwner> {
    let client = Client::at(Ipv4Addr::LOCALHOST.into(), true);
    Arc::new(QuotaOwner { client, subject: None })
}

/// Registers a session, as the manager would.
pub(super) fn register_session(
    state: &mut ShardState,
    group: GroupId,
    session: Session,
) -> Option<SessionKey> {
    let key = state.admit(session)?;
    state.registered(key, Ok(Registered { group, through: Position::ZERO }));
    Some(key)
}

/// Index of selectors that counts those that match a stream.
pub struct SelectorProbe(SelectorIndex<u64>);

impl SelectorProbe {
    /// Creates an index of `selectors`.
    pub fn of(selectors: &[Selector]) -> Self {
        let mut index = SelectorIndex::default();
        for (value, selector) in (0..).zip(selectors) {
            index.insert(selector, value);
        }
        Self(index)
    }

    /// Returns the number of matching selectors.
    pub fn count(&self, stream: &StreamName) -> usize {
        let mut matched = Vec::new();
        self.0.matches(stream, &mut matched);
        matched.len()
    }
}

/// Index of subscribers by topic that counts those that get an update.
#[cfg(feature = "mercure")]
pub struct TopicProbe {
    index: InterestIndex,
    interests: FxHashMap<GroupId, Interest>,
}

#[cfg(feature = "mercure")]
impl TopicProbe {
    /// Creates an index of `interests`.
    pub fn of(interests: Vec<Interest>) -> Self {
        let interests: FxHashMap<_, _> = (1..).map(GroupId::of).zip(interests).collect();
        let mut index = InterestIndex::default();
        for (id, interest) in &interests {
            index.insert(interest, *id);
        }
        Self { index, interests }
    }

    /// Returns the number of subscribers that get an entry.
    pub fn count(&self, entry: &Entry) -> usize {
        let mut found = Vec::new();
        let interest_of = |id: GroupId| self.interests.get(&id);
        self.index.find(entry, interest_of, &mut found);
        found.len()
    }
}

/// A socket that takes everything.
struct Sink;

impl DirectSink for Sink {
    fn abort(&self) {}

    fn unsent_bytes(&self) -> usize {
        0
    }

    fn write(&self, _: &Bytes) -> WriteOutcome {
        WriteOutcome::All
    }
}

/// A shard with live sessions of one interest.
pub struct FanOut {
    state: Rc<RefCell<ShardState>>,
    sessions: Vec<SessionKey>,
}

impl FanOut {
    /// Creates `sessions` sessions of `interest`, with sockets that take everything or without
    /// sockets. Must be called in an actix system.
    pub fn new(
        history: Arc<History>,
        telemetry: Telemetry,
        interest: &Arc<Interest>,
        sessions: usize,
        have_sockets: bool,
    ) -> Self {
        let mut fan_out = Self { state: shard(history, telemetry), sessions: Vec::new() };
        for _ in 0..sessions {
            fan_out.join(interest.clone(), have_sockets);
        }
        fan_out.poll();
        fan_out
    }

    fn join(&mut self, interest: Arc<Interest>, has_socket: bool) {
        let mut state = self.state.borrow_mut();
        let (sender, _registration) = oneshot::channel();
        let session = Session::new(interest, View::default(), owner(), sender);
        let Some(key) = register_session(&mut state, GROUP, session) else { return };
        if let Some(session) = state.members.session_mut(key) {
            session.mode = Mode::CatchingUp(CatchUp::default());
            session.sink = has_socket.then(|| Rc::new(Sink) as Rc<dyn DirectSink>);
            self.sessions.push(key);
        }
    }

    /// Frames a batch and queues all of it for the sessions.
    pub fn push(&mut self, batch: &CommittedBatch) {
        let recipients: Vec<(u32, GroupId)> =
            (0..batch.entries.len() as u32).map(|entry| (entry, GROUP)).collect();
        self.state.borrow_mut().deliver(batch, &recipients);
    }

    /// Writes all queued events to the sockets.
    pub fn flush(&mut self) {
        while self.state.borrow_mut().write_slice() {}
    }

    /// Polls every session until it has no more bytes; returns the number of bytes.
    pub fn poll(&mut self) -> usize {
        let mut state = self.state.borrow_mut();
        let mut cx = Context::from_waker(Waker::noop());
        let mut bytes = 0;
        for key in &self.sessions {
            while let Poll::Ready(Some(piece)) = state.poll(*key, &mut cx) {
                bytes += piece.len();
            }
        }
        bytes
    }
}
