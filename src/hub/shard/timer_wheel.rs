//! A timer wheel: one timer a shard, however many sessions wait for a heartbeat.
//!
//! The wheel follows the monotonic clock: a late tick, as on a busy machine, also handles the seconds
//! that it missed.

use crate::hub::ids::SessionKey;
use std::time::Instant;

/// Seconds the wheel spans: the longest heartbeat is an hour.
const SLOTS: usize = 3601;

/// Sessions by the second at which something is due for them.
pub(in crate::hub) struct TimerWheel {
    slots: Vec<Vec<SessionKey>>,
    now: u64,
    began: Instant,
}

impl TimerWheel {
    pub(in crate::hub) fn new() -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Self { slots, now: 0, began: Instant::now() }
    }

    /// Returns the seconds since the start by the clock; [`now`](Self::now) follows with the ticks.
    pub(in crate::hub) fn elapsed(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    /// Returns the seconds turned so far.
    pub(in crate::hub) fn now(&self) -> u64 {
        self.now
    }

    /// Notes `key` for second `due`; one that is past or too far off becomes the nearest there is.
    pub(in crate::hub) fn add(&mut self, key: SessionKey, due: u64) {
        let due = due.clamp(self.now + 1, self.now + SLOTS as u64 - 1);
        self.slots[due as usize % SLOTS].push(key);
    }

    /// Turns one second on and gives out what is due.
    pub(in crate::hub) fn advance(&mut self) -> Vec<SessionKey> {
        self.now += 1;
        std::mem::take(&mut self.slots[self.now as usize % SLOTS])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_at_its_second_and_no_other() {
        let mut wheel = TimerWheel::new();
        wheel.add(1, 2);
        wheel.add(2, 0);
        wheel.add(3, 1_000_000);
        let mut came = Vec::new();
        for _ in 0..SLOTS {
            let due = wheel.advance();
            came.extend(due.into_iter().map(|key| (wheel.now(), key)));
        }
        assert_eq!(came, [(1, 2), (2, 1), (3600, 3)]);
    }
}
