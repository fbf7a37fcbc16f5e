//! The state that all handlers share.

use crate::access::{Access, Revocations};
use crate::http::error::{Code, Problem};
use crate::http::limits::{BodyBudget, ConnectionLimiter, SelectorUsage};
use crate::http::tls::Tls;
use crate::hub::{ConnectionManager, RetryPacer, ShardHandle, ShardSettings, WorkerLiveness};
use crate::journal::{Backup, Dispatch, Health, History, Publisher, StreamUsage, now};
use crate::limits::{Limits, MemoryBudget, Rates, Usage};
use crate::source::{NodeName, Supervisor};
use crate::telemetry::Telemetry;
use actix::dev::ToEnvelope;
use actix::{Addr, Handler, Message};
use arc_swap::ArcSwap;
use ipnet::IpNet;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

/// Settings of the handlers.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Maximum size of an event's data.
    pub max_event_bytes: usize,
    /// Maximum size of a request body.
    pub max_body_bytes: usize,
    /// Default interval of heartbeats.
    pub heartbeat: Duration,
    /// Maximum time for which a connection may take no bytes.
    pub write_timeout: Duration,
    /// Maximum time of a drain.
    pub drain: Duration,
    /// Number of worker threads.
    pub workers: usize,
    /// Maximum number of connections per worker.
    pub max_connections: usize,
    /// Origins whose pages may use the hub.
    pub cors_origins: Vec<String>,
    /// True if only this machine can reach the hub.
    pub is_local: bool,
    /// True if only this machine can reach the admin listener.
    pub admin_is_local: bool,
    /// True if HTTP/2 is served without TLS to clients with prior knowledge.
    pub h2c: bool,
    /// Proxies whose headers about their clients are trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Folders that may be downloaded from.
    #[cfg(feature = "files")]
    pub folders: Vec<Folder>,
    /// Host names of the hub, in addition to those of its own machine.
    pub public_hosts: Vec<String>,
    /// Settings of the Mercure protocol, if it is on.
    #[cfg(feature = "mercure")]
    pub mercure: Option<Arc<crate::config::MercureSettings>>,
    /// Settings of the Durable Streams protocol, if it is on.
    #[cfg(feature = "durable-streams")]
    pub durable: Option<Arc<crate::config::DurableSettings>>,
}

/// Bounds of concurrent reads that may wait for the disk.
#[derive(Clone, Copy, Debug)]
pub struct DiskBounds {
    /// Maximum number of concurrent reads of history.
    pub disk_readers: usize,
    /// Maximum number of concurrent look-ups, in addition.
    pub lookups: usize,
}

