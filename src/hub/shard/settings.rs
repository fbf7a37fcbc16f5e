//! Settings and services that all shards share.

use crate::access::Access;
use crate::hub::liveness::WorkerLiveness;
use crate::hub::retry_pacer::RetryPacer;
use crate::journal::History;
use crate::telemetry::Telemetry;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Settings that all shards share.
#[derive(Clone)]
pub struct ShardSettings {
    /// Read access to the journal.
    pub history: Arc<History>,
    /// Metrics.
    pub telemetry: Telemetry,
    /// Paces the retries of clients.
    pub retry_pacer: Arc<RetryPacer>,
    /// Time after which the socket closes a connection that takes no bytes.
    pub write_timeout: Duration,
    /// Permits for concurrent reads of history from disk.
    pub disk_readers: Arc<Semaphore>,
    /// Keys and grants that credentials are checked against.
    pub access: Arc<ArcSwap<Access>>,
    /// Liveness of the worker threads.
    pub liveness: Arc<WorkerLiveness>,
}
