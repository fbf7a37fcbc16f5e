//! A session: one subscriber's cursor over the journal.
//!
//! It is `Live` while it reads its group's queue, and `CatchingUp` while it reads history: when it
//! starts behind, after it fell behind, and after its shard did. There is no third source.

use super::direct_sink::DirectSink;
use super::flush_delay::{FlushDelay, FlushOptions};
use super::page::Page;
use crate::access::Caller;
use crate::event::{Interest, Position, StreamName, Timestamp};
use crate::hub::ids::GroupKey;
use crate::hub::messages::SubscribeRejection;
use crate::journal::{History, JournalError};
use crate::limits::QuotaOwner;
use crate::telemetry::CloseReason;
use crate::wire::{Resume, View};
use bytes::Bytes;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Interval and form of a session's heartbeats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// Number of seconds without other bytes after which a heartbeat is sent.
    pub every_s: u64,
    /// True for events that a page can see, false for comments.
    pub as_event: bool,
}

/// Parameters with which a session starts to read.
pub struct SessionStart {
    /// Position up to which it has everything.
    pub cursor: Position,
    /// Position at which it ends; `None` if it continues with live events.
    pub until: Option<Position>,
    /// Number of removals that it knows of.
    pub seen_removals: u64,
    /// Streams that it selects by name and whose end it knows of.
    pub ended: Vec<StreamName>,
    /// First block.
    pub first_block: Option<Bytes>,
    /// Lines that are sent in the block of its first event.
    pub prefix: Option<Bytes>,
    /// Heartbeats.
    pub heartbeat: Heartbeat,
    /// Result of the resume.
    pub resume: Resume,
    /// Sink for direct writes to the socket, if there is one.
    pub sink: Option<Rc<dyn DirectSink>>,
    /// Delay and size of flushes, if the subscriber asked for few and large writes.
    pub flush: Option<FlushOptions>,
    /// Caller; the session ends with its credential.
    pub caller: Arc<Caller>,
    /// Time after which it ends, if there is one.
    pub max_time: Option<Duration>,
}

/// Source of a session's next bytes.
pub(in crate::hub) enum Mode {
    /// Waits for its registration.
    Registering(oneshot::Sender<Result<Position, SubscribeRejection>>),
    /// Registered, and not started.
    Registered,
    /// Reads history.
    CatchingUp(CatchUp),
    /// Reads its shared queue: the next segment, and its index among the readers.
    Live { next: u64, index: usize },
}

/// A read of history in progress.
#[derive(Default)]
pub(in crate::hub) struct CatchUp {
    /// End of the current read, after which the session checks whether it has caught up.
    pub(in crate::hub) until: Position,
    /// A read that waits for the disk.
    pub(in crate::hub) job: Option<JoinHandle<Result<Page, JournalError>>>,
}

impl Drop for CatchUp {
    /// Aborts the read, so that one whose session is gone does not take a turn at the disk.
    fn drop(&mut self) {
        if let Some(job) = &self.job {
            job.abort();
        }
    }
}

/// Start of a session, and the result of its resume.
#[derive(Clone, Copy)]
pub(in crate::hub) struct SessionOrigin {
    pub(in crate::hub) at: Timestamp,
    pub(in crate::hub) resume: Resume,
}

