//! Opening a journal: recovery, epochs, and the threads that drive it.

use super::backup::Backup;
use super::clock::RetentionClock;
use super::data_dir::DataDirError;
use super::dispatch::Dispatch;
use super::free_space::FreeSpaceGuard;
use super::health::Health;
use super::history::History;
use super::intake::Intake;
use super::kv::{DamagedStore, Kv};
use super::metrics::JournalMetrics;
use super::now;
use super::order::Order;
use super::proposals::Proposals;
use super::publisher::{MAX_QUEUED_PUBLISHES, Publisher};
use super::recent::Recent;
use super::reclaim::Reclaimer;
use super::recovery::OpenedStore;
use super::sealing::KeyFile;
use super::store::{Floors, RetentionPolicy, Store, StreamUsage};
use super::watermark::Watermark;
use super::writer::Writer;
use crate::cluster::ClusterSettings;
use crate::journal::error::JournalError;
use crate::limits::Limits;
use crate::telemetry::Telemetry;
use arc_swap::ArcSwap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::mpsc::Sender;

/// Durability that a publish waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Acknowledged once synced to disk.
    Sync,
    /// Acknowledged once written to the operating system.
    Os,
    /// Acknowledged immediately; nothing is written to disk.
    Memory,
}

/// Settings of a journal.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Data directory; not used in mode `memory`.
    pub data_dir: PathBuf,
    /// Durability that a publish waits for.
    pub durability: Durability,
    /// Retention rules.
    pub retention: RetentionPolicy,
    /// Limits, of which the journal enforces the number of streams.
    pub limits: Arc<ArcSwap<Limits>>,
    /// Free bytes on the disk below which publishes are refused.
    pub min_free_bytes: u64,
    /// Bytes of recent entries kept in memory.
    pub recent_bytes: usize,
    /// Cluster whose log orders the batches; without it, this hub does.
    pub cluster: Option<ClusterSettings>,
    /// Description of this process, shown to another hub that opens the same directory.
    pub holder: String,
}

impl Settings {
    /// Returns the guard of the free space, and warns if the limits need more than there is.
    fn free_space_guard(&self, kv: &Kv) -> FreeSpaceGuard {
        let guard = FreeSpaceGuard::new(self.data_dir.clone(), self.min_free_bytes);
        guard.warn_if_too_small(self.retention.total_bytes, kv.disk_bytes());
        guard
    }
}

/// Reason why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// The store cannot be read or written.
    #[error("cannot open the journal in {0}: {1}")]
    Store(PathBuf, JournalError),
    /// Files of the store are damaged.
    #[error(
        "cannot open the journal in {folder}: {error}\ndamaged: {}\nrestore a backup, or write what \
         can be read to a file with `fanfare journal salvage --data-dir {folder} --to FILE`",
        .damage.join("\n         ")
    )]
    Damaged {
        /// Data directory.
        folder: PathBuf,
        /// Failure of the store.
        error: JournalError,
        /// Damaged files, with the reason.
        damage: Vec<String>,
    },
    /// The log of the cluster cannot be used.
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    Log(#[from] crate::cluster::LogError),
    /// The data directory has no events, or its records contradict each other.
    #[cfg(feature = "cluster")]
    #[error("the journal in {0} has no events that a log could begin with")]
    Empty(PathBuf),
    /// The log has deleted messages that this hub has not applied.
    #[error("the log begins with message {first}, but this hub has applied {last}")]
    LeftBehind {
        /// Last message that was applied.
        last: u64,
        /// First message of the log.
        first: u64,
    },
    /// The data directory belongs to another cluster, or to a hub that has none.
    #[error(
        "the journal in {0} is not a copy of this cluster's log; keep it, and see \"Recover the log\" in \
         docs/cluster.md"
    )]
    OtherLog(PathBuf),
    /// The data directory belongs to a hub of a cluster, and this hub has none.
    #[error("the journal in {0} belongs to a hub of a cluster; start it with --cluster-nats")]
    OfCluster(PathBuf),
    /// A thread or a file that the journal needs could not be created or opened.
    #[error("cannot open the journal in {0}: {1}")]
    Io(PathBuf, std::io::Error),
}

impl OpenError {
    /// Returns the error of a store in the data directory `folder`, and names its damaged files.
    pub(super) fn of_store(folder: &Path, error: JournalError) -> Self {
        let may_be_damage = matches!(error, JournalError::Store(_) | JournalError::Damaged(_));
        let damage = may_be_damage.then(|| DamagedStore::find(&folder.join("journal")));
        match damage {
            Some(damage) if !damage.is_empty() => {
                Self::Damaged { folder: folder.to_owned(), error, damage }
            }
            _ => Self::Store(folder.to_owned(), error),
        }
    }
}

