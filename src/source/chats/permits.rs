//! Permits to send requests to an upstream with a maximum of concurrent ones; further requests wait
//! in order. The limits of running chats bound the number that wait.

use super::spec::Upstream;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permit for one request, until it is dropped.
pub(super) type UpstreamPermit = OwnedSemaphorePermit;

/// Permits of all upstreams that have a maximum.
#[derive(Debug, Default)]
pub(super) struct UpstreamPermits(HashMap<String, Arc<Semaphore>>);

impl UpstreamPermits {
    pub(super) fn new(upstreams: &[Upstream]) -> Self {
        let permits = |upstream: &Upstream| {
            let max = usize::try_from(upstream.max_running?).unwrap_or(usize::MAX);
            let permits = Semaphore::new(max.min(Semaphore::MAX_PERMITS));
            Some((upstream.name.clone(), Arc::new(permits)))
        };
        Self(upstreams.iter().filter_map(permits).collect())
    }

    /// Returns the permits of an upstream; `None` if it has no maximum.
    pub(super) fn of(&self, upstream: &Upstream) -> Option<Arc<Semaphore>> {
        self.0.get(&upstream.name).cloned()
    }
}
