//! Opening a journal: what survived, what it means for ids, and the threads that drive it.

use super::figures::Figures;
use super::folder::{Folder, FolderError};
use super::health::{Health, Loss};
use super::high_water::{HighWater, Mark};
use super::history::History;
use super::kv::{DiskKv, Kv, KvError, MemoryKv, Sync, wal};
use super::order::LocalOrder;
use super::publisher::{MAX_QUEUED_PUBLISHES, Publisher};
use super::recent::Recent;
use super::reclaim::Reclaimer;
use super::room::Room;
use super::store::{Epochs, Floors, Retention, Store, StreamUsage};
use super::writer::{Dispatch, Writer};
use crate::limits::Limits;
use crate::telemetry::Telemetry;
use arc_swap::ArcSwap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// When a publish counts as done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Once it is on the medium.
    Sync,
    /// Once the operating system has it.
    Os,
    /// At once; nothing is written anywhere.
    Memory,
}

/// What a journal is told to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it lives; not touched in memory.
    pub data_dir: PathBuf,
    /// When a publish counts as done.
    pub durability: Durability,
    /// What is kept.
    pub retention: Retention,
    /// How many streams there may be.
    pub limits: Arc<ArcSwap<Limits>>,
    /// Free bytes on the disk below which publishes are refused.
    pub min_free_bytes: u64,
    /// Bytes of recent entries kept in memory.
    pub recent_bytes: usize,
    /// How long the bytes of a hidden stream may stay in the files after it was deleted.
    pub purge_within: Duration,
    /// What another hub on the same directory is told of this one.
    pub holder: String,
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is not to be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its bytes cannot be read or written.
    #[error("the journal in {0} cannot be opened: {1}")]
    Store(PathBuf, KvError),
    /// A thread or file that it needs is not to be had.
    #[error("the journal in {0} cannot be opened: {1}")]
    Io(PathBuf, std::io::Error),
}

/// An open journal.
pub struct Journal {
    /// The publishers' side.
    pub publisher: Publisher,
    /// The readers' side.
    pub history: Arc<History>,
    /// How it is.
    pub health: Arc<Health>,
    /// How many streams there are.
    pub stream_usage: Arc<StreamUsage>,
    writer: JoinHandle<()>,
}

impl Journal {
    /// Opens what `settings` name; committed batches go to `out` from then on.
    pub fn open(
        settings: Settings,
        telemetry: Telemetry,
        out: Sender<Dispatch>,
    ) -> Result<Self, OpenError> {
        let path = settings.data_dir.clone();
        let store_failed = |e| OpenError::Store(path.clone(), e);
        let io_failed = |e| OpenError::Io(path.clone(), e);
        let floors = Arc::new(Floors::default());
        let ground = Ground::lay(&settings, floors.clone())?;
        let reserve = match settings.durability {
            Durability::Memory => 0,
            Durability::Sync | Durability::Os => settings.min_free_bytes,
        };
        telemetry.journal_bounds(settings.retention.total_bytes, reserve);
        let kept = (settings.retention, settings.limits);
        let mut store = Store::open(ground.kv.clone(), ground.sync, kept, floors.clone())
            .map_err(store_failed)?;
        let (epochs, loss) = ground.epochs(&mut store).map_err(store_failed)?;
        if let Some(loss) = &loss {
            telemetry.journal_lost();
            tracing::error!(
                "{loss}; a new epoch begins, and clients that saw the lost events are told"
            );
        }
        if loss.is_none() {
            ground.clear_away();
        }
        let totals = *store.totals();
        let history = Arc::new(History {
            kv: ground.kv.clone(),
            streams: store.streams(),
            recent: Recent::new(totals.last, settings.recent_bytes),
            epochs,
            marks: store.marks(),
        });
        let stream_usage = store.stream_usage();
        let health = Arc::new(Health::new(loss));
        let (queue, waiting) = std::sync::mpsc::sync_channel(MAX_QUEUED_PUBLISHES);
        let room =
            ground.folder.is_some().then(|| Room::new(path.clone(), settings.min_free_bytes));
        let mut writer = Writer {
            queue: waiting,
            order: Box::new(LocalOrder::after(totals.number)),
            store,
            history: history.clone(),
            high_water: ground.high_water,
            room,
            health: health.clone(),
            reclaim: Reclaimer::start(
                ground.kv.clone(),
                (totals.bytes, settings.purge_within),
                telemetry.clone(),
            )
            .map_err(io_failed)?,
            figures: Figures::new(ground.kv, floors),
            proved: std::time::Instant::now(),
            telemetry: telemetry.clone(),
            out,
            _folder: ground.folder,
        };
        writer.begin().map_err(store_failed)?;
        let writer = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run())
            .map_err(io_failed)?;
        let publisher = Publisher::new(queue, health.clone(), telemetry.clone());
        Ok(Self { publisher, history, health, stream_usage, writer })
    }

    /// Waits until everything handed in is durable and the files are closed.
    pub fn close(self) {
        self.publisher.stop_writer();
        if self.writer.join().is_err() {
            tracing::error!("the journal's writer panicked");
        }
    }
}

