//! State of the log as this hub sees it, for readiness, metrics and refusals.

use super::chain::{ChainLink, Checkpoint, Checkpoints};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Time without an answer of the log after which it counts as unreachable. An election takes less.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(10);

/// State of the log, shared between the thread that reads it and others.
#[derive(Debug)]
pub struct LogStatus {
    state: Mutex<LogState>,
    /// Id of the message that is being appended, until it was read.
    awaited: Mutex<Option<String>>,
    checkpoints: Mutex<Checkpoints>,
    has_read_back: Notify,
}

/// State of the log at one moment.
#[derive(Clone, Debug)]
pub struct LogState {
    /// Last message that this hub has applied.
    pub applied: ChainLink,
    /// Last message of the log.
    pub end: u64,
    /// Server that leads the log.
    pub leader: Option<String>,
    /// Servers that store the log and are not up to date.
    pub stale_servers: Vec<String>,
    /// Last time at which a majority of the servers had a leader.
    pub answered_at: Instant,
    /// True once the log was compared with what this hub has applied, and nothing has interrupted it since.
    pub is_checked: bool,
    /// True if the log has fewer messages than this hub has applied.
    pub is_behind: bool,
    /// Hub that has applied another log than this one, if most hubs have.
    pub differs: Option<String>,
    /// True if these are more than the hubs that have applied the same log as this one, itself included.
    pub is_outvoted: bool,
    /// Time since which nothing is applied because the disk is nearly full, if it is.
    pub paused_since: Option<Instant>,
    /// Reason why the log cannot be read now.
    pub problem: Option<String>,
    /// True once this hub has caught up with the log since its start.
    pub has_caught_up: bool,
    /// Time since which this hub has not caught up with the log, if it has not.
    pub behind_since: Option<Instant>,
    /// Number of times that a message that was applied had the same content in the log.
    pub verified: u64,
    /// Time since which a message is being appended, if one is.
    pub appending_since: Option<Instant>,
    /// Number of appends that were repeated because they were not acknowledged.
    pub repeated_appends: u64,
    /// Number of times that what another hub has applied was compared with what this one has.
    pub compared: u64,
    /// Number of times that reading began again.
    pub restarts: u64,
}

impl LogState {
    /// Returns true if a message may be appended: the log is known to have all that this hub has applied.
    #[must_use]
    pub fn may_append(&self) -> bool {
        self.is_checked && !self.is_behind && self.differs.is_none()
    }

    /// Returns the number of messages that this hub has not applied yet.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.end.saturating_sub(self.applied.sequence)
    }

    /// Records the last message of the log. This hub has caught up if it has applied the one before that.
    pub fn record_end(&mut self, end: u64) {
        let applied = self.applied.sequence;
        if applied >= end || (self.end > 0 && applied >= self.end) {
            (self.has_caught_up, self.behind_since) = (true, None);
        } else {
            self.behind_since.get_or_insert_with(Instant::now);
        }
        self.end = end;
    }

    /// Returns how long this hub has not caught up with the log.
    #[must_use]
    pub fn behind_for(&self) -> Option<Duration> {
        self.behind_since.map(|since| since.elapsed())
    }

    /// Returns how long a message is being appended, if that is too long.
    #[must_use]
    pub fn append_stalled_for(&self) -> Option<Duration> {
        let elapsed = self.appending_since?.elapsed();
        (elapsed >= UNREACHABLE_AFTER).then_some(elapsed)
    }

    /// Returns how long the log has not been reachable, or `None` if it is.
    #[must_use]
    pub fn unreachable_for(&self) -> Option<Duration> {
        let silent = self.answered_at.elapsed();
        (silent >= UNREACHABLE_AFTER).then_some(silent)
    }
}

impl Default for LogStatus {
    fn default() -> Self {
        Self {
            awaited: Mutex::default(),
            checkpoints: Mutex::default(),
            has_read_back: Notify::new(),
            state: Mutex::new(LogState {
                applied: ChainLink::default(),
                end: 0,
                leader: None,
                stale_servers: Vec::new(),
                answered_at: Instant::now(),
                is_checked: false,
                is_behind: false,
                differs: None,
                is_outvoted: false,
                paused_since: None,
                problem: None,
                has_caught_up: false,
                behind_since: Some(Instant::now()),
                verified: 0,
                appending_since: None,
                repeated_appends: 0,
                compared: 0,
                restarts: 0,
            }),
        }
    }
}

impl LogStatus {
    /// Returns the present state.
    #[must_use]
    pub fn state(&self) -> LogState {
        self.lock().clone()
    }

    /// Returns true if the log has answered lately and has all messages that this hub has applied.
    #[must_use]
    pub fn accepts_appends(&self) -> bool {
        let state = self.lock();
        !state.is_behind && state.differs.is_none() && state.unreachable_for().is_none()
    }

    /// Records the last message that this hub has applied.
    pub fn applied(&self, link: ChainLink) {
        let before = std::mem::replace(&mut self.lock().applied, link);
        if before.sequence != link.sequence {
            self.checkpoints().add(link);
        }
    }

    /// Returns the hashes to report to other hubs.
    #[must_use]
    pub fn checkpoints_to_report(&self) -> Vec<Checkpoint> {
        self.checkpoints().to_report()
    }

    /// Returns the last message that another hub and this one have applied, and true if the hashes up to it
    /// are equal.
    #[must_use]
    pub fn compare(&self, reported: &[Checkpoint]) -> Option<(u64, bool)> {
        let compared = self.checkpoints().compare(reported);
        self.update(|state| state.compared += u64::from(compared.is_some()));
        compared
    }

    /// Returns true while nothing is applied because the disk is nearly full.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.lock().paused_since.is_some()
    }

    /// Records whether nothing is applied because the disk is nearly full.
    pub fn set_paused(&self, is_paused: bool) {
        let was_paused = self.is_paused();
        if is_paused && !was_paused {
            tracing::error!("applying no messages of the log: the disk is nearly full");
            self.update(|state| state.paused_since = Some(Instant::now()));
        } else if was_paused && !is_paused {
            tracing::info!("applying messages of the log again");
            self.update(|state| state.paused_since = None);
        }
    }

    /// Sets or removes the reason why the log of this hub is not that of the cluster.
    pub fn set_differs(&self, problem: Option<String>, is_outvoted: bool) {
        self.update(|state| (state.differs, state.is_outvoted) = (problem, is_outvoted));
    }

    fn checkpoints(&self) -> MutexGuard<'_, Checkpoints> {
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the id of the message that is being appended.
    pub fn set_awaited(&self, id: &str) {
        *self.awaited.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.to_owned());
        self.update(|state| state.appending_since = Some(Instant::now()));
    }

    /// Waits until the message that is being appended was read.
    pub async fn until_read_back(&self) {
        while self.awaited.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            self.has_read_back.notified().await;
        }
    }

    /// Records the id of a message that was read.
    pub fn read_back(&self, id: Option<&str>) {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        if id.is_some() && awaited.as_deref() == id {
            *awaited = None;
            self.update(|state| state.appending_since = None);
            self.has_read_back.notify_one();
        }
    }

    /// Changes the state.
    pub fn update(&self, change: impl FnOnce(&mut LogState)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
