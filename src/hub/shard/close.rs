//! Closing sessions: between two events, with a reason and a retry time, or because the client
//! left.

use super::members::Members;
use super::session::Session;
use crate::hub::ids::SessionKey;
use crate::hub::retry_pacer::RetryPacer;
use crate::telemetry::CloseReason;
use crate::wire;
use rand::Rng;
use std::collections::VecDeque;
use std::time::Duration;

/// Interval of the steps in which all sessions are closed.
pub(in crate::hub) const LEAVE_STEP: Duration = Duration::from_millis(20);
/// Maximum time for a closed session to read the reason; then it is aborted.
const GRACE_S: u64 = 10;
/// Share of the window in which sessions are closed, in percent; in the rest, they can read
/// the reason.
const CLOSE_PERCENT: u32 = 80;

/// Share of the write timeout, in percent: if a session was stalled for at least this long when its
/// connection fails, the write timeout is the reason.
const STALLED_PERCENT: u64 = 70;

/// Sessions that will be closed over a window, and closed sessions that have not ended.
#[derive(Default)]
pub(in crate::hub) struct CloseSchedule {
    /// Sessions that are not closed yet, the last one first.
    leaving: Vec<(Duration, SessionKey)>,
    /// Time since the window began.
    elapsed: Duration,
    /// Reason for which they are closed.
    reason: Option<CloseReason>,
    /// Closed sessions, with the second at which each is aborted.
    abort_deadlines: VecDeque<(u64, SessionKey)>,
}

impl CloseSchedule {
    /// Spreads the closing of all sessions over a window.
    pub(in crate::hub) fn start_leaving(
        &mut self,
        members: &Members,
        window: Duration,
        reason: CloseReason,
    ) {
        let close_window = window * CLOSE_PERCENT / 100;
        let mut rng = rand::rng();
        let mut leaving: Vec<_> = members
            .sessions()
            .map(|(key, _)| (close_window.mul_f64(rng.random_range(0.0..=1.0)), *key))
            .collect();
        leaving.sort_unstable_by(|a, b| b.cmp(a));
        (self.leaving, self.elapsed, self.reason) = (leaving, Duration::ZERO, Some(reason));
    }

    /// Advances the window by one step.
    pub(in crate::hub) fn leave_step(&mut self) {
        self.elapsed += LEAVE_STEP;
    }

    /// Returns the next session that must be closed by now, with the reason.
    pub(in crate::hub) fn next_leaving(&mut self) -> Option<(SessionKey, CloseReason)> {
        let reason = self.reason?;
        self.leaving.pop_if(|(at, _)| *at <= self.elapsed).map(|(_, key)| (key, reason))
    }

    /// Returns true if sessions are left to close.
    pub(in crate::hub) fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Closes a session between two events, with a reason and a retry time.
    pub(in crate::hub) fn close(
        &mut self,
        members: &mut Members,
        pacer: &RetryPacer,
        now: u64,
        key: SessionKey,
        reason: CloseReason,
    ) {
        let Some(session) = members.session_mut(key) else { return };
        if session.closing.is_some() {
            return;
        }
        session.closing = Some(reason);
        let retry_ms = pacer.rejected_ms();
        let mut block = Vec::new();
        // Without control events nothing is sent: some clients take a lone `retry` for an empty
        // message.
        if session.view.has_closing() {
            wire::hub_error(&mut block, session.view.format, retry_ms, reason.as_str(), None);
        }
        session.close_block = Some(block.into());
        session.wake(now);
        if reason != CloseReason::Draining {
            // A drain is bounded by its window.
            self.abort_deadlines.push_back((now + GRACE_S, key));
        }
    }

    /// Returns the next closed session that has not ended within the grace period.
    pub(in crate::hub) fn next_overdue(&mut self, now: u64) -> Option<SessionKey> {
        self.abort_deadlines.front().filter(|(at, _)| *at <= now)?;
        self.abort_deadlines.pop_front().map(|(_, key)| key)
    }
}

/// Returns the reason for the end of a session that the hub did not close.
pub(in crate::hub) fn disconnect_reason(
    session: &Session,
    now: u64,
    write_timeout: Duration,
) -> CloseReason {
    let timeout_s = write_timeout.as_secs() * STALLED_PERCENT / 100;
    let stalled_s = session.stalled_since.map_or(0, |since| now.saturating_sub(since));
    if stalled_s > 0 && stalled_s >= timeout_s {
        CloseReason::WriteTimeout
    } else {
        CloseReason::Client
    }
}
