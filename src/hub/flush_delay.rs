//! Sessions that want few and large writes: what comes for them is kept back for a while.
//!
//! It waits where it is anyway, in the queue of their group, and whatever else makes a session write
//! takes it along.

use super::flush_scheduler::SLICE_SESSIONS;
use super::session::{Mode, SessionKey};
use super::shard::ShardState;
use super::views::GroupKey;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Maximum delay of a session's bytes, and the number of bytes that ends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlushOptions {
    /// Since the first of it came.
    pub within: Duration,
    /// Bytes that are written at once.
    pub bytes: u64,
}

/// The sessions of a shard that are kept back, the one that is due first on top.
#[derive(Default)]
pub(super) struct DelayedFlushes {
    due: BinaryHeap<Reverse<(Instant, SessionKey)>>,
    changed: Rc<Notify>,
}

/// A session's part in it.
#[derive(Clone, Copy, Default)]
pub(super) struct FlushDelay {
    flush: Option<FlushOptions>,
    /// End of the current delay.
    until: Option<Instant>,
    /// True if the session is in the heap of due flushes, which holds each session once.
    is_noted: bool,
}

impl FlushDelay {
    pub(super) fn new(flush: Option<FlushOptions>) -> Self {
        Self { flush, ..Self::default() }
    }

    /// Ends the delay: the session was written to.
    pub(super) fn clear(&mut self) {
        self.until = None;
    }
}

/// Writes what was kept back long enough, for as long as the shard's thread runs.
pub(super) async fn run(state: Rc<RefCell<ShardState>>) {
    let changed = state.borrow().delayed.changed.clone();
    loop {
        let due = state.borrow().delayed.due.peek().map(|Reverse((due, _))| *due);
        match due {
            None => changed.notified().await,
            Some(due) => tokio::select! {
                () = changed.notified() => continue,
                () = tokio::time::sleep_until(due.into()) => {}
            },
        }
        while state.borrow_mut().release_due() {
            tokio::task::yield_now().await;
        }
    }
}

impl ShardState {
    /// Returns true if the bytes that came for a session of `group` are to wait for more.
    pub(super) fn is_delayed(&mut self, key: SessionKey, group: GroupKey) -> bool {
        let Some(session) = self.sessions.get_mut(&key) else { return false };
        let (Some(flush), Mode::Live { next, .. }) = (session.flush_delay.flush, &session.mode)
        else {
            return false;
        };
        let unread = self.groups.get(&group).map_or(0, |group| group.unread_bytes(*next));
        if unread >= flush.bytes {
            return false;
        }
        if unread > 0 && session.flush_delay.until.is_none() {
            let until = Instant::now() + flush.within;
            session.flush_delay.until = Some(until);
            if !std::mem::replace(&mut session.flush_delay.is_noted, true) {
                self.delayed.due.push(Reverse((until, key)));
                self.delayed.changed.notify_one();
            }
        }
        true
    }

    /// Writes to some that are due; whether there may be more.
    fn release_due(&mut self) -> bool {
        let now = Instant::now();
        for _ in 0..SLICE_SESSIONS {
            let Some(Reverse((due, key))) = self.delayed.due.peek().copied() else { return false };
            if due > now {
                return false;
            }
            self.delayed.due.pop();
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            session.flush_delay.is_noted = false;
            match (session.flush_delay.until, session.group) {
                // It was written to since.
                (Some(later), _) if later > now => {
                    session.flush_delay.is_noted = true;
                    self.delayed.due.push(Reverse((later, key)));
                }
                (Some(_), Some(group)) => {
                    self.write_now(key, group);
                }
                _ => {}
            }
        }
        true
    }
}
