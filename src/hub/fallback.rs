//! Sessions that are too far behind: they leave their group's queue and go on from history.

use super::session::{CatchUp, Mode, Session, SessionKey};
use super::shard::ShardState;
use super::shared_queue::MAX_SESSION_QUEUE_BYTES;
use super::views::GroupKey;
use crate::event::Position;
use crate::telemetry::BoundHit;
use rustc_hash::FxHashMap;

impl ShardState {
    /// Sends those of a group who are too far behind to history.
    pub(super) fn overflow(&mut self, key: GroupKey) {
        let Some(group) = self.groups.get(&key) else { return };
        let too_far: Vec<SessionKey> = group
            .live()
            .iter()
            .copied()
            .filter(|member| match self.sessions.get(member).map(|s| &s.mode) {
                Some(Mode::Live { next, .. }) => {
                    group.unread_bytes(*next) > MAX_SESSION_QUEUE_BYTES
                }
                _ => false,
            })
            .collect();
        for member in too_far {
            self.settings.telemetry.bound_hit(BoundHit::SessionQueue);
            self.fall_behind(member);
        }
    }

    /// Takes a live session out of its group's queue; it goes on from history.
    pub(super) fn fall_behind(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let Mode::Live { next, place } = session.mode else { return };
        let Some(group) = session.group else { return };
        let Some(group) = self.groups.get_mut(&group) else { return };
        // What it has not read begins with its next segment; with none it has everything.
        let has =
            group.peek(next).map_or(self.dispatched_watermark, |segment| segment.first.before());
        session.cursor = session.cursor.max(has);
        session.mode = Mode::CatchingUp(CatchUp { until: self.dispatched_watermark, job: None });
        let now = self.wheel.now();
        session.wake(now);
        if let Some(moved) = group.leave(place, next) {
            set_queue_slot(&mut self.sessions, moved, place);
        }
        self.settings.telemetry.catching_up(1);
    }

    /// Batches were left out: everybody reads them from history.
    pub(super) fn resync(&mut self, through: Position) {
        let live: Vec<SessionKey> = self
            .sessions
            .iter()
            .filter(|(_, session)| matches!(session.mode, Mode::Live { .. }))
            .map(|(key, _)| *key)
            .collect();
        for key in live {
            self.fall_behind(key);
        }
        self.dispatched_watermark = self.dispatched_watermark.max(through);
        let now = self.wheel.now();
        for session in self.sessions.values_mut() {
            session.wake(now);
        }
    }
}

/// A session of a group's list has another place there.
pub(super) fn set_queue_slot(
    sessions: &mut FxHashMap<SessionKey, Session>,
    moved: SessionKey,
    new_place: usize,
) {
    if let Some(Session { mode: Mode::Live { place, .. }, .. }) = sessions.get_mut(&moved) {
        *place = new_place;
    }
}