/// An open journal.
pub struct Journal {
    /// Handle for publishers.
    pub publisher: Publisher,
    /// Handle for readers.
    pub history: Arc<History>,
    /// Health of the journal.
    pub health: Arc<Health>,
    /// Creates backups; `None` in mode `memory`.
    pub backup: Option<Backup>,
    /// Number of streams, by scope.
    pub stream_usage: Arc<StreamUsage>,
    /// The other hubs of the cluster, if this hub belongs to one.
    #[cfg(feature = "cluster")]
    pub peers: Option<crate::cluster::Peers>,
    writer: JoinHandle<()>,
}

impl Journal {
    /// Opens the journal that `settings` describes; from then on, committed batches go to
    /// `dispatch_sender`.
    pub fn open(
        settings: Settings,
        telemetry: Telemetry,
        dispatch_sender: Sender<Dispatch>,
    ) -> Result<Self, OpenError> {
        let path = settings.data_dir.clone();
        let store_failed = |e| OpenError::of_store(&path, e);
        let io_failed = |e| OpenError::Io(path.clone(), e);
        let floors = Arc::new(Floors::default());
        let mut recovered = OpenedStore::open(&settings, floors.clone())?;
        let kv = recovered.kv.clone();
        let free_space = recovered.files.is_some().then(|| settings.free_space_guard(&kv));
        let reserve_bytes = if free_space.is_some() { settings.min_free_bytes } else { 0 };
        telemetry.journal_bounds(settings.retention.total_bytes, reserve_bytes);
        let sealing = std::mem::replace(&mut recovered.sealing, KeyFile::none());
        let (sync, retention, limits) = (recovered.sync, settings.retention, settings.limits);
        let store = Store::open(kv.clone(), sync, retention, limits, floors.clone(), sealing);
        let mut store = store.map_err(store_failed)?;
        let order = Order::join(settings.cluster, &mut recovered, &mut store, &path)?;
        let (epochs, losses) = recovered.epochs(&mut store).map_err(store_failed)?;
        telemetry.journal_lost(!losses.is_empty());
        let totals = *store.totals();
        let history = Arc::new(History {
            kv: kv.clone(),
            streams: store.streams(),
            recent: Recent::new(totals.last, settings.recent_bytes),
            epochs,
            marks: store.watermarks(),
            keys: store.keys(),
            log: order.log_status(),
        });
        let stream_usage = store.stream_usage();
        #[cfg(feature = "cluster")]
        let peers = order.peers();
        let backup = || Backup::new(kv.clone(), settings.data_dir.clone());
        let backup = recovered.files.is_some().then(backup);
        let loss_record = recovered.files.as_ref().map(|files| files.losses.clone());
        let health = Arc::new(Health::new(losses, loss_record, kv.read_errors()));
        let (queue, messages) = std::sync::mpsc::sync_channel(MAX_QUEUED_PUBLISHES);
        let mut writer = Writer {
            intake: Intake::new(messages),
            proposals: Proposals::default(),
            sequencer: order.sequencer(totals.number, &queue),
            store,
            history: history.clone(),
            watermark: Watermark::new(recovered.files.map(|f| (f.folder, f.high_water))),
            free_space: free_space.clone(),
            health: health.clone(),
            reclaim: Reclaimer::start(kv.clone(), totals.bytes, free_space, telemetry.clone())
                .map_err(io_failed)?,
            metrics: JournalMetrics::new(kv.clone(), floors),
            kv,
            telemetry: telemetry.clone(),
            dispatch_sender,
            clock: RetentionClock::new(now(), Instant::now(), totals.time),
        };
        writer.begin().map_err(store_failed)?;
        let thread = std::thread::Builder::new().name("journal".into());
        let writer = thread.spawn(move || writer.run()).map_err(io_failed)?;
        let publisher = Publisher::new(queue, health.clone(), telemetry.clone());
        Ok(Self {
            publisher,
            history,
            health,
            backup,
            stream_usage,
            #[cfg(feature = "cluster")]
            peers,
            writer,
        })
    }

    /// Waits until all queued publishes are durable and the files are closed.
    pub fn close(self) {
        self.publisher.stop_writer();
        if self.writer.join().is_err() {
            tracing::error!("the journal writer panicked");
        }
    }
}
