//! A session: one subscriber's cursor over the journal.
//!
//! It is `Live` while it reads its group's queue, and `CatchingUp` while it reads history: when it
//! starts behind, when it fell behind, when its shard did. There is no third way.

use super::admission::QuotaOwner;
use super::direct_sink::DirectSink;
use super::flush_delay::{FlushDelay, FlushOptions};
use super::messages::SubscribeRejection;
use super::page::Page;
use super::views::GroupKey;
use crate::access::Caller;
use crate::event::{Interest, Position, StreamName, Timestamp};
use crate::journal::{History, JournalError};
use crate::telemetry::Closed;
use crate::wire::{Resume, View};
use bytes::Bytes;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// A session's name within its shard; never used twice.
pub(super) type SessionKey = u64;

/// Interval and form of a session's heartbeats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// After so many seconds without anything else.
    pub every_s: u64,
    /// True for events that a page can see, false for comments.
    pub as_event: bool,
}

/// Parameters with which a session starts to read.
pub struct SessionStart {
    /// The place it has everything up to.
    pub cursor: Position,
    /// The place it ends at, where it does not go on with what is to come.
    pub until: Option<Position>,
    /// The removals it has been told of.
    pub seen_removals: u64,
    /// Streams it names that are gone, as it knows.
    pub ended: Vec<StreamName>,
    /// First block.
    pub first_block: Option<Bytes>,
    /// Lines that go into the block of its first event.
    pub prefix: Option<Bytes>,
    /// Heartbeats.
    pub heartbeat: Heartbeat,
    /// Result of the resume.
    pub resume: Resume,
    /// Direct way to the socket, if there is one.
    pub outlet: Option<Rc<dyn DirectSink>>,
    /// Delay and size of flushes, if the subscriber asked for few and large writes.
    pub flush: Option<FlushOptions>,
    /// Caller; the session ends with its credential.
    pub caller: Arc<Caller>,
}

/// Source of a session's next bytes.
pub(super) enum Mode {
    /// Waits for its registration.
    Seating(oneshot::Sender<Result<Position, SubscribeRejection>>),
    /// Registered, and not started.
    Seated,
    /// Reads history.
    CatchingUp(CatchUp),
    /// Reads its shared queue: the next segment, and its index among the readers.
    Live { next: u64, place: usize },
}

/// A read of history in progress.
#[derive(Default)]
pub(super) struct CatchUp {
    /// End of the current read, after which the session checks whether it has caught up.
    pub(super) until: Position,
    /// A read that waits for the disk.
    pub(super) job: Option<JoinHandle<Result<Page, JournalError>>>,
}

impl Drop for CatchUp {
    /// A read that nobody waits for any more does not take its turn.
    fn drop(&mut self) {
        if let Some(job) = &self.job {
            job.abort();
        }
    }
}

/// Start of a session, and the result of its resume.
#[derive(Clone, Copy)]
pub(super) struct SessionOrigin {
    pub(super) at: Timestamp,
    pub(super) resume: Resume,
}

/// A subscriber.
pub(super) struct Session {
    pub(super) id: Uuid,
    pub(super) interest: Arc<Interest>,
    pub(super) view: View,
    /// Client and subject that it is counted for.
    pub(super) holder: Arc<QuotaOwner>,
    /// Start of the session, once it has started.
    pub(super) began: Option<SessionOrigin>,
    /// Events that it was sent.
    pub(super) sent_events: u64,
    pub(super) group: Option<GroupKey>,
    pub(super) mode: Mode,
    /// Everything wanted up to here has been yielded.
    pub(super) cursor: Position,
    /// The place it ends at, where there is one.
    pub(super) last: Option<Position>,
    pub(super) told: u64,
    /// Streams named that it was told the end of.
    pub(super) ended: HashSet<StreamName>,
    /// Block that is sent before anything else.
    pub(super) first_block: Option<Bytes>,
    pub(super) prefix: Option<Bytes>,
    pub(super) beat: Heartbeat,
    pub(super) heartbeat_due: bool,
    pub(super) last_sent: u64,
    pub(super) flush_delay: FlushDelay,
    /// Caller, once the session has started.
    pub(super) caller: Option<Arc<Caller>>,
    /// Time of the notice that its credential expires, and time of the expiry.
    pub(super) expires: Option<(Timestamp, Timestamp)>,
    /// The last block, after which the session ends.
    pub(super) close_block: Option<Bytes>,
    pub(super) closing: Option<Closed>,
    pub(super) waker: Option<Waker>,
    pub(super) outlet: Option<Rc<dyn DirectSink>>,
    /// Commit time of the oldest event that the sink took and the socket has not.
    pub(super) kept_at: Option<Instant>,
    /// Since when there has been something for a socket that takes nothing.
    pub(super) stalled_since: Option<u64>,
}

impl Session {
    pub(super) fn new(
        interest: Arc<Interest>,
        view: View,
        holder: Arc<QuotaOwner>,
        seat: oneshot::Sender<Result<Position, SubscribeRejection>>,
    ) -> Self {
        Self {
            id: Uuid::new_v4(),
            interest,
            view,
            holder,
            began: None,
            sent_events: 0,
            group: None,
            mode: Mode::Seating(seat),
            cursor: Position::ZERO,
            last: None,
            told: 0,
            ended: HashSet::new(),
            first_block: None,
            prefix: None,
            beat: Heartbeat { every_s: u64::MAX, as_event: false },
            heartbeat_due: false,
            last_sent: 0,
            flush_delay: FlushDelay::default(),
            caller: None,
            expires: None,
            close_block: None,
            closing: None,
            waker: None,
            outlet: None,
            kept_at: None,
            stalled_since: None,
        }
    }

    /// Has the connection's task poll again.
    pub(super) fn wake(&mut self, now: u64) {
        if let Some(waker) = self.waker.take() {
            self.stalled_since.get_or_insert(now);
            waker.wake();
        }
    }

    /// Returns the bytes that the socket has not taken, and the time since when there are some.
    pub(super) fn unsent(&self) -> Option<(Instant, u64)> {
        let bytes = self.outlet.as_ref()?.unsent_bytes() as u64;
        self.kept_at.filter(|_| bytes > 0).map(|at| (at, bytes))
    }

    /// Returns true if every stream it selects by name has ended at or before its cursor. A stream that
    /// was deleted and exists again has not ended.
    pub(super) fn is_finished(&self, history: &History) -> bool {
        let Some(names) = self.interest.exact_streams() else { return false };
        names.iter().all(|name| {
            if history.has_history(name) {
                history.has_ended(name, self.cursor)
            } else {
                self.ended.contains(*name)
            }
        })
    }
}