/// The state that the handlers share.
pub struct AppState {
    /// Keys and grants that credentials are checked against.
    pub access: Arc<ArcSwap<Access>>,
    /// The key set that is fetched, if one is configured.
    #[cfg(feature = "remote-keys")]
    pub key_set: arc_swap::ArcSwapOption<crate::http::remote_keys::RemoteKeySet>,
    /// Revoked credentials.
    pub revocations: Arc<Revocations>,
    /// Name of this hub in its cluster.
    pub node: NodeName,
    /// The other hubs of its cluster.
    #[cfg(feature = "cluster")]
    pub peers: Option<crate::cluster::Peers>,
    /// Sources of events inside the hub.
    pub sources: Supervisor,
    /// Chats with models.
    #[cfg(feature = "chat")]
    pub chats: crate::source::Chats,
    /// Commands that are run by name.
    #[cfg(feature = "jobs")]
    pub jobs: crate::source::Jobs,
    /// Active subscriptions of the Mercure protocol, if they are published.
    #[cfg(feature = "mercure")]
    pub subscriptions: Option<crate::source::Subscriptions>,
    /// Lifetimes of streams of the Durable Streams protocol.
    #[cfg(feature = "durable-streams")]
    pub lifetimes: crate::source::Lifetimes,
    /// Publishes to the journal.
    pub publisher: Publisher,
    /// Reads from the journal.
    pub history: Arc<History>,
    /// Makes backups of the journal; `None` for a journal in memory.
    pub backup: Option<Backup>,
    /// Running searches.
    #[cfg(feature = "search")]
    pub searches: crate::http::limits::Searches,
    /// Health of the journal.
    pub health: Arc<Health>,
    /// Number of streams, by scope.
    pub stream_usage: Arc<StreamUsage>,
    /// Configured limits.
    pub limits: Arc<ArcSwap<Limits>>,
    /// Publish rates.
    pub rates: ArcSwap<Rates>,
    /// The certificate, if connections use TLS.
    pub tls: Option<Tls>,
    /// Connections by client.
    pub connections: ConnectionLimiter,
    /// Number of open connections, including those of the admin listener.
    pub open_connections: AtomicUsize,
    /// Memory budget of the process.
    pub memory: MemoryBudget,
    /// Use of the limit of selectors per subscription.
    pub selectors: SelectorUsage,
    /// Last known use of the limits that the connection manager counts.
    pub last_usage: Mutex<Vec<Usage>>,
    /// The connection manager.
    pub manager: Addr<ConnectionManager>,
    /// Liveness of the worker threads.
    pub worker_liveness: Arc<WorkerLiveness>,
    /// Metrics.
    pub telemetry: Telemetry,
    /// Paces the retries of refused clients.
    pub retry_pacer: Arc<RetryPacer>,
    /// Permits for reads of history that may wait for the disk.
    pub disk_readers: Arc<Semaphore>,
    /// Permits for short look-ups that may wait for the disk.
    pub lookups: Arc<Semaphore>,
    /// Permits for concurrent downloads.
    #[cfg(feature = "files")]
    pub downloads: crate::http::limits::Downloads,
    /// Queue of committed batches for the connection manager.
    pub dispatched: mpsc::WeakSender<Dispatch>,
    /// Bounds of concurrent reads.
    pub disk_bounds: DiskBounds,
    /// Bytes of request bodies that are being received.
    pub body_budget: BodyBudget,
    /// Time at which the hub started.
    pub started_at: Instant,
    /// True once the hub is stopping.
    pub draining: AtomicBool,
    /// True while the hub is cut off from the log of its cluster.
    pub is_isolated: AtomicBool,
    /// Time at which the drain ends, in milliseconds since 1970; 0 unless draining.
    pub drain_ends_ms: AtomicU64,
    /// Settings of the handlers.
    pub settings: HttpSettings,
}

/// A folder that may be downloaded from.
#[cfg(feature = "files")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folder {
    /// Name in the path.
    pub name: String,
    /// Path of the folder.
    pub path: std::path::PathBuf,
}

/// Maximum time for an answer of the connection manager; a longer time makes the hub unready.
const MANAGER_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns the problem for a connection manager that does not answer.
pub(crate) fn manager_unresponsive() -> Problem {
    Problem::new(Code::Unresponsive, "the connection manager does not answer").retry_after(5)
}

impl AppState {
    /// Sends a question to the connection manager and waits up to `MANAGER_TIMEOUT` for the answer.
    pub(crate) async fn ask<M>(&self, question: M) -> Result<M::Result, Problem>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        ConnectionManager: Handler<M>,
        <ConnectionManager as actix::Actor>::Context: ToEnvelope<ConnectionManager, M>,
    {
        let answer = timeout(MANAGER_TIMEOUT, self.manager.send(question)).await;
        answer.ok().and_then(Result::ok).ok_or_else(manager_unresponsive)
    }

    /// Starts the drain: sessions that are left at its end are aborted.
    pub fn begin_drain(&self) {
        let ends = now().ms().saturating_add(self.settings.drain.as_millis() as u64);
        self.drain_ends_ms.store(ends, Ordering::Relaxed);
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Returns the shard of this worker thread, which is started with the first call. It belongs to the
    /// thread: a worker's factory runs once for each address, and again when a worker is restarted.
    pub(crate) fn shard(&self) -> ShardHandle {
        thread_local! {
            static SHARD: RefCell<Option<ShardHandle>> = const { RefCell::new(None) };
        }
        SHARD.with_borrow_mut(|slot| {
            let start = || {
                let settings = ShardSettings {
                    history: self.history.clone(),
                    telemetry: self.telemetry.clone(),
                    retry_pacer: self.retry_pacer.clone(),
                    write_timeout: self.settings.write_timeout,
                    disk_readers: self.disk_readers.clone(),
                    access: self.access.clone(),
                    liveness: self.worker_liveness.clone(),
                };
                ShardHandle::start(self.manager.clone(), settings)
            };
            slot.get_or_insert_with(start).clone()
        })
    }
}