/// State of a session.
pub(in crate::hub) struct Session {
    pub(in crate::hub) id: Uuid,
    pub(in crate::hub) interest: Arc<Interest>,
    pub(in crate::hub) view: View,
    /// Client and subject that it is counted for.
    pub(in crate::hub) owner: Arc<QuotaOwner>,
    /// Start of the session, once it has started.
    pub(in crate::hub) origin: Option<SessionOrigin>,
    /// Number of events sent to it.
    pub(in crate::hub) sent_events: u64,
    pub(in crate::hub) group: Option<GroupKey>,
    pub(in crate::hub) mode: Mode,
    /// Position up to which all selected events were yielded.
    pub(in crate::hub) cursor: Position,
    /// Position at which it ends, if there is one.
    pub(in crate::hub) last: Option<Position>,
    pub(in crate::hub) seen_removals: u64,
    /// Streams selected by name whose end it knows of.
    pub(in crate::hub) ended: HashSet<StreamName>,
    /// Block that is sent before anything else.
    pub(in crate::hub) first_block: Option<Bytes>,
    pub(in crate::hub) prefix: Option<Bytes>,
    pub(in crate::hub) heartbeat: Heartbeat,
    pub(in crate::hub) heartbeat_due: bool,
    pub(in crate::hub) last_sent: u64,
    pub(in crate::hub) flush_delay: FlushDelay,
    /// Caller, once the session has started.
    pub(in crate::hub) caller: Option<Arc<Caller>>,
    /// Time of the notice that its credential expires, and time of the expiry.
    pub(in crate::hub) expires: Option<(Timestamp, Timestamp)>,
    /// The last block, after which the session ends.
    pub(in crate::hub) close_block: Option<Bytes>,
    pub(in crate::hub) closing: Option<CloseReason>,
    pub(in crate::hub) waker: Option<Waker>,
    pub(in crate::hub) sink: Option<Rc<dyn DirectSink>>,
    /// Commit time of the oldest event that the sink took and the socket has not.
    pub(in crate::hub) unsent_since: Option<Instant>,
    /// Second since which bytes wait for a socket that takes nothing.
    pub(in crate::hub) stalled_since: Option<u64>,
}

impl Session {
    pub(in crate::hub) fn new(
        interest: Arc<Interest>,
        view: View,
        owner: Arc<QuotaOwner>,
        registration: oneshot::Sender<Result<Position, SubscribeRejection>>,
    ) -> Self {
        Self {
            id: Uuid::new_v4(),
            interest,
            view,
            owner,
            origin: None,
            sent_events: 0,
            group: None,
            mode: Mode::Registering(registration),
            cursor: Position::ZERO,
            last: None,
            seen_removals: 0,
            ended: HashSet::new(),
            first_block: None,
            prefix: None,
            heartbeat: Heartbeat { every_s: u64::MAX, as_event: false },
            heartbeat_due: false,
            last_sent: 0,
            flush_delay: FlushDelay::default(),
            caller: None,
            expires: None,
            close_block: None,
            closing: None,
            waker: None,
            sink: None,
            unsent_since: None,
            stalled_since: None,
        }
    }

    /// Wakes the connection's task, so that it polls again.
    pub(in crate::hub) fn wake(&mut self, now: u64) {
        if let Some(waker) = self.waker.take() {
            self.stalled_since.get_or_insert(now);
            waker.wake();
        }
    }

    /// Returns the commit time of the oldest event that the socket has not taken, and the number of
    /// unsent bytes; `None` if there are none.
    pub(in crate::hub) fn unsent(&self) -> Option<(Instant, u64)> {
        let bytes = self.sink.as_ref()?.unsent_bytes() as u64;
        self.unsent_since.filter(|_| bytes > 0).map(|at| (at, bytes))
    }

    /// Returns true if every stream it selects by name has ended at or before its cursor. A stream that
    /// was deleted and exists again has not ended.
    pub(in crate::hub) fn is_finished(&self, history: &History) -> bool {
        // The stream of updates begins again after its deletion.
        #[cfg(feature = "mercure")]
        if self.interest.topics().is_some() {
            return false;
        }
        // Its reader does not continue with a later stream of the same name.
        if self.view.ends_at_gap() && !self.ended.is_empty() {
            return true;
        }
        let Some(names) = self.interest.exact_streams() else { return false };
        self.cursor <= history.head()
            && names.iter().all(|name| {
                if history.has_history(name) {
                    history.has_ended(name, self.cursor)
                } else {
                    self.ended.contains(*name)
                }
            })
    }
}
