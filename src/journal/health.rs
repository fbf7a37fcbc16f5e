//! How the journal is, for readiness, metrics and refusals.

use crate::event::EventId;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Instant;

/// A commit that takes longer than this is reported as hanging.
pub const COMMIT_HANGS_AFTER_MS: u64 = 5_000;

/// What was found missing when the journal was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// The last event that was committed before.
    pub committed: EventId,
    /// The last one that is still there.
    pub kept: EventId,
    /// The files to look at.
    pub place: String,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the journal is damaged: events after {} are lost, up to {}, which had been committed; \
             see {}",
            self.kept, self.committed, self.place
        )
    }
}

/// Shared between the writer and those who ask.
pub struct Health {
    started: Instant,
    poisoned: OnceLock<String>,
    disk_full: RwLock<Option<String>>,
    /// Milliseconds after `started`, plus one; 0 while no commit runs.
    commit_began: AtomicU64,
    loss: Option<Loss>,
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
}

impl Health {
    pub(super) fn new(loss: Option<Loss>) -> Self {
        Self {
            started: Instant::now(),
            poisoned: OnceLock::new(),
            disk_full: RwLock::new(None),
            commit_began: AtomicU64::new(0),
            loss,
            queued: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
        }
    }

    /// Why no publish is taken any more, if so.
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.get().map(String::as_str)
    }

    /// Why publishes are refused until there is room again, if so.
    pub fn disk_full(&self) -> Option<String> {
        self.disk_full.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For how long the running commit has been running, where that is too long.
    pub fn hanging_ms(&self) -> Option<u64> {
        let began = self.commit_began.load(Ordering::Relaxed).checked_sub(1)?;
        let running = self.now_ms().saturating_sub(began);
        (running > COMMIT_HANGS_AFTER_MS).then_some(running)
    }

    /// What was found missing at the start.
    pub fn loss(&self) -> Option<&Loss> {
        self.loss.as_ref()
    }

    /// Publish requests and their bytes that wait for the writer.
    pub fn queued(&self) -> (usize, usize) {
        (self.queued.load(Ordering::Relaxed), self.queued_bytes.load(Ordering::Relaxed))
    }

    pub(super) fn poison(&self, why: &str) {
        // Only the first failure says what happened; later ones are its echo.
        let _ = self.poisoned.set(why.to_owned());
    }

    pub(super) fn set_disk_full(&self, why: Option<String>) {
        *self.disk_full.write().unwrap_or_else(PoisonError::into_inner) = why;
    }

    pub(super) fn commit_begins(&self) {
        self.commit_began.store(self.now_ms() + 1, Ordering::Relaxed);
    }

    pub(super) fn commit_ended(&self) {
        self.commit_began.store(0, Ordering::Relaxed);
    }

    /// Takes room in the queue; gives back `false` where there is none.
    pub(super) fn enqueue(&self, bytes: usize, max_requests: usize, max_bytes: usize) -> bool {
        let requests = self.queued.fetch_add(1, Ordering::Relaxed);
        let before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        // A request that is larger than the bound on its own is let through when it is alone.
        let fits = requests < max_requests && (before == 0 || before + bytes <= max_bytes);
        if !fits {
            self.dequeue(bytes);
        }
        fits
    }

    pub(super) fn dequeue(&self, bytes: usize) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_commit_that_runs_too_long_hangs_until_it_ends() {
        let mut health = Health::new(None);
        health.commit_begins();
        assert_eq!(health.hanging_ms(), None);
        health.started -= Duration::from_millis(COMMIT_HANGS_AFTER_MS + 1);
        assert!(health.hanging_ms().is_some());
        health.commit_ended();
        assert_eq!(health.hanging_ms(), None);
    }

    #[test]
    fn the_queue_takes_so_many_requests_and_bytes_and_no_more() {
        let health = Health::new(None);
        assert!(health.enqueue(60, 3, 100), "one that fits");
        assert!(!health.enqueue(60, 3, 100), "too many bytes");
        assert!(health.enqueue(10, 3, 100) && health.enqueue(10, 3, 100));
        assert!(!health.enqueue(1, 3, 100), "too many requests");
        for bytes in [60, 10, 10] {
            health.dequeue(bytes);
        }
        assert_eq!(health.queued(), (0, 0));
        assert!(health.enqueue(1000, 3, 100), "a large one alone");
    }
}
