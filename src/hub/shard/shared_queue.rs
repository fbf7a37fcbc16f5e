//! Shared queues: one for the sessions of a shard with the same interest and view.
//!
//! A batch is framed once and appended once for any number of sessions. Each session is a cursor
//! and has the part of the queue that it has not read. Segments that all have read are removed.

use crate::event::{Interest, Position, StreamName};
use crate::hub::ids::SessionKey;
use bytes::Bytes;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Maximum number of unread bytes of a session, beyond which it reads from history.
pub(in crate::hub) const MAX_SESSION_QUEUE_BYTES: u64 = 512 * 1024;

/// Maximum number of batches between two flushes whose fan-out is measured. Only a hub that is far
/// behind has more, and the measured ones show that.
const MEASURED_BATCHES: usize = 1024;

/// Frames of one batch for one group.
#[derive(Clone)]
pub(in crate::hub) struct Segment {
    pub(in crate::hub) bytes: Bytes,
    pub(in crate::hub) events: u64,
    /// First and last position of the batch.
    pub(in crate::hub) first: Position,
    pub(in crate::hub) last: Position,
    /// Time of the commit.
    pub(in crate::hub) at: Instant,
    /// Streams that end in it; almost always none.
    pub(in crate::hub) ends: Vec<StreamName>,
}

struct Queued {
    segment: Segment,
    /// Bytes appended before it since the queue was created.
    offset: u64,
    /// Live sessions that have not read it.
    unread: u32,
}

/// Queue of the sessions of a shard with the same interest and view.
pub(in crate::hub) struct SharedQueue {
    pub(in crate::hub) interest: Arc<Interest>,
    /// Number of registered sessions; `live` has those that read from the queue.
    pub(in crate::hub) registered: u32,
    live: Vec<SessionKey>,
    /// True if a flush is scheduled.
    pub(in crate::hub) is_flush_due: bool,
    /// Commit times of the batches that arrived since the last flush began.
    pub(in crate::hub) unmeasured_batches: Vec<Rc<Instant>>,
    queue: VecDeque<Queued>,
    /// Index of the first segment, counted since the queue was created.
    front: u64,
    end_offset: u64,
}

impl SharedQueue {
    pub(in crate::hub) fn new(interest: Arc<Interest>) -> Self {
        Self {
            interest,
            registered: 0,
            live: Vec::new(),
            is_flush_due: false,
            unmeasured_batches: Vec::new(),
            queue: VecDeque::new(),
            front: 0,
            end_offset: 0,
        }
    }

    /// Returns the index after the last segment: the next one of a session that has read all.
    pub(in crate::hub) fn end(&self) -> u64 {
        self.front + self.queue.len() as u64
    }

    pub(in crate::hub) fn live(&self) -> &[SessionKey] {
        &self.live
    }

    /// Adds a session that has read all to the live ones; returns its index among them.
    pub(in crate::hub) fn join(&mut self, key: SessionKey) -> usize {
        self.live.push(key);
        self.live.len() - 1
    }

    /// Removes the live session at index `live_index`, whose next segment was `next`. Returns the
    /// session that took its index.
    pub(in crate::hub) fn leave(&mut self, live_index: usize, next: u64) -> Option<SessionKey> {
        for index in next..self.end() {
            self.queue[(index - self.front) as usize].unread -= 1;
        }
        self.trim();
        self.live.swap_remove(live_index);
        self.live.get(live_index).copied()
    }

    /// Appends the frames of a batch; keeps nothing if no session is live.
    ///
    /// `committed_at` is shared by all groups that get the batch: the last flush of the batch
    /// measures its fan-out.
    pub(in crate::hub) fn push(&mut self, segment: Segment, committed_at: &Rc<Instant>) {
        let unread = self.live.len() as u32;
        if unread == 0 {
            self.front = self.end() + 1;
            self.queue.clear();
            return;
        }
        if self.unmeasured_batches.len() < MEASURED_BATCHES {
            self.unmeasured_batches.push(committed_at.clone());
        }
        let offset = self.end_offset;
        self.end_offset += segment.bytes.len() as u64;
        self.queue.push_back(Queued { segment, offset, unread });
    }

