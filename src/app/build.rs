//! Builds the parts of a hub.

use super::{admin_key, cluster};
use crate::access::{Access, Revocations, Tickets};
use crate::config::Config;
use crate::http::{
    AppState, BodyBudget, BoundSockets, ConnectionLimiter, DiskBounds, HttpSettings, SelectorUsage,
    Tls, TlsFiles,
};
use crate::hub::{ConnectionManager, RetryPacer};
use crate::journal::{Dispatch, Durability, Journal, Settings, now};
use crate::limits::{Limits, MemoryBudget, Rates};
use crate::source::Supervisor;
use crate::telemetry::Telemetry;
use actix::{Actor as _, Addr};
use actix_web::web::Data;
use anyhow::Context as _;
use arc_swap::ArcSwap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Instant;
use tokio::sync::{Semaphore, mpsc};

/// Committed batches that may wait for the manager; beyond that the writer waits, which is
/// back-pressure on publishers.
const MAX_WAITING_BATCHES: usize = 64;
/// Maximum number of concurrent reads of history from the disk: enough to keep it busy.
const MAX_DISK_READERS: usize = 32;
/// Maximum number of concurrent lookups, separate from the reads so that neither waits for the
/// other.
const MAX_LOOKUPS: usize = 16;

/// The parts of a hub.
pub(super) struct Built {
    pub(super) state: Data<AppState>,
    pub(super) journal: Journal,
    /// Secret of a new admin key.
    pub(super) new_secret: Option<String>,
}

/// Builds all parts of the hub.
pub(super) async fn build(
    config: &Config,
    tls: Option<Tls>,
    sockets: &[&BoundSockets],
) -> anyhow::Result<Built> {
    let telemetry = Telemetry::new().context("cannot register the metrics")?;
    let (dispatch_sender, batches) = mpsc::channel(MAX_WAITING_BATCHES);
    let dispatched = dispatch_sender.downgrade();
    let limits = Arc::new(ArcSwap::new(config.limits.clone()));
    let settings = journal_settings(config, limits.clone());
    let journal = open_journal(config, settings, &telemetry, dispatch_sender, sockets).await?;
    let manager = manager(config, batches, &journal, telemetry.clone());
    let revocations = Arc::new(revocations(config)?);
    let access =
        config.access.clone().with_tickets(tickets(config, &journal).await?, revocations.clone());
    let (access, new_secret) = with_admin_key(config, access)?;
    let node = cluster::node_name(config);
    let state = Data::new(AppState {
        #[cfg(feature = "chat")]
        chats: chats(config, &journal, limits.clone(), &telemetry)?,
        access: Arc::new(ArcSwap::from_pointee(access)),
        #[cfg(feature = "remote-keys")]
        key_set: arc_swap::ArcSwapOption::empty(),
        revocations,
        node: node.clone(),
        #[cfg(feature = "cluster")]
        peers: journal.peers.clone(),
        sources: Supervisor::new(journal.publisher.clone(), telemetry.clone(), node.clone()),
        #[cfg(feature = "jobs")]
        jobs: crate::source::Jobs::new(
            config.jobs.clone(),
            journal.publisher.clone(),
            node,
            &telemetry,
        ),
        #[cfg(feature = "mercure")]
        subscriptions: subscriptions(config, &journal),
        #[cfg(feature = "durable-streams")]
        lifetimes: crate::source::Lifetimes::new(journal.publisher.clone()),
        publisher: journal.publisher.clone(),
        history: journal.history.clone(),
        backup: journal.backup.clone(),
        #[cfg(feature = "search")]
        searches: crate::http::Searches::default(),
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
        downloads: crate::http::Downloads::default(),
        dispatched,
        disk_bounds: DiskBounds { disk_readers: MAX_DISK_READERS, lookups: MAX_LOOKUPS },
        settings: http_settings(config),
    });
    Ok(Built { state, journal, new_secret })
}

/// Opens the journal. Health checks are answered on `sockets` if that takes long.
#[cfg(feature = "cluster")]
async fn open_journal(
    config: &Config,
    settings: Settings,
    telemetry: &Telemetry,
    dispatch_sender: mpsc::Sender<Dispatch>,
    sockets: &[&BoundSockets],
) -> anyhow::Result<Journal> {
    super::join::open_journal(config, &settings, telemetry, &dispatch_sender, sockets).await
}

/// Opens the journal.
#[cfg(not(feature = "cluster"))]
async fn open_journal(
    _: &Config,
    settings: Settings,
    telemetry: &Telemetry,
    dispatch_sender: mpsc::Sender<Dispatch>,
    _: &[&BoundSockets],
) -> anyhow::Result<Journal> {
    Ok(Journal::open(settings, telemetry.clone(), dispatch_sender)?)
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

#[cfg(feature = "chat")]
fn chats(
    config: &Config,
    journal: &Journal,
    limits: Arc<ArcSwap<Limits>>,
    telemetry: &Telemetry,
) -> anyhow::Result<crate::source::Chats> {
    let chats = crate::source::Chats::new(
        config.chats.clone(),
        journal.publisher.clone(),
        journal.history.clone(),
        cluster::node_name(config),
        limits,
        telemetry,
    );
    chats.map_err(anyhow::Error::msg).context("cannot create HTTP clients")
}

/// Returns the list of the subscriptions of the Mercure protocol, if they are published.
#[cfg(feature = "mercure")]
fn subscriptions(config: &Config, journal: &Journal) -> Option<crate::source::Subscriptions> {
    let settings = config.mercure.as_ref().filter(|settings| settings.subscriptions)?;
    let (publisher, path) = (journal.publisher.clone(), settings.url.path().to_owned());
    Some(crate::source::Subscriptions::new(publisher, cluster::node_name(config), path))
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

/// Opens the certificate, if connections use TLS.
pub(super) fn tls(config: &Config) -> anyhow::Result<Option<Tls>> {
    let Some((certificate, key)) = config.tls.clone() else { return Ok(None) };
    Tls::open(TlsFiles { certificate, key }).context("cannot set up TLS").map(Some)
}

pub(super) fn journal_settings(config: &Config, limits: Arc<ArcSwap<Limits>>) -> Settings {
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
        #[cfg(feature = "mercure")]
        mercure: config.mercure.clone().map(Arc::new),
        #[cfg(feature = "durable-streams")]
        durable: config.durable.clone().map(Arc::new),
        #[cfg(feature = "files")]
        folders: config
            .folders
            .iter()
            .cloned()
            .map(|(name, path)| crate::http::Folder { name, path })
            .collect(),
        is_local: config.listen.iter().all(|address| address.ip().is_loopback()),
        admin_is_local: config.metrics_listen.iter().all(|address| address.ip().is_loopback()),
    }
}
