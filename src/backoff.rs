//! Pauses between attempts.

use rand::Rng as _;
use std::time::Duration;

/// Exponential backoff with jitter: each pause is between half and all of a duration that doubles,
/// so that clients that failed together do not retry together.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Creates a backoff whose first pause is at most `first`, and no pause is longer than
    /// `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// Returns the pause before the next attempt.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.longest);
        pause
    }

    /// Resets the next pause to the first one, after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_reset_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(300));
        for most_ms in [100, 200, 300, 300] {
            let pause = backoff.pause();
            assert!(pause <= Duration::from_millis(most_ms), "{pause:?}");
            assert!(pause >= Duration::from_millis(most_ms / 2), "{pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
