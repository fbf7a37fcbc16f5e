//! Application: builds all parts of the hub, runs them, and drains them.
//!
//! No other module constructs these parts. They start in the order telemetry, journal, connection
//! manager, HTTP, and stop in reverse order, so that no acknowledged publish is left waiting in
//! between.

mod admin_key;
mod banner;
mod cluster;
mod reload;
mod runs;
mod watch;

use crate::access::{Access, Revocations, Tickets};
use crate::config::Config;
use crate::http::{
    self, AppState, BodyBudget, ConnectionLimiter, DiskBounds, HttpSettings, SHUTDOWN_TIMEOUT,
    SelectorUsage, Tls, TlsFiles,
};
use crate::hub::{ConnectionManager, Drain, RetryPacer};
use crate::journal::{Dispatch, Durability, Journal, Settings, now};
use crate::limits::{Limits, MemoryBudget, Rates};
use crate::source::{self, Supervisor};
use crate::telemetry::{self, Telemetry};
use actix::{Actor, Addr};
use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use anyhow::Context as _;
use arc_swap::ArcSwap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};

/// Committed batches that may wait for the manager; beyond that the writer waits, which is
/// back-pressure on publishers.
const MAX_WAITING_BATCHES: usize = 64;
/// Maximum number of concurrent reads of history from the disk: enough to keep it busy.
const MAX_DISK_READERS: usize = 32;
/// Maximum number of concurrent lookups, separate from the reads so that neither waits for the
/// other.
const MAX_LOOKUPS: usize = 16;
/// Maximum time for the streams of killed jobs and of chats to end.
const RUNS_END_WITHIN: Duration = Duration::from_secs(3);

/// Runs a hub until it gets a signal to stop; on SIGHUP it reloads what `load_config` returns.
pub fn run(load_config: impl Fn() -> anyhow::Result<Config>) -> anyhow::Result<()> {
    let config = load_config()?;
    telemetry::start_logging(&config.log, config.log_format);
    let system = actix::System::new();
    system.block_on(async {
        let result = serve(config, load_config).await;
        // Actors that a failed start has created must not begin while the runtime is dropped.
        tokio::task::yield_now().await;
        result
    })
}

/// Checks what a start reads beside the configuration: the certificate and its key.
pub fn check(config: &Config) -> anyhow::Result<()> {
    tls(config).map(drop)
}

async fn serve(
    config: Config,
    load_config: impl Fn() -> anyhow::Result<Config>,
) -> anyhow::Result<()> {
    // First, because the default action of SIGHUP would end the process.
    let mut hangup = signal(SignalKind::hangup())?;
    // Before the journal is opened, so that a mistake is reported at once and by itself.
    let (tls, sockets) = (tls(&config)?, http::bind(&config.listen)?);
    let admin_sockets = http::bind(&config.metrics_listen)?;
    let Built { state, journal, new_secret } = build(&config, tls).await?;
    if let Err(error) =
        source::end_orphaned_runs(&state.history, &state.publisher, &cluster::node_name(&config))
    {
        tracing::warn!(%error, "failed to end job runs of the last start");
    }
    #[cfg(feature = "chat")]
    if let Err(error) = state.chats.restore() {
        tracing::warn!(%error, "failed to restore chats");
    }
    start_background_tasks(&state, &config).await;
    let server = http::start(state.clone(), sockets)?;
    let admin = http::start_admin(state.clone(), admin_sockets)?;
    let mut stop = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let access = state.access.load_full();
    banner::print(&server, admin.as_ref(), &config, &access, new_secret.as_deref());
    let admin = admin.map(|admin| (actix::spawn(admin.running), admin.handle));
    let (mut running, mut server_result) = (tokio::spawn(server.running), None);
    loop {
        tokio::select! {
            _ = stop.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload::apply(&state, &config, load_config()).await,
            result = &mut running => {
                server_result = Some(result.map_err(anyhow::Error::from).and_then(|result| {
                    result.context("the server failed")
                }));
                break;
            }
        }
    }
    tokio::select! {
        () = drain(&state, &config) => {}
        _ = interrupt.recv() => tracing::warn!("interrupted again; not waiting for subscribers"),
    }
    close(&state, server.handle, admin.map(|(_, admin)| admin), journal).await?;
    server_result.unwrap_or(Ok(()))
}

