//! A timer wheel: one timer per shard for the heartbeats of any number of sessions.
//!
//! The wheel follows the monotonic clock: a late tick, as on a busy machine, also handles the seconds
//! that it missed.

use crate::hub::ids::SessionKey;
use std::time::Instant;

/// Seconds the wheel spans: the longest heartbeat is an hour.
const SLOTS: usize = 3601;

/// Sessions by the second at which their timer is due.
pub(in crate::hub) struct TimerWheel {
    slots: Vec<Vec<SessionKey>>,
    now: u64,
    started_at: Instant,
}

impl TimerWheel {
    pub(in crate::hub) fn new() -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Self { slots, now: 0, started_at: Instant::now() }
    }

    /// Returns the seconds since the start by the clock; [`now`](Self::now) follows with the ticks.
    pub(in crate::hub) fn elapsed(&self) -> u64 {
        self.started_at.elapsed().as_secs()
    }

    /// Returns the number of seconds that the wheel has advanced.
    pub(in crate::hub) fn now(&self) -> u64 {
        self.now
    }

    /// Schedules `key` for second `due`, clamped to the seconds that the wheel spans.
    pub(in crate::hub) fn add(&mut self, key: SessionKey, due: u64) {
        let due = due.clamp(self.now + 1, self.now + SLOTS as u64 - 1);
        self.slots[due as usize % SLOTS].push(key);
    }

    /// Advances by one second and returns the sessions that are due.
    pub(in crate::hub) fn advance(&mut self) -> Vec<SessionKey> {
        self.now += 1;
        std::mem::take(&mut self.slots[self.now as usize % SLOTS])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_due_exactly_at_their_second() {
        let mut wheel = TimerWheel::new();
        let [a, b, c] = [1, 2, 3].map(SessionKey::of);
        wheel.add(a, 2);
        wheel.add(b, 0);
        wheel.add(c, 1_000_000);
        let mut fired = Vec::new();
        for _ in 0..SLOTS {
            let due = wheel.advance();
            fired.extend(due.into_iter().map(|key| (wheel.now(), key)));
        }
        assert_eq!(fired, [(1, b), (2, a), (3600, c)]);
    }
}
