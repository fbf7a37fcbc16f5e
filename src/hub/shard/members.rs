//! Sessions of a shard and the queues that they share.
//!
//! Promises: a live session has an index in the queue of its group, every other session has none; a
//! queue exists for as long as its group has sessions.

use super::session::{CatchUp, Mode, Session};
use super::shared_queue::{MAX_SESSION_QUEUE_BYTES, SharedQueue};
use super::views::Views;
use crate::event::Position;
use crate::hub::ids::{GroupId, GroupKey, SessionKey, ViewId};
use crate::wire::View;
use rustc_hash::FxHashMap;

/// Sessions, queues and views.
#[derive(Default)]
pub(in crate::hub) struct Members {
    sessions: FxHashMap<SessionKey, Session>,
    queues: FxHashMap<GroupKey, SharedQueue>,
    views: Views,
    last_key: SessionKey,
}

impl Members {
    /// Inserts a session that belongs to no group.
    pub(in crate::hub) fn insert(&mut self, session: Session) -> SessionKey {
        self.last_key = self.last_key.next();
        self.sessions.insert(self.last_key, session);
        self.last_key
    }

    pub(in crate::hub) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    pub(in crate::hub) fn sessions(&self) -> impl Iterator<Item = (&SessionKey, &Session)> {
        self.sessions.iter()
    }

    pub(in crate::hub) fn session(&self, key: SessionKey) -> Option<&Session> {
        self.sessions.get(&key)
    }

    pub(in crate::hub) fn session_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.sessions.get_mut(&key)
    }

    pub(in crate::hub) fn queues(&self) -> impl Iterator<Item = &SharedQueue> {
        self.queues.values()
    }

    pub(in crate::hub) fn queue(&self, group: GroupKey) -> Option<&SharedQueue> {
        self.queues.get(&group)
    }

    pub(in crate::hub) fn queue_mut(&mut self, group: GroupKey) -> Option<&mut SharedQueue> {
        self.queues.get_mut(&group)
    }

    /// Returns a session and the queue of its group.
    pub(in crate::hub) fn with_queue(
        &mut self,
        key: SessionKey,
    ) -> Option<(&mut Session, &mut SharedQueue)> {
        let session = self.sessions.get_mut(&key)?;
        let queue = self.queues.get_mut(&session.group?)?;
        Some((session, queue))
    }

    /// Returns the views of all groups.
    pub(in crate::hub) fn views(&self) -> Vec<(ViewId, View)> {
        self.views.all()
    }

    /// Adds a session to the group of those that share its interest and its view.
    pub(in crate::hub) fn enter_group(&mut self, key: SessionKey, group: GroupId) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let group = (group, self.views.acquire(&session.view));
        session.group = Some(group);
        let new_queue = || SharedQueue::new(session.interest.clone());
        self.queues.entry(group).or_insert_with(new_queue).registered += 1;
    }

    /// Removes one session from a group; returns true if it was the last.
    fn leave_group(&mut self, group: GroupKey) -> bool {
        self.views.release(group.1);
        let Some(queue) = self.queues.get_mut(&group) else { return false };
        queue.registered -= 1;
        let is_last = queue.registered == 0;
        if is_last {
            self.queues.remove(&group);
        }
        is_last
    }

    /// Removes a session; returns it with the mode that it had, and true if its group is gone.
    pub(in crate::hub) fn remove(&mut self, key: SessionKey) -> Option<Removed> {
        let mut session = self.sessions.remove(&key)?;
        let mode = std::mem::replace(&mut session.mode, Mode::Registered);
        if let Mode::Live { next, index } = mode {
            self.leave_queue(session.group, index, next);
        }
        let ended_group = session.group.is_some_and(|group| self.leave_group(group));
        Some(Removed { session, mode, ended_group })
    }

    /// Gives a session that is not live another view; returns true if its former group is gone.
    pub(in crate::hub) fn change_view(&mut self, key: SessionKey, view: View) -> bool {
        let Some(session) = self.sessions.get_mut(&key) else { return false };
        debug_assert!(!matches!(session.mode, Mode::Live { .. }));
        session.view = view;
        let Some(group) = session.group.take() else { return false };
        let ended_group = self.leave_group(group);
        self.enter_group(key, group.0);
        ended_group
    }

    /// Lets a session that has everything dispatched so far read from the queue of its group.
    pub(in crate::hub) fn go_live(&mut self, key: SessionKey) -> bool {
        let Some((session, queue)) = self.with_queue(key) else { return false };
        let next = queue.end();
        session.mode = Mode::Live { next, index: queue.join(key) };
        true
    }

    /// Removes a live session from its queue, so that it reads from history. Returns false if it
    /// was not live. `dispatched` is the position up to which everything is in the queues.
    pub(in crate::hub) fn fall_behind(
        &mut self,
        key: SessionKey,
        dispatched: Position,
        now: u64,
    ) -> bool {
        let Some((session, queue)) = self.with_queue(key) else { return false };
        let Mode::Live { next, index } = session.mode else { return false };
        // Its unread events begin with its next segment; without one it has everything.
        let position = queue.peek(next).map_or(dispatched, |segment| segment.first.before());
        session.cursor = session.cursor.max(position);
        session.mode = Mode::CatchingUp(CatchUp { until: dispatched, job: None });
        session.wake(now);
        let group = session.group;
        self.leave_queue(group, index, next);
        true
    }

    /// Returns the sessions of a group with more than [`MAX_SESSION_QUEUE_BYTES`] unread bytes.
    pub(in crate::hub) fn too_far_behind(&self, group: GroupKey) -> Vec<SessionKey> {
        let Some(queue) = self.queues.get(&group) else { return Vec::new() };
        let is_too_far = |key: &SessionKey| match self.sessions.get(key).map(|s| &s.mode) {
            Some(Mode::Live { next, .. }) => queue.unread_bytes(*next) > MAX_SESSION_QUEUE_BYTES,
            _ => false,
        };
        queue.live().iter().copied().filter(is_too_far).collect()
    }

    /// Wakes the connections of all sessions.
    pub(in crate::hub) fn wake_all(&mut self, now: u64) {
        for session in self.sessions.values_mut() {
            session.wake(now);
        }
    }

    fn leave_queue(&mut self, group: Option<GroupKey>, index: usize, next: u64) {
        let Some(queue) = group.and_then(|group| self.queues.get_mut(&group)) else { return };
        let Some(moved) = queue.leave(index, next) else { return };
        if let Some(Session { mode: Mode::Live { index: moved_index, .. }, .. }) =
            self.sessions.get_mut(&moved)
        {
            *moved_index = index;
        }
    }
}

/// A session that was removed.
pub(in crate::hub) struct Removed {
    pub(in crate::hub) session: Session,
    pub(in crate::hub) mode: Mode,
    /// True if its group has no sessions left.
    pub(in crate::hub) ended_group: bool,
}
