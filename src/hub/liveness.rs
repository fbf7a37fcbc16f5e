//! Liveness of the worker threads: each shard reports once a second.

use super::ids::ShardId;
use dashmap::DashMap;
use std::time::{Duration, Instant};

/// Time without a report after which a worker is unresponsive.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(5);

/// Time of the last report of each shard.
#[derive(Default, Debug)]
pub struct WorkerLiveness(DashMap<ShardId, Instant>);

/// Number of unresponsive workers, and their longest silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unresponsive {
    /// Number of unresponsive workers.
    pub workers: usize,
    /// Number of all workers.
    pub of: usize,
    /// Longest time without a report.
    pub longest: Duration,
}

impl WorkerLiveness {
    pub(super) fn beat(&self, shard: ShardId) {
        self.0.insert(shard, Instant::now());
    }

    pub(super) fn end(&self, shard: ShardId) {
        self.0.remove(&shard);
    }

    /// Returns the workers that have not reported for too long, if there are any.
    pub fn unresponsive(&self) -> Option<Unresponsive> {
        self.unresponsive_at(Instant::now())
    }

    fn unresponsive_at(&self, now: Instant) -> Option<Unresponsive> {
        let ages = self.0.iter().map(|last_report| now.saturating_duration_since(*last_report));
        let silences: Vec<Duration> = ages.filter(|age| *age > UNRESPONSIVE_AFTER).collect();
        let longest = silences.iter().max().copied()?;
        Some(Unresponsive { workers: silences.len(), of: self.0.len(), longest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_without_reports_is_unresponsive_until_it_reports_or_ends() {
        let liveness = WorkerLiveness::default();
        (1..=3).for_each(|shard| liveness.beat(ShardId::of(shard)));
        assert_eq!(liveness.unresponsive(), None);
        let later = Instant::now() + UNRESPONSIVE_AFTER + Duration::from_secs(1);
        liveness.0.insert(ShardId::of(1), later);
        let unresponsive = liveness.unresponsive_at(later).expect("two unresponsive workers");
        assert_eq!((unresponsive.workers, unresponsive.of), (2, 3));
        liveness.0.insert(ShardId::of(2), later);
        liveness.end(ShardId::of(3));
        assert_eq!(liveness.unresponsive_at(later), None);
    }
}
