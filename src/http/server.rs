//! The server: what the handlers share, and the workers that serve connections.

use crate::access::{Access, Revocations};
use crate::http::connection::{Acceptor, ConnectionLimiter, Transport};
use crate::http::files::{Downloads, Folder};
use crate::http::key_set::RemoteKeySet;
use crate::http::received::BodyBudget;
use crate::http::routes::app;
use crate::http::stats::SelectorUsage;
use crate::http::tls::Tls;
use crate::hub::{ConnectionManager, RetryPacer, ShardHandle, ShardSettings, WorkerLiveness};
use crate::journal::{Backup, Dispatch, Health, History, Publisher, StreamUsage};
use crate::limits::{Limits, MemoryBudget, Rates, Usage};
use crate::source::{Chats, Jobs, Sources};
use crate::telemetry::Telemetry;
use actix::Addr;
use actix_http::HttpService;
use actix_server::GracefulShutdownSignal;
use actix_service::{
    IntoServiceFactory as _, Service, ServiceFactory as _, fn_factory, fn_service, map_config,
};
use actix_web::dev::{AppConfig, ServerHandle};
use actix_web::rt::net::TcpStream;
use actix_web::web::Data;
use arc_swap::{ArcSwap, ArcSwapOption};
use ipnet::IpNet;
use socket2::{Domain, Type};
use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};

/// Connections that wait to be accepted, where the system allows it.
const BACKLOG: i32 = 4096;
/// Idle connections between requests are kept this long; longer than common proxies keep theirs.
pub(crate) const KEEP_ALIVE_S: u64 = 75;
/// Bytes an encoder joins before it writes: what one write of a socket takes at first.
const WRITE_BUFFER_BYTES: usize = 32 * 1024;
/// How long a connection that is being closed may take to do so.
const CLIENT_DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections to the listener of the operators: Prometheus, and whoever looks.
const MAX_ADMIN_CONNECTIONS: usize = 64;
/// How long requests may take to end once all sessions are gone.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

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

/// A server that is listening.
pub struct Server {
    /// Where.
    pub addresses: Vec<SocketAddr>,
    /// Stops it.
    pub handle: ServerHandle,
    /// Resolves once it has stopped.
    pub running: actix_web::dev::Server,
}

/// Binds every address and starts to serve the hub there.
pub fn start(state: Data<AppState>, listen: &[SocketAddr]) -> std::io::Result<Server> {
    let (workers, most) = (state.settings.workers, state.settings.max_connections);
    serve(state, listen, false, (workers, most))
}

/// The same for what is for operators alone, which the connections of everybody else leave alone.
pub fn start_admin(
    state: Data<AppState>,
    listen: &[SocketAddr],
) -> std::io::Result<Option<Server>> {
    if listen.is_empty() {
        Ok(None)
    } else {
        serve(state, listen, true, (1, MAX_ADMIN_CONNECTIONS)).map(Some)
    }
}

fn serve(
    state: Data<AppState>,
    listen: &[SocketAddr],
    is_apart: bool,
    (workers, most): (usize, usize),
) -> std::io::Result<Server> {
    let mut server = actix_server::Server::build()
        .workers(workers)
        .max_concurrent_connections(most)
        .shutdown_timeout(SHUTDOWN_TIMEOUT.as_secs())
        .disable_signals();
    let stopping = server.graceful_shutdown_signal();
    let mut addresses = Vec::new();
    for address in listen {
        let listener = bind(*address).map_err(|e| {
            std::io::Error::new(e.kind(), format!("cannot listen on {address}: {e}"))
        })?;
        addresses.push(listener.local_addr()?);
        let (state, stopping) = (state.clone(), stopping.clone());
        server = server.listen(address.to_string(), listener, move || {
            let (state, stopping) = (state.clone(), stopping.clone());
            fn_factory(move || worker(state.clone(), stopping.clone(), is_apart))
        })?;
    }
    let running = server.run();
    Ok(Server { addresses, handle: running.handle(), running })
}

/// What a worker thread serves one listener's connections with.
async fn worker(
    state: Data<AppState>,
    stopping: GracefulShutdownSignal,
    is_apart: bool,
) -> Result<impl Service<TcpStream, Response = (), Error = (), Future: 'static>, ()> {
    if !is_apart {
        // From the start, so that it shows when the thread does not answer.
        shard(&state);
    }
    let service = || map_config(app(state.clone(), is_apart), |()| AppConfig::default());
    let ends = stopping.clone();
    let h1 = HttpService::build()
        .graceful_shutdown_signal(move || {
            let ends = ends.clone();
            async move { ends.notified().await }
        })
        .keep_alive(Duration::from_secs(KEEP_ALIVE_S))
        .client_disconnect_timeout(CLIENT_DISCONNECT_TIMEOUT)
        .h1_write_buffer_size(WRITE_BUFFER_BYTES)
        // A client that has closed its side is gone; there is nobody to stream to.
        .h1_allow_half_closed(false)
        .on_connect_ext(|wire: &Transport, data| {
            data.insert(wire.clock.clone());
            if let Some(shared) = wire.shared() {
                data.insert(shared);
            }
        })
        .finish(service());
    let h1 = h1.new_service(()).await?;
    let h2 = Rc::new(service().into_factory().new_service(()).await?);
    let connections = Rc::new(Acceptor { state, h1, h2, stopping, is_admin_listener: is_apart });
    Ok(fn_service(move |stream: TcpStream| connections.clone().serve(stream)))
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The shard of this worker thread. It belongs to the thread and not to a call of the factory,
/// which runs once for every worker and address, and again when a worker is restarted.
pub(crate) fn shard(state: &AppState) -> ShardHandle {
    thread_local! {
        static SHARD: RefCell<Option<ShardHandle>> = const { RefCell::new(None) };
    }
    SHARD.with_borrow_mut(|slot| {
        let start = || {
            let settings = ShardSettings {
                history: state.history.clone(),
                telemetry: state.telemetry.clone(),
                retry_pacer: state.retry_pacer.clone(),
                write_timeout: state.settings.write_timeout,
                disk_readers: state.disk_readers.clone(),
                access: state.access.clone(),
                liveness: state.worker_liveness.clone(),
            };
            ShardHandle::start(state.manager.clone(), settings)
        };
        slot.get_or_insert_with(start).clone()
    })
}
