//! Delivery metrics of a shard, and the age of the bytes that its sockets have not taken.

use super::members::Members;
use super::session::Session;
use super::shared_queue::SharedQueue;
use crate::hub::ids::SessionKey;
use crate::telemetry::{ShardMetrics, Telemetry};
use rustc_hash::FxHashSet;
use std::time::{Duration, Instant};

/// Metrics of a shard, and the state that they need between two reports.
pub(in crate::hub) struct Delivery {
    pub(in crate::hub) metrics: ShardMetrics,
    /// Sessions whose sockets may not have taken everything.
    unsent: FxHashSet<SessionKey>,
}

impl Delivery {
    pub(in crate::hub) fn new(telemetry: Telemetry) -> Self {
        Self { metrics: ShardMetrics::new(telemetry), unsent: FxHashSet::default() }
    }

    /// Notes a session whose socket may not have taken everything.
    pub(in crate::hub) fn note_unsent(&mut self, key: SessionKey) {
        self.unsent.insert(key);
    }

    /// Reports the metrics, with the bytes that wait in queues or between a queue and its socket,
    /// and the age of the oldest.
    pub(in crate::hub) fn report(&mut self, members: &Members) {
        let (mut queued, mut oldest) = (0, None);
        let mut add = |at: Instant, bytes: u64| {
            queued += bytes;
            oldest = Some(oldest.map_or(at, |oldest: Instant| oldest.min(at)));
        };
        members.queues().filter_map(SharedQueue::oldest).for_each(|(at, bytes)| add(at, bytes));
        self.unsent.retain(|key| {
            let unsent = members.session(*key).and_then(Session::unsent);
            unsent.map(|(at, bytes)| add(at, bytes)).is_some()
        });
        let age = oldest.map_or(Duration::ZERO, |at| at.elapsed());
        self.metrics.flush(queued, (!members.is_empty()).then_some(age));
    }
}