/// The parts of a hub.
struct Built {
    state: Data<AppState>,
    journal: Journal,
    /// Secret of a new admin key.
    new_secret: Option<String>,
}

/// Builds all parts of the hub.
async fn build(config: &Config, tls: Option<Tls>) -> anyhow::Result<Built> {
    let telemetry = Telemetry::new().context("cannot register the metrics")?;
    let (dispatch_sender, batches) = mpsc::channel(MAX_WAITING_BATCHES);
    let dispatched = dispatch_sender.downgrade();
    let limits = Arc::new(ArcSwap::new(config.limits.clone()));
    let settings = journal_settings(config, limits.clone());
    let journal = Journal::open(settings, telemetry.clone(), dispatch_sender)?;
    let manager = manager(config, batches, &journal, telemetry.clone());
    let revocations = Arc::new(revocations(config)?);
    let access =
        config.access.clone().with_tickets(tickets(config, &journal).await?, revocations.clone());
    let (access, new_secret) = with_admin_key(config, access)?;
    let node = cluster::node_name(config);
    #[cfg(feature = "chat")]
    let chats = source::Chats::new(
        config.chats.clone(),
        journal.publisher.clone(),
        journal.history.clone(),
        node.clone(),
        limits.clone(),
        &telemetry,
    );
    let state = Data::new(AppState {
        #[cfg(feature = "chat")]
        chats: chats.map_err(anyhow::Error::msg).context("cannot create HTTP clients")?,
        access: Arc::new(ArcSwap::from_pointee(access)),
        #[cfg(feature = "remote-keys")]
        key_set: arc_swap::ArcSwapOption::empty(),
        revocations,
        node: node.clone(),
        #[cfg(feature = "cluster")]
        peers: journal.peers.clone(),
        sources: Supervisor::new(journal.publisher.clone(), telemetry.clone(), node.clone()),
        #[cfg(feature = "jobs")]
        jobs: source::Jobs::new(config.jobs.clone(), journal.publisher.clone(), node, &telemetry),
        publisher: journal.publisher.clone(),
        history: journal.history.clone(),
        backup: journal.backup.clone(),
        is_backing_up: Arc::default(),
        #[cfg(feature = "search")]
        searches: http::Searches::default(),
        health: journal.health.clone(),
        stream_usage: journal.stream_usage.clone(),
        rates: ArcSwap::from_pointee(Rates::of(config.limits.clone(), config.max_body_bytes)),
        limits,
        tls,
        connections: ConnectionLimiter::default(),
        open_connections: AtomicUsize::new(0),
        memory: MemoryBudget::of(config.memory_budget),
        selectors: SelectorUsage::default(),
        last_usage: std::sync::Mutex::default(),
        manager,
        worker_liveness: Arc::default(),
        telemetry,
        retry_pacer: Arc::new(RetryPacer::new(config.retry, config.refusal_return_rate)),
        disk_readers: Arc::new(Semaphore::new(MAX_DISK_READERS)),
        lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
        body_budget: BodyBudget::default(),
        started_at: Instant::now(),
        draining: AtomicBool::new(false),
        is_isolated: AtomicBool::new(false),
        drain_ends_ms: AtomicU64::new(0),
        #[cfg(feature = "files")]
        downloads: http::Downloads::default(),
        dispatched,
        disk_bounds: DiskBounds { disk_readers: MAX_DISK_READERS, lookups: MAX_LOOKUPS },
        settings: http_settings(config),
    });
    Ok(Built { state, journal, new_secret })
}

