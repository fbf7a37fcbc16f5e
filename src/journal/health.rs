//! Health of the journal, for readiness, metrics and refusals.

use super::kv::ReadErrors;
use super::loss::{Loss, LossRecord};
use crate::telemetry::Telemetry;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Instant;

/// Time after which a running step of the writer is reported as stuck.
pub const STUCK_AFTER_MS: u64 = 5_000;

/// A step of the writer between two waits for work. Each may wait for the disk, and `Dispatch` for
/// the connection manager.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Committing a batch.
    Commit,
    /// Applying limits, checking free space, writing the watermark.
    Housekeeping,
    /// Closing the journal.
    Close,
    /// Sending a batch to the connection manager.
    Dispatch,
}

impl Step {
    const ALL: [Self; 4] = [Self::Commit, Self::Housekeeping, Self::Close, Self::Dispatch];
    /// Bits that encode the step.
    const BITS: u32 = 2;

    fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "a commit",
            Self::Housekeeping => "journal housekeeping",
            Self::Close => "closing the journal",
            Self::Dispatch => "sending a batch to the connection manager",
        }
    }
}

/// A step that has been running for too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StuckStep {
    /// Step that is stuck.
    pub step: Step,
    /// Duration of the step, in milliseconds.
    pub ms: u64,
}

impl std::fmt::Display for StuckStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cause = match self.step {
            Step::Dispatch => "it does not respond",
            Step::Commit | Step::Housekeeping | Step::Close => "the disk does not respond",
        };
        write!(f, "{} has taken {} ms so far: {cause}", self.step.as_str(), self.ms)
    }
}

/// Health of the journal, shared between the writer and other threads.
pub struct Health {
    started: Instant,
    poisoned: OnceLock<String>,
    disk_full: RwLock<Option<String>>,
    /// Current step and the time of its start: milliseconds after `started`, plus one; 0 while none
    /// runs.
    step_began: AtomicU64,
    losses: RwLock<Vec<Loss>>,
    loss_record: Option<LossRecord>,
    read_errors: Arc<ReadErrors>,
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
}

impl Health {
    pub(super) fn new(
        losses: Vec<Loss>,
        loss_record: Option<LossRecord>,
        read_errors: Arc<ReadErrors>,
    ) -> Self {
        Self {
            started: Instant::now(),
            poisoned: OnceLock::new(),
            disk_full: RwLock::new(None),
            step_began: AtomicU64::new(0),
            losses: RwLock::new(losses),
            loss_record,
            read_errors,
            queued: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
        }
    }

    /// Returns why the journal no longer accepts publishes, if it is poisoned.
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.get().map(String::as_str)
    }

    /// Returns why publishes are refused until disk space is free again, if they are.
    pub fn disk_full(&self) -> Option<String> {
        self.disk_full.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the step that is stuck, if any.
    pub fn stuck(&self) -> Option<StuckStep> {
        let encoded = self.step_began.load(Ordering::Relaxed);
        let began_ms = (encoded >> Step::BITS).checked_sub(1)?;
        let step = Step::ALL[encoded as usize % Step::ALL.len()];
        let ms = self.now_ms().saturating_sub(began_ms);
        (ms > STUCK_AFTER_MS).then_some(StuckStep { step, ms })
    }

    /// Returns the losses that were found at this or an earlier start and not acknowledged yet.
    pub fn losses(&self) -> Vec<Loss> {
        self.losses.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes the losses durably, after an operator acknowledged them, and returns them.
    pub fn acknowledge_losses(&self) -> io::Result<Vec<Loss>> {
        let mut losses = self.losses.write().unwrap_or_else(PoisonError::into_inner);
        self.loss_record.as_ref().map_or(Ok(()), LossRecord::clear)?;
        Ok(std::mem::take(&mut *losses))
    }

    /// Returns the first failure to read stored data, if any.
    pub fn read_error(&self) -> Option<String> {
        self.read_errors.first()
    }

    /// Returns the number of publish requests that wait for the writer, and their bytes.
    pub fn queued(&self) -> (usize, usize) {
        (self.queued.load(Ordering::Relaxed), self.queued_bytes.load(Ordering::Relaxed))
    }

    /// Stops all publishes. Only the first failure is kept, because later ones are its
    /// consequences.
    pub(super) fn poison(&self, reason: &str, telemetry: &Telemetry) {
        if self.poisoned.set(reason.to_owned()).is_ok() {
            telemetry.journal_poisoned();
            tracing::error!(
                error = reason,
                "the journal is poisoned; publishes fail until a restart"
            );
        }
    }

    pub(super) fn set_disk_full(&self, reason: Option<String>) {
        *self.disk_full.write().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Records that the writer begins `step`.
    pub(super) fn begin(&self, step: Step) {
        let began_ms = (self.now_ms() + 1) << Step::BITS;
        self.step_began.store(began_ms | step as u64, Ordering::Relaxed);
    }

    /// Records that the writer waits for work.
    pub(super) fn finish(&self) {
        self.step_began.store(0, Ordering::Relaxed);
    }

    /// Reserves space in the queue; returns false if there is none.
    pub(super) fn enqueue(&self, bytes: usize, max_requests: usize, max_bytes: usize) -> bool {
        let requests = self.queued.fetch_add(1, Ordering::Relaxed);
        let before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        // A request that alone exceeds the bound is accepted if no other bytes are queued.
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
    fn slow_steps_are_stuck_until_the_next_step() {
        let mut health = Health::new(Vec::new(), None, Arc::default());
        for step in Step::ALL {
            health.begin(step);
            assert_eq!(health.stuck(), None);
            health.started -= Duration::from_millis(STUCK_AFTER_MS + 1);
            assert_eq!(health.stuck().map(|stuck| stuck.step), Some(step));
        }
        health.begin(Step::Commit);
        assert_eq!(health.stuck(), None, "a new step began");
        health.started -= Duration::from_millis(STUCK_AFTER_MS + 1);
        health.finish();
        assert_eq!(health.stuck(), None, "the writer is idle");
    }

    #[test]
    fn queue_is_bounded_by_requests_and_bytes() {
        let health = Health::new(Vec::new(), None, Arc::default());
        assert!(health.enqueue(60, 3, 100), "the first request fits");
        assert!(!health.enqueue(60, 3, 100), "too many bytes");
        assert!(health.enqueue(10, 3, 100) && health.enqueue(10, 3, 100));
        assert!(!health.enqueue(1, 3, 100), "too many requests");
        for bytes in [60, 10, 10] {
            health.dequeue(bytes);
        }
        assert_eq!(health.queued(), (0, 0));
        assert!(health.enqueue(1000, 3, 100), "an oversized request fits alone");
    }
}
