//! Closing sessions: between two events, with a reason and a retry time, or because the client
//! left.

use super::session::{Session, SessionKey};
use super::shard::ShardState;
use crate::telemetry::Closed;
use crate::wire;
use rand::Rng;
use std::time::Duration;

/// Interval of the steps in which a drain closes sessions.
pub(super) const DRAIN_STEP: Duration = Duration::from_millis(20);
/// Maximum time for a closed session to read the reason; then it is aborted.
const GRACE_S: u64 = 10;
/// The share of the drain window in which sessions are told, in percent; the rest is theirs to
/// read it.
const DRAIN_CLOSE_PERCENT: u32 = 80;

/// A session that has been stuck for this share of the write timeout when its connection fails
/// was closed for it, in percent.
const STALLED_PERCENT: u64 = 70;

impl ShardState {
    pub(super) fn drain(&mut self, window: Duration) {
        let told_within = window * DRAIN_CLOSE_PERCENT / 100;
        let mut rng = rand::rng();
        let mut leaving: Vec<_> = self
            .sessions
            .keys()
            .map(|key| (told_within.mul_f64(rng.random_range(0.0..=1.0)), *key))
            .collect();
        leaving.sort_unstable_by(|a, b| b.cmp(a));
        self.leaving = leaving;
    }

    pub(super) fn drain_step(&mut self) {
        self.drained_for += DRAIN_STEP;
        while self.leaving.last().is_some_and(|(at, _)| *at <= self.drained_for) {
            let Some((_, key)) = self.leaving.pop() else { break };
            self.begin_close(key, Closed::Draining);
        }
    }

    /// Ends a session between two events, telling it why and when to come back.
    pub(super) fn begin_close(&mut self, key: SessionKey, reason: Closed) {
        let retry_ms = self.settings.retry_pacer.rejected_ms();
        let now = self.wheel.now();
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if session.closing.is_some() {
            return;
        }
        session.closing = Some(reason);
        let mut block = Vec::new();
        // Without control events nothing is said: a lone `retry` would be an empty message to some.
        if session.view.has_control() {
            wire::hub_error(&mut block, session.view.format, retry_ms, reason.as_str(), None);
        }
        session.close_block = Some(block.into());
        session.wake(now);
        if reason != Closed::Draining {
            // What a drain may take is known, and ends with its window.
            self.cut_off.push_back((now + GRACE_S, key));
        }
    }

    /// Ends those who were sent away and do not go, as one whose socket takes nothing.
    pub(super) fn abort_overdue(&mut self) {
        let now = self.wheel.now();
        while self.cut_off.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.cut_off.pop_front() else { break };
            let Some(session) = self.sessions.get(&key) else { continue };
            if let Some(outlet) = &session.outlet {
                outlet.abort();
            }
            // Its seat is free, whatever becomes of its connection.
            self.leave(key);
        }
    }

    /// Says that a session has ended, and why.
    pub(super) fn log_closed(&self, session: &Session, reason: Closed) {
        if self.settings.telemetry.may_log(reason.as_str()) {
            tracing::info!(
                session = %session.id,
                reason = reason.as_str(),
                position = %self.settings.history.id(session.cursor),
                "session closed"
            );
        }
    }

    /// Returns the reason for which a session ended that the hub did not close.
    pub(super) fn disconnect_reason(&self, session: &Session) -> Closed {
        let timeout = self.settings.write_timeout.as_secs() * STALLED_PERCENT / 100;
        let stalled = session.stalled_since.map_or(0, |since| self.wheel.now() - since);
        if stalled > 0 && stalled >= timeout { Closed::WriteTimeout } else { Closed::Client }
    }
}