    /// Returns true if a session may be too far behind.
    pub(in crate::hub) fn exceeds_limit(&self) -> bool {
        self.queue.front().is_some_and(|q| self.end_offset - q.offset > MAX_SESSION_QUEUE_BYTES)
    }

    /// Returns the number of bytes that a session at `next` has not read.
    pub(in crate::hub) fn unread_bytes(&self, next: u64) -> u64 {
        self.at(next).map_or(0, |queued| self.end_offset - queued.offset)
    }

    /// Returns the segment at `next` without counting it as read.
    pub(in crate::hub) fn peek(&self, next: u64) -> Option<&Segment> {
        self.at(next).map(|queued| &queued.segment)
    }

    /// Returns the segment at `next` and counts it as read.
    pub(in crate::hub) fn read(&mut self, next: u64) -> Option<Segment> {
        let queued = self.queue.get_mut(usize::try_from(next.checked_sub(self.front)?).ok()?)?;
        queued.unread -= 1;
        let segment = queued.segment.clone();
        self.trim();
        Some(segment)
    }

    /// Counts the segments from `next` up to `end` as read; returns the last position in them.
    pub(in crate::hub) fn skip(&mut self, next: u64, end: u64) -> Option<Position> {
        let mut last = None;
        for index in next..end {
            let queued =
                self.queue.get_mut(usize::try_from(index.checked_sub(self.front)?).ok()?)?;
            queued.unread -= 1;
            last = Some(queued.segment.last);
        }
        self.trim();
        last
    }

    /// Returns the number of bytes appended since the queue was created.
    pub(in crate::hub) fn end_offset(&self) -> u64 {
        self.end_offset
    }

    /// Returns the commit time of the oldest batch that a live session has not read, and the number
    /// of bytes from that batch on.
    pub(in crate::hub) fn oldest(&self) -> Option<(Instant, u64)> {
        let front = self.queue.front()?;
        Some((front.segment.at, self.end_offset - front.offset))
    }

    fn at(&self, next: u64) -> Option<&Queued> {
        self.queue.get(usize::try_from(next.checked_sub(self.front)?).ok()?)
    }

    fn trim(&mut self) {
        while self.queue.front().is_some_and(|queued| queued.unread == 0) {
            self.queue.pop_front();
            self.front += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(bytes: usize) -> Segment {
        let position = Position::of(1, 0);
        Segment {
            bytes: vec![0; bytes].into(),
            events: 1,
            first: position,
            last: position,
            at: Instant::now(),
            ends: Vec::new(),
        }
    }

    fn now() -> Rc<Instant> {
        Rc::new(Instant::now())
    }

    fn interest() -> Arc<Interest> {
        let selector = crate::event::Selector::parse("s").expect("a selector");
        Arc::new(Interest::new(vec![selector], None).expect("ok"))
    }

    #[test]
    fn segments_are_removed_once_all_sessions_have_read_them() {
        let mut queue = SharedQueue::new(interest());
        queue.push(segment(10), &now());
        assert_eq!(queue.queue.len(), 0, "no session is live");
        let start = queue.end();
        let (a, b) = (queue.join(SessionKey::of(1)), queue.join(SessionKey::of(2)));
        assert_eq!((a, b), (0, 1));
        queue.push(segment(10), &now());
        queue.push(segment(20), &now());
        assert_eq!(queue.unread_bytes(start), 30);
        assert_eq!(queue.read(start).map(|s| s.bytes.len()), Some(10));
        assert_eq!(queue.queue.len(), 2, "the other has not read it");
        assert_eq!(queue.leave(b, start), None);
        assert_eq!(queue.queue.len(), 1);
        assert_eq!(queue.read(start + 1).map(|s| s.bytes.len()), Some(20));
        assert_eq!(queue.queue.len(), 0);
        assert!(queue.read(start + 2).is_none());
        assert_eq!(queue.end(), start + 2);
    }

    #[test]
    fn queue_is_over_its_limit_if_the_slowest_session_is() {
        let mut queue = SharedQueue::new(interest());
        queue.join(SessionKey::of(1));
        queue.push(segment(MAX_SESSION_QUEUE_BYTES as usize), &now());
        assert!(!queue.exceeds_limit());
        queue.push(segment(1), &now());
        assert!(queue.exceeds_limit());
    }
}
