//! Limit of concurrent searches.

use crate::http::error::{Code, Problem};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum number of concurrent searches; each has a thread.
const MAX_SEARCHES: usize = 4;

/// Running searches.
#[derive(Debug)]
pub struct Searches(Arc<Semaphore>);

impl Default for Searches {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_SEARCHES)))
    }
}

impl Searches {
    /// Returns a permit for a search, which ends when it is dropped.
    pub(crate) fn begin(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.0.clone().try_acquire_owned().map_err(|_| {
            let why = format!("{MAX_SEARCHES} searches are running, which is the maximum");
            Problem::new(Code::ResourceExhausted, why).retry_after(2)
        })
    }
}