/// Ends runs and requests in flight, then the journal.
async fn close(
    state: &AppState,
    server: ServerHandle,
    admin: Option<ServerHandle>,
    journal: Journal,
) -> anyhow::Result<()> {
    #[cfg(feature = "cluster")]
    cluster::leave_peers(state).await;
    runs::kill_all(state);
    // Their streams get an end, if that can still be published.
    let _ = tokio::time::timeout(RUNS_END_WITHIN, runs::all_ended(state)).await;
    state.publisher.close();
    stop_server(state, &server).await;
    tokio::task::spawn_blocking(move || journal.close()).await?;
    // Last, so that metrics show a stop that hangs.
    if let Some(admin) = admin {
        admin.stop(true).await;
    }
    Ok(())
}

/// Stops the server, and logs how many connections it had to cut off.
async fn stop_server(state: &AppState, server: &ServerHandle) {
    let mut stopped = std::pin::pin!(server.stop(true));
    let connections_cut_off = tokio::select! {
        () = &mut stopped => 0,
        () = tokio::time::sleep(SHUTDOWN_TIMEOUT) => {
            let remaining = state.open_connections.load(Ordering::Relaxed);
            stopped.await;
            remaining
        }
    };
    tracing::info!(connections_cut_off, "stopped the server");
}

/// Closes every session, stops every run, and waits until all have ended or the window is over.
async fn drain(state: &Data<AppState>, config: &Config) {
    tracing::info!(window_s = config.drain.as_secs_f64(), "draining");
    // From here on clients cannot publish, but jobs still can.
    state.begin_drain();
    let (drained, all_drained) = oneshot::channel();
    let window = config.drain;
    if state.manager.send(Drain { window, drained }).await.is_err() {
        tracing::error!("the connection manager has stopped; cannot disconnect subscribers");
    }
    let all_ended = futures_util::future::join(all_drained, runs::stop_all(state, window));
    match tokio::time::timeout(window, all_ended).await {
        Ok(_) => tracing::info!("all subscribers have left"),
        Err(_) => tracing::warn!(
            "some subscribers did not leave within the drain window; closing their connections"
        ),
    }
}

/// Starts the background tasks: periodic checks, and the sources of the hub's own events.
async fn start_background_tasks(state: &Data<AppState>, config: &Config) {
    #[cfg(feature = "remote-keys")]
    reload::fetch_keys(state, &state.access.load_full(), config.jwks_url.as_deref()).await;
    watch::start(state);
    if let Some(timeout) = cluster::isolation_timeout(config) {
        actix::spawn(cluster::watch(state.clone(), timeout));
        #[cfg(feature = "cluster")]
        cluster::join_peers(state);
    }
    #[cfg(feature = "chat")]
    actix::spawn(state.chats.clone().run_janitor());
    #[cfg(feature = "system")]
    if let Some(interval) = config.system {
        let disk = match config.durability {
            Durability::Memory => PathBuf::from("/"),
            Durability::Sync | Durability::Os => config.data_dir.clone(),
        };
        let telemetry = state.telemetry.clone();
        let run = move |feed| source::watch_system(feed, interval, disk.clone(), telemetry.clone());
        actix::spawn(state.sources.clone().supervise("system", run));
    }
    let (history, metrics) = (state.history.clone(), state.telemetry.heartbeats());
    let grace = config.grace;
    let run = move |feed| source::monitor_heartbeats(feed, history.clone(), grace, metrics.clone());
    actix::spawn(state.sources.clone().supervise("heartbeats", run));
    if state.node.name().is_some() {
        let (history, revocations) = (state.history.clone(), state.revocations.clone());
        let run =
            move |feed| source::follow_revocations(feed, history.clone(), revocations.clone());
        actix::spawn(state.sources.clone().supervise("revocations", run));
    }
    #[cfg(feature = "tail")]
    if !config.tails.is_empty() {
        let (history, specs) = (state.history.clone(), config.tails.clone());
        let metrics = state.telemetry.tail();
        let run =
            move |feed| source::follow_files(feed, history.clone(), specs.clone(), metrics.clone());
        actix::spawn(state.sources.clone().supervise("tail", run));
    }
    if config.publish_log
        && let Some(lines) = telemetry::capture_log_lines()
    {
        let lines = Arc::new(Mutex::new(lines));
        let run = move |feed| source::publish_log(feed, lines.clone());
        actix::spawn(state.sources.clone().supervise("log", run));
    }
}