/// The bytes and what stands beside them.
struct Ground {
    kv: Kv,
    sync: Sync,
    high_water: Option<HighWater>,
    mark: Option<Mark>,
    folder: Option<Folder>,
    /// What was cut off because it made no sense.
    aside: Option<Aside>,
    /// Where the store is.
    path: PathBuf,
}

/// The end of the write-ahead files that made no sense.
struct Aside {
    damage: wal::Damage,
    folder: PathBuf,
}

impl Ground {
    fn lay(settings: &Settings, floors: Arc<Floors>) -> Result<Self, OpenError> {
        let path = settings.data_dir.clone();
        let sync = match settings.durability {
            Durability::Sync => Sync::Disk,
            Durability::Os => Sync::Process,
            Durability::Memory => {
                let kv = Kv::Memory(Arc::new(MemoryKv::new(floors)));
                let sync = Sync::Process;
                let (high_water, mark, folder, aside) = (None, None, None, None);
                return Ok(Self { kv, sync, high_water, mark, folder, aside, path });
            }
        };
        let folder = Folder::open(&path, &settings.holder)?;
        let (high_water, mark) =
            HighWater::open(&folder.join("HEAD")).map_err(|e| OpenError::Io(path.clone(), e))?;
        let store = folder.join("journal");
        let aside =
            put_damage_aside(&folder, &store).map_err(|e| OpenError::Io(path.clone(), e))?;
        let kv = DiskKv::open(&store, floors).map_err(|e| OpenError::Store(path.clone(), e))?;
        let (high_water, folder, kv) = (Some(high_water), Some(folder), Kv::Disk(kv));
        Ok(Self { kv, sync, high_water, mark, folder, aside, path: store })
    }

    /// The epochs, with a new one where positions could otherwise be given out twice; and what
    /// is missing of what had been committed.
    fn epochs(&self, store: &mut Store) -> Result<(Epochs, Option<Loss>), KvError> {
        let kept = store.totals().last;
        let lost = self.mark.filter(|mark| mark.position > kept);
        let Some(mut epochs) = Epochs::load(&self.kv)? else {
            let epochs = Epochs::first(self.mark.map(|mark| mark.epoch));
            let lost = self.mark.map(|mark| (mark, epochs.id(kept)));
            store.write_epochs(&epochs)?;
            return Ok((epochs, lost.map(|(mark, kept)| self.loss(mark, kept))));
        };
        let loss = lost.map(|mark| self.loss(mark, epochs.id(kept)));
        if loss.is_some() || self.mark.is_some_and(|mark| !mark.settled) {
            let seen = self.mark.map_or(epochs.current(), |mark| mark.epoch);
            epochs.begin(kept, seen);
            store.write_epochs(&epochs)?;
        }
        Ok((epochs, loss))
    }

    fn loss(&self, mark: Mark, kept: crate::event::EventId) -> Loss {
        let committed = crate::event::EventId { epoch: mark.epoch, position: mark.position };
        let place = match &self.aside {
            None => self.path.display().to_string(),
            Some(aside) => {
                format!("{} (a copy of the rest is in {})", aside.damage, aside.folder.display())
            }
        };
        Loss { committed, kept, place }
    }

    /// A write that a crash cut short looks like damage; where nothing that was committed is
    /// missing, what was put aside is worth nothing.
    fn clear_away(&self) {
        let Some(aside) = &self.aside else { return };
        tracing::info!(
            "{}: a write was cut short; nothing that was committed is missing",
            aside.damage
        );
        if let Err(error) = std::fs::remove_dir_all(&aside.folder) {
            tracing::warn!("{} cannot be removed: {error}", aside.folder.display());
        }
    }
}

/// Cuts the write-ahead files where they stop to make sense.
fn put_damage_aside(folder: &Folder, store: &Path) -> std::io::Result<Option<Aside>> {
    let Some(damage) = wal::inspect(store)? else { return Ok(None) };
    let folder = folder.join(&format!("damaged-{}", super::writer::now().ms()));
    damage.put_aside(&folder)?;
    Ok(Some(Aside { damage, folder }))
}
