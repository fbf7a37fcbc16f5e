//! The clock of retention: the wall clock, unless it jumps.
//!
//! A wall clock that is set forward by mistake would make retention remove everything that seems
//! old, permanently. So a jump against the monotonic clock is held for a while, long enough for an
//! operator to notice it or to set the clock back.

use super::store::MAX_LEAD_MS;
use crate::event::Timestamp;
use std::time::{Duration, Instant, SystemTime};

/// Difference between the clocks, since their last comparison, that is not a jump: the wall clock
/// is corrected in small steps.
const TOLERANCE_MS: u64 = 5_000;
/// Maximum lead of the wall clock over the last event at a start, when there is no monotonic time
/// to compare with.
const TOLERANCE_AT_START_MS: u64 = 24 * 60 * 60 * 1000;
/// Time for which a forward jump is held; after it the wall clock is trusted.
const MAX_JUMP_HOLD: Duration = Duration::from_secs(10 * 60);

/// A forward jump that is held.
#[derive(Clone, Copy, Debug)]
struct Jump {
    /// Monotonic time at which the jump was found.
    at: Instant,
    /// Retention time at that moment.
    time: Timestamp,
}

/// Returns the time of the wall clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(since.as_millis() as u64)
}

impl Jump {
    /// Returns the retention time at a later moment.
    fn time_at(self, at: Instant) -> Timestamp {
        self.time.plus_ms(at.saturating_duration_since(self.at).as_millis() as u64)
    }
}

/// The clock of retention.
#[derive(Debug)]
pub(super) struct RetentionClock {
    /// The wall clock and the monotonic one when they were last compared.
    last: (Timestamp, Instant),
    jump: Option<Jump>,
    /// Time since which the wall clock has been far behind the time of stored events.
    behind_since: Option<Instant>,
}

impl RetentionClock {
    /// Creates the clock; `newest` is the time of the last stored event.
    pub(super) fn new(wall: Timestamp, at: Instant, newest: Timestamp) -> Self {
        let is_far = newest.ms() > 0 && wall.ms() > newest.ms() + TOLERANCE_AT_START_MS;
        if is_far {
            tracing::warn!(
                ahead_s = (wall.ms() - newest.ms()) / 1000,
                held_s = MAX_JUMP_HOLD.as_secs(),
                "the newest event is old; holding retention by age in case the clock is wrong"
            );
        }
        let jump = is_far.then_some(Jump { at, time: newest });
        Self { last: (wall, at), jump, behind_since: None }
    }

    /// Compares the clocks and returns the retention time.
    pub(super) fn time(&mut self, wall: Timestamp, at: Instant) -> Timestamp {
        let (last, last_at) = std::mem::replace(&mut self.last, (wall, at));
        let expected = last.plus_ms(at.saturating_duration_since(last_at).as_millis() as u64);
        let (ahead_ms, behind_ms) =
            (wall.ms().saturating_sub(expected.ms()), expected.ms().saturating_sub(wall.ms()));
        if behind_ms > TOLERANCE_MS {
            let behind_s = behind_ms / 1000;
            tracing::warn!(behind_s, "the system clock was set back");
        }
        if ahead_ms > TOLERANCE_MS {
            tracing::warn!(
                ahead_s = ahead_ms / 1000,
                held_s = MAX_JUMP_HOLD.as_secs(),
                "the system clock jumped forward; holding retention by age"
            );
            let held_time = self.jump.map(|jump| jump.time_at(at));
            self.jump = Some(Jump { at, time: held_time.unwrap_or(expected) });
        }
        let Some(jump) = self.jump else { return wall };
        let (elapsed, held_time) = (at.saturating_duration_since(jump.at), jump.time_at(at));
        if elapsed >= MAX_JUMP_HOLD || wall.ms() <= held_time.ms() + TOLERANCE_MS {
            tracing::info!("retention by age follows the system clock again");
            self.jump = None;
            return wall;
        }
        held_time
    }

    /// Returns true once the wall clock has been far behind the time of stored events for so long
    /// that it is trusted.
    pub(super) fn is_long_behind(&mut self, stored: Timestamp) -> bool {
        let (wall, at) = self.last;
        if stored.ms() <= wall.ms().saturating_add(MAX_LEAD_MS) {
            self.behind_since = None;
            return false;
        }
        at.saturating_duration_since(*self.behind_since.get_or_insert(at)) >= MAX_JUMP_HOLD
    }

