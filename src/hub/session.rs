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

/// How a session's heartbeats look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// After so many seconds without anything else.
    pub every_s: u64,
    /// As an event that a page can see, rather than as a comment.
    pub as_event: bool,
}

/// How a session begins to read.
pub struct SessionStart {
    /// The place it has everything up to.
    pub cursor: Position,
    /// The place it ends at, where it does not go on with what is to come.
    pub until: Option<Position>,
    /// The removals it has been told of.
    pub seen_removals: u64,
    /// Streams it names that are gone, as it knows.
    pub ended: Vec<StreamName>,
    /// Its first block.
    pub first_block: Option<Bytes>,
    /// Lines that go into the block of its first event.
    pub prefix: Option<Bytes>,
    /// Its heartbeats.
    pub heartbeat: Heartbeat,
    /// What became of its resume.
    pub resume: Resume,
    /// Its short way to its socket, where there is one.
    pub outlet: Option<Rc<dyn DirectSink>>,
    /// Where it wants few and large writes.
    pub flush: Option<FlushOptions>,
    /// Whose it is: it ends with their credential.
    pub caller: Arc<Caller>,
}

/// Where a session gets its next bytes.
pub(super) enum Mode {
    /// It waits for its seat.
    Seating(oneshot::Sender<Result<Position, SubscribeRejection>>),
    /// It has a seat and has not begun.
    Seated,
    /// It reads history.
    CatchingUp(CatchUp),
    /// It reads its group's queue: the next segment, and its place among the readers.
    Live { next: u64, place: usize },
}

/// A read of history in progress.
#[derive(Default)]
pub(super) struct CatchUp {
    /// How far to read before looking again whether that is level.
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

/// When a session began, and what became of its resume.
#[derive(Clone, Copy)]
pub(super) struct SessionOrigin {
    pub(super) at: Timestamp,
    pub(super) resume: Resume,
}

/// One subscriber.
pub(super) struct Session {
    pub(super) id: Uuid,
    pub(super) interest: Arc<Interest>,
    pub(super) view: View,
    /// Whom it is counted for.
    pub(super) holder: Arc<QuotaOwner>,
    /// How it began, once it has.
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
    /// What it is told before anything else.
    pub(super) first_block: Option<Bytes>,
    pub(super) prefix: Option<Bytes>,
    pub(super) beat: Heartbeat,
    pub(super) heartbeat_due: bool,
    pub(super) last_sent: u64,
    pub(super) flush_delay: FlushDelay,
    /// Whose it is, once it has begun.
    pub(super) caller: Option<Arc<Caller>>,
    /// When it is told that its credential ends, and when that is.
    pub(super) expires: Option<(Timestamp, Timestamp)>,
    /// The last block, after which the session ends.
    pub(super) close_block: Option<Bytes>,
    pub(super) closing: Option<Closed>,
    pub(super) waker: Option<Waker>,
    pub(super) outlet: Option<Rc<dyn DirectSink>>,
    /// When the oldest event was committed that its outlet took and its socket has not.
    pub(super) kept_at: Option<Instant>,
    /// Since when there has been something for a socket that takes nothing.
    pub(super) stalled_since: Option<u64>,
}

impl Session {
    pub(super) fn new(
        interest: Arc<Interest>,
        view: View,
        (holder, seat): (Arc<QuotaOwner>, oneshot::Sender<Result<Position, SubscribeRejection>>),
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

    /// What its socket has not taken: since when there was something, and how many bytes.
    pub(super) fn unsent(&self) -> Option<(Instant, u64)> {
        let bytes = self.outlet.as_ref()?.unsent_bytes() as u64;
        self.kept_at.filter(|_| bytes > 0).map(|at| (at, bytes))
    }

    /// Whether everything it names has ended by its cursor. A stream that was deleted and is there
    /// again has not.
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
