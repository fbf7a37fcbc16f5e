//! Delayed flushes, for sessions that asked for few and large writes.
//!
//! Delayed events stay in the queue of the session's group; any other write to the session sends them
//! as well.

use crate::hub::ids::SessionKey;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Maximum delay of a session's bytes, and the number of bytes that ends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlushOptions {
    /// Maximum delay, from the first byte that waits.
    pub within: Duration,
    /// Number of waiting bytes that are written without delay.
    pub bytes: u64,
}

/// Flush delay of one session.
#[derive(Clone, Copy, Default)]
pub(in crate::hub) struct FlushDelay {
    options: Option<FlushOptions>,
    /// End of the current delay.
    until: Option<Instant>,
    /// True if the session is in the heap of due flushes, which holds each session once.
    is_queued: bool,
}

impl FlushDelay {
    pub(in crate::hub) fn new(options: Option<FlushOptions>) -> Self {
        Self { options, ..Self::default() }
    }

    /// Returns true if the session asked for few and large writes.
    pub(in crate::hub) fn is_enabled(&self) -> bool {
        self.options.is_some()
    }

    /// Ends the delay: the session was written to.
    pub(in crate::hub) fn clear(&mut self) {
        self.until = None;
    }
}

/// Delayed sessions of a shard, the one that is due first on top.
#[derive(Default)]
pub(in crate::hub) struct DelayedFlushes {
    due: BinaryHeap<Reverse<(Instant, SessionKey)>>,
    changed: Rc<Notify>,
}

impl DelayedFlushes {
    /// Returns the `Notify` that is signalled when a session is added.
    pub(in crate::hub) fn changed(&self) -> Rc<Notify> {
        self.changed.clone()
    }

    /// Returns the time at which the next session may be due.
    pub(in crate::hub) fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// Returns true if the `unread` bytes of a live session must wait for more; schedules the
    /// session if its delay begins.
    pub(in crate::hub) fn should_delay(
        &mut self,
        delay: &mut FlushDelay,
        key: SessionKey,
        unread: u64,
    ) -> bool {
        let Some(options) = delay.options else { return false };
        if unread >= options.bytes {
            return false;
        }
        if unread > 0 && delay.until.is_none() {
            let until = Instant::now() + options.within;
            delay.until = Some(until);
            if !std::mem::replace(&mut delay.is_queued, true) {
                self.due.push(Reverse((until, key)));
                self.changed.notify_one();
            }
        }
        true
    }

    /// Removes and returns the next session that may be due.
    pub(in crate::hub) fn pop_due(&mut self, now: Instant) -> Option<SessionKey> {
        self.next().filter(|due| *due <= now)?;
        self.due.pop().map(|Reverse((_, key))| key)
    }

    /// Returns true if a session that [`pop_due`](Self::pop_due) returned must be written to now.
    /// If it was written to in the meantime and is delayed again, it is scheduled again.
    pub(in crate::hub) fn is_due(
        &mut self,
        delay: &mut FlushDelay,
        key: SessionKey,
        now: Instant,
    ) -> bool {
        delay.is_queued = false;
        match delay.until {
            Some(until) if until > now => {
                delay.is_queued = true;
                self.due.push(Reverse((until, key)));
                false
            }
            until => until.is_some(),
        }
    }
}
