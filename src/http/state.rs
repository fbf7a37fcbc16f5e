//! The state that all handlers share.

use crate::access::{Access, Revocations};
use crate::http::error::{Code, Problem};
use crate::http::limits::{BodyBudget, ConnectionLimiter, Downloads, SelectorUsage};
use crate::http::remote_keys::RemoteKeySet;
use crate::http::tls::Tls;
use crate::hub::{ConnectionManager, RetryPacer, ShardHandle, ShardSettings, WorkerLiveness};
use crate::journal::{Backup, Dispatch, Health, History, Publisher, StreamUsage, now};
use crate::limits::{Limits, MemoryBudget, Rates, Usage};
use crate::source::{Chats, Jobs, Sources};
use crate::telemetry::Telemetry;
use actix::dev::ToEnvelope;
use actix::{Addr, Handler, Message};
use arc_swap::{ArcSwap, ArcSwapOption};
use ipnet::IpNet;
use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

/// What the handlers need to know.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The data of one event at most.
    pub max_event_bytes: usize,
    /// The body of one request at most.
    pub max_body_bytes: usize,
    /// The usual sign of life.
    pub heartbeat: Duration,
    /// How long a connection may take nothing.
    pub write_timeout: Duration,
    /// How long stopping may take.
    pub drain: Duration,
    /// Worker threads.
    pub workers: usize,
    /// Connections that one worker holds at most.
    pub max_connections: usize,
    /// Origins whose pages may use the hub.
    pub cors_origins: Vec<String>,
    /// Whether only its own machine reaches it.
    pub is_local: bool,
    /// Whether only that reaches the listener of the operators.
    pub admin_is_local: bool,
    /// Whether HTTP/2 is spoken without TLS, with those who begin so.
    pub h2c: bool,
    /// Proxies that are believed whom they speak for.
    pub trusted_proxies: Vec<IpNet>,
    /// Folders that may be downloaded from.
    pub folders: Vec<Folder>,
    /// Names it goes by, beside those of its own machine.
    pub public_hosts: Vec<String>,
}

/// Permits for the disk.
#[derive(Clone, Copy, Debug)]
pub struct DiskBounds {
    /// Reads of history at once.
    pub disk_readers: usize,
    /// Look-ups beside them.
    pub lookups: usize,
}

/// What the handlers share.
pub struct AppState {
    /// What credentials are held against.
    pub access: Arc<ArcSwap<Access>>,
    /// Where a key set is fetched.
    pub key_set: ArcSwapOption<RemoteKeySet>,
    /// What has been revoked.
    pub revocations: Arc<Revocations>,
    /// What publishes from inside.
    pub sources: Sources,
    /// Chats with models.
    pub chats: Chats,
    /// Commands that are run by name.
    pub jobs: Jobs,
    /// How events get in.
    pub publisher: Publisher,
    /// How they are read.
    pub history: Arc<History>,
    /// Makes backups of the journal; none of one in memory.
    pub backup: Option<Backup>,
    /// True while a backup is being made.
    pub is_backing_up: Arc<AtomicBool>,
    /// How the journal is.
    pub health: Arc<Health>,
    /// How many streams there are.
    pub stream_usage: Arc<StreamUsage>,
    /// How much anybody may take.
    pub limits: Arc<ArcSwap<Limits>>,
    /// How fast anybody may publish.
    pub rates: ArcSwap<Rates>,
    /// The certificate, where connections are by TLS.
    pub tls: Option<Tls>,
    /// Connections by client.
    pub connections: ConnectionLimiter,
    /// Connections that are open, those for operators too.
    pub open_connections: AtomicUsize,
    /// The memory that the process takes.
    pub memory: MemoryBudget,
    /// The selectors of subscriptions.
    pub selectors: SelectorUsage,
    /// How the limits that the manager counts were used when it was last asked.
    pub last_usage: Mutex<Vec<Usage>>,
    /// Who wants what.
    pub manager: Addr<ConnectionManager>,
    /// Whether the worker threads are alive.
    pub worker_liveness: Arc<WorkerLiveness>,
    /// Where figures go.
    pub telemetry: Telemetry,
    /// When clients come back.
    pub retry_pacer: Arc<RetryPacer>,
    /// Reads of history that may wait for the disk at once.
    pub disk_readers: Arc<Semaphore>,
    /// Short look-ups that may wait for the disk at once.
    pub lookups: Arc<Semaphore>,
    /// Downloads at once.
    pub downloads: Downloads,
    /// Committed batches that wait for the manager.
    pub dispatched: mpsc::WeakSender<Dispatch>,
    /// How much may wait for the disk at once.
    pub disk_bounds: DiskBounds,
    /// Bodies that are being received.
    pub body_budget: BodyBudget,
    /// When it was started.
    pub started_at: Instant,
    /// The hub is stopping.
    pub draining: AtomicBool,
    /// When it will have stopped, in milliseconds since 1970; 0 while it is not stopping.
    pub drain_ends_ms: AtomicU64,
    /// What else they need to know.
    pub settings: HttpSettings,
}

/// A folder that may be downloaded from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folder {
    /// What it is called in the path.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// How long the connection manager may take to answer a question; it is not well where it takes
/// longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The connection manager does not answer.
pub(crate) fn manager_unresponsive() -> Problem {
    Problem::new(Code::Unresponsive, "the connection manager does not answer").retry_after(5)
}

impl AppState {
    /// Asks the connection manager, but does not wait for ever.
    pub(crate) async fn ask<M>(&self, question: M) -> Result<M::Result, Problem>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        ConnectionManager: Handler<M>,
        <ConnectionManager as actix::Actor>::Context: ToEnvelope<ConnectionManager, M>,
    {
        let answer = timeout(ANSWER_WITHIN, self.manager.send(question)).await;
        answer.ok().and_then(Result::ok).ok_or_else(manager_unresponsive)
    }

    /// It is stopping, and cuts off whoever is still there once the window is over.
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