/// Starts the connection manager, which dispatches what follows the current head of the journal.
fn manager(
    config: &Config,
    batches: mpsc::Receiver<Dispatch>,
    journal: &Journal,
    telemetry: Telemetry,
) -> Addr<ConnectionManager> {
    let (head, limits) = (journal.history.head(), config.limits.clone());
    ConnectionManager::new(batches, head, limits, telemetry, &config.metrics_streams).start()
}

/// Adds an admin key where nobody could be an admin otherwise. Returns the secret of a new one.
fn with_admin_key(config: &Config, access: Access) -> anyhow::Result<(Access, Option<String>)> {
    if !config.needs_admin_key {
        return Ok((access, None));
    }
    let made = admin_key::open(beside_journal(config, admin_key::FILE).as_deref())?;
    Ok((access.with_admin_key(made.key), made.secret))
}

/// Opens the key of tickets, stored with the journal so that tickets survive a restart as it does. The hubs of
/// a cluster share one.
async fn tickets(config: &Config, journal: &Journal) -> anyhow::Result<Tickets> {
    let own = Tickets::open(beside_journal(config, "tickets.key").as_deref())
        .context("cannot open tickets.key")?;
    #[cfg(feature = "cluster")]
    if let Some(peers) = &journal.peers {
        let key = peers.shared_key("tickets", own.key()).await?;
        let key = key.as_slice().try_into().context("the key of tickets has a wrong length")?;
        return Ok(Tickets::new(key));
    }
    #[cfg(not(feature = "cluster"))]
    let _ = journal;
    Ok(own)
}

/// Opens the revocations, stored with the journal.
fn revocations(config: &Config) -> anyhow::Result<Revocations> {
    let file = beside_journal(config, "revocations");
    Revocations::open(file.as_deref(), config.access.max_lifetime(), now())
        .context("cannot open the revocations file")
}

/// Returns the path of a file in the data directory; `None` if there is no such directory.
fn beside_journal(config: &Config, name: &str) -> Option<PathBuf> {
    (config.durability != Durability::Memory).then(|| config.data_dir.join(name))
}

fn tls(config: &Config) -> anyhow::Result<Option<Tls>> {
    let Some((certificate, key)) = config.tls.clone() else { return Ok(None) };
    Tls::open(TlsFiles { certificate, key }).context("cannot set up TLS").map(Some)
}

fn journal_settings(config: &Config, limits: Arc<ArcSwap<Limits>>) -> Settings {
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    Settings {
        data_dir: config.data_dir.clone(),
        durability: config.durability,
        retention: config.retention.clone(),
        limits,
        min_free_bytes: config.min_free_bytes,
        recent_bytes: config.recent_bytes,
        #[cfg(feature = "cluster")]
        cluster: config.cluster.clone(),
        #[cfg(not(feature = "cluster"))]
        cluster: None,
        holder: format!(
            "fanfare, process {}, listening on {}",
            std::process::id(),
            listen.join(", ")
        ),
    }
}

fn http_settings(config: &Config) -> HttpSettings {
    HttpSettings {
        max_event_bytes: config.max_event_bytes,
        max_body_bytes: config.max_body_bytes,
        heartbeat: config.heartbeat,
        write_timeout: config.write_timeout,
        drain: config.drain,
        workers: config.workers,
        // The manager limits sessions; this is the last limit before the open file limit.
        max_connections: (config.max_sockets / config.workers).max(1),
        h2c: config.h2c,
        cors_origins: config.cors_origins.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        public_hosts: config.public_hosts.clone(),
        #[cfg(feature = "files")]
        folders: config
            .folders
            .iter()
            .cloned()
            .map(|(name, path)| http::Folder { name, path })
            .collect(),
        is_local: config.listen.iter().all(|address| address.ip().is_loopback()),
        admin_is_local: config.metrics_listen.iter().all(|address| address.ip().is_loopback()),
    }
}
