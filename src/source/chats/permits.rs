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
        let turns = |of: &Upstream| {
            let most = usize::try_from(of.max_running?).unwrap_or(usize::MAX);
            Some((of.name.clone(), Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)))))
        };
        Self(upstreams.iter().filter_map(turns).collect())
    }

    /// Returns the permits of an upstream; `None` if it has no maximum.
    pub(super) fn of(&self, upstream: &Upstream) -> Option<Arc<Semaphore>> {
        self.0.get(&upstream.name).cloned()
    }
}