    /// Returns how far the wall clock is ahead of the retention time.
    pub(super) fn ahead(&self) -> Duration {
        let (wall, at) = self.last;
        let held_time = self.jump.map(|jump| jump.time_at(at));
        Duration::from_millis(
            held_time.map_or(0, |held_time| wall.ms().saturating_sub(held_time.ms())),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    /// Both clocks, the wall clock with an error.
    struct Clocks {
        start: Instant,
        elapsed: Duration,
        error_ms: i64,
        clock: RetentionClock,
    }

    impl Clocks {
        fn new(newest: u64) -> Self {
            let start = Instant::now();
            let wall = Timestamp::from_ms(100 * DAY_MS);
            let clock = RetentionClock::new(wall, start, Timestamp::from_ms(newest));
            Self { start, elapsed: Duration::ZERO, error_ms: 0, clock }
        }

        /// Advances both clocks; returns the retention time minus the true time, in milliseconds.
        fn advance(&mut self, pause: Duration) -> i64 {
            self.elapsed += pause;
            let true_ms = 100 * DAY_MS + self.elapsed.as_millis() as u64;
            let wall = Timestamp::from_ms(true_ms.saturating_add_signed(self.error_ms));
            let time = self.clock.time(wall, self.start + self.elapsed);
            time.ms().cast_signed() - true_ms.cast_signed()
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn retention_time_follows_small_corrections_and_steps_back() {
        let mut clocks = Clocks::new(0);
        for _ in 0..100 {
            clocks.error_ms += 900;
            assert_eq!(clocks.advance(SECOND), clocks.error_ms);
        }
        clocks.error_ms = -(DAY_MS as i64);
        assert_eq!(clocks.advance(SECOND), clocks.error_ms);
        assert_eq!(clocks.clock.ahead(), Duration::ZERO);
    }

    #[test]
    fn forward_jump_is_held_until_it_is_set_back_or_trusted() {
        let mut clocks = Clocks::new(0);
        clocks.error_ms = DAY_MS as i64;
        for _ in 0..599 {
            assert_eq!(clocks.advance(SECOND), 0);
            assert_eq!(clocks.clock.ahead(), Duration::from_millis(DAY_MS));
        }
        clocks.error_ms = 0;
        assert_eq!(clocks.advance(SECOND), 0);
        assert_eq!(clocks.clock.ahead(), Duration::ZERO);
        clocks.error_ms = DAY_MS as i64;
        assert_eq!(clocks.advance(SECOND), 0);
        assert_eq!(clocks.advance(MAX_JUMP_HOLD), clocks.error_ms, "the clock is trusted");
        assert_eq!(clocks.advance(SECOND), clocks.error_ms);
    }

    #[test]
    fn jump_during_a_held_jump_is_held_too() {
        let mut clocks = Clocks::new(0);
        clocks.error_ms = 3_600_000;
        assert_eq!(clocks.advance(SECOND), 0);
        clocks.error_ms = 365 * DAY_MS as i64;
        assert_eq!(clocks.advance(MAX_JUMP_HOLD - SECOND), 0);
        assert_eq!(clocks.advance(MAX_JUMP_HOLD - SECOND), 0);
        assert_eq!(clocks.advance(SECOND), clocks.error_ms);
    }

    #[test]
    fn wall_clock_far_behind_stored_time_is_trusted_after_a_while() {
        let mut clocks = Clocks::new(0);
        let stored = Timestamp::from_ms(101 * DAY_MS);
        clocks.advance(SECOND);
        assert!(!clocks.clock.is_long_behind(stored));
        clocks.advance(MAX_JUMP_HOLD - SECOND);
        assert!(!clocks.clock.is_long_behind(stored));
        clocks.advance(SECOND);
        assert!(clocks.clock.is_long_behind(stored));
        assert!(!clocks.clock.is_long_behind(Timestamp::from_ms(100 * DAY_MS)));
        assert!(!clocks.clock.is_long_behind(stored), "the wait starts again");
    }

    #[test]
    fn start_long_after_the_last_event_counts_as_a_jump() {
        let mut clocks = Clocks::new(90 * DAY_MS);
        assert_eq!(clocks.advance(SECOND), -10 * DAY_MS as i64);
        assert_eq!(clocks.advance(MAX_JUMP_HOLD), 0);
        assert_eq!(Clocks::new(100 * DAY_MS - 1).advance(SECOND), 0);
        assert_eq!(Clocks::new(0).advance(SECOND), 0, "no event is stored");
    }
}
