//! Preparation of a journal before it opens: its files are created, checked and repaired.
//!
//! Every step can be interrupted by a kill or a power loss, and is repeated at the next start. A
//! new journal is created beside its final path and renamed. Before anything is cut, damage is
//! copied under a name that depends only on the damage, and recorded.

use super::backup;
use super::clean_stop;
use super::data_dir::DataDir;
use super::high_water::{HighWater, Mark};
use super::kv::{DiskKv, Expiry, Kv, MemoryKv, Sync, wal};
use super::loss::{Loss, LossRecord};
use super::open::{Durability, OpenError, Settings};
use super::sealing::KeyFile;
use super::store::{Epochs, Floors, Store};
use crate::disk::sync_tree;
#[cfg(feature = "cluster")]
use crate::event::Epoch;
use crate::event::EventId;
use crate::journal::error::{Damaged, JournalError};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// fjall's version file, and its length in bytes when complete.
const VERSION_FILE: &str = "version";
const VERSION_BYTES: u64 = 4;

/// The files of a journal, ready for use.
pub(super) struct OpenedStore {
    pub(super) kv: Kv,
    pub(super) sync: Sync,
    pub(super) sealing: KeyFile,
    /// Files beside the store; `None` in mode `memory`.
    pub(super) files: Option<RecoveryFiles>,
}

/// The files of the data directory beside the store.
pub(super) struct RecoveryFiles {
    pub(super) folder: DataDir,
    pub(super) high_water: HighWater,
    pub(super) losses: LossRecord,
    mark: Option<Mark>,
    /// True if the last stop was clean, in this directory, and no damage was found.
    continues: bool,
}

impl OpenedStore {
    /// Creates or repairs the journal that `settings` describes.
    pub(super) fn open(settings: &Settings, floors: Arc<Floors>) -> Result<Self, OpenError> {
        let sync = match settings.durability {
            Durability::Sync => Sync::Disk,
            Durability::Os => Sync::Process,
            Durability::Memory => {
                let kv = Kv::Memory(Arc::new(MemoryKv::new(floors)));
                return Ok(Self { kv, sync: Sync::Process, sealing: KeyFile::none(), files: None });
            }
        };
        let folder = DataDir::open(&settings.data_dir, &settings.holder)?;
        let failed = |e| OpenError::Io(settings.data_dir.clone(), e);
        let (high_water, mark) = HighWater::open(&folder.join("HEAD")).map_err(failed)?;
        let store = folder.join("journal");
        backup::finish_replacement(&folder).map_err(failed)?;
        create(&folder, &store, mark.is_none(), floors.clone())
            .map_err(|e| e.into_open_error(&settings.data_dir))?;
        let is_clean = clean_stop::is_recorded(&folder);
        let losses = LossRecord::in_dir(&folder);
        let continues = repair(&folder, &store, mark, is_clean, &losses).map_err(failed)?;
        // From here on, a stop is unclean unless it is recorded as clean.
        clean_stop::remove(&folder).map_err(failed)?;
        let sealing = KeyFile::open(&folder.join("stream-keys")).map_err(failed)?;
        folder.sync().map_err(failed)?;
        let result = DiskKv::open(&store, floors);
        let kv = result.map_err(|e| OpenError::of_store(&settings.data_dir, e))?;
        let damaged_keys = sealing.damaged();
        if damaged_keys > 0 {
            let path = folder.join("stream-keys");
            let damaged = Damaged::StreamKeys { count: damaged_keys, path };
            kv.read_errors().record(&JournalError::Damaged(damaged));
        }
        let files = Some(RecoveryFiles { folder, high_water, losses, mark, continues });
        Ok(Self { kv: Kv::Disk(kv), sync, sealing, files })
    }

    /// Returns true if the store is a copy of the log with this epoch, or empty.
    #[cfg(feature = "cluster")]
    pub(super) fn belongs_to(&self, epoch: Epoch) -> Result<bool, JournalError> {
        Ok(Epochs::load(&self.kv)?.is_none_or(|epochs| epochs.current() == epoch))
    }

    /// Prepares the store of a member of a cluster, whose ids belong to the epoch of the log. What an unclean
    /// stop has lost is read from the log again, so that it begins no epoch.
    #[cfg(feature = "cluster")]
    pub(super) fn join(&mut self, store: &mut Store, epoch: Epoch) -> Result<(), JournalError> {
        if Epochs::load(&self.kv)?.is_none() {
            store.write_epochs(&Epochs::only(epoch))?;
        }
        if let Some(files) = &mut self.files {
            files.continues = true;
            files.mark = None;
        }
        Ok(())
    }

    /// Returns the epochs and the losses. Begins a new epoch if positions could otherwise be
    /// assigned twice, and records which committed events are missing.
    pub(super) fn epochs(&self, store: &mut Store) -> Result<(Epochs, Vec<Loss>), JournalError> {
        let loaded = Epochs::load(&self.kv)?;
        let Some(files) = &self.files else {
            let epochs = loaded.unwrap_or_else(|| Epochs::first(None));
            store.write_epochs(&epochs)?;
            return Ok((epochs, Vec::new()));
        };
        let last = store.totals().last;
        let mark = files.mark;
        let is_new = loaded.is_none();
        let mut epochs = loaded.unwrap_or_else(|| Epochs::first(mark.map(|mark| mark.epoch)));
        let last_id = epochs.id(last);
        let missing = mark.filter(|mark| mark.position > last || is_new);
        if is_new {
            store.write_epochs(&epochs)?;
        } else if !files.continues || missing.is_some() {
            epochs.begin(last, mark.map_or(epochs.current(), |mark| mark.epoch));
            store.write_epochs(&epochs)?;
        }
        let committed = missing.map(|mark| EventId { epoch: mark.epoch, position: mark.position });
        let losses = files.measure(last_id, committed);
        Ok((epochs, losses.map_err(JournalError::writing("LOSS"))?))
    }
}

impl RecoveryFiles {
    /// Returns the last mark, if there is one.
    #[cfg(feature = "cluster")]
    pub(super) fn last_mark(&self) -> Option<Mark> {
        self.mark
    }

    /// Returns true if the last stop was clean, and nothing was repaired.
    #[cfg(feature = "cluster")]
    pub(super) fn is_clean(&self) -> bool {
        self.continues
    }

    /// Records the loss that this start found; returns all losses on record.
    fn measure(&self, kept: EventId, committed: Option<EventId>) -> io::Result<Vec<Loss>> {
        let unmeasured = self.losses.load()?.into_iter().find(Loss::is_unmeasured);
        if unmeasured.is_some() || committed.is_some() {
            let place = self.folder.join("journal").display().to_string();
            let loss = unmeasured.unwrap_or_else(|| Loss::found_at(place)).between(kept, committed);
            tracing::error!(
                %loss,
                "committed events are lost; a new epoch begins; see FanfareJournalLoss in \
                 docs/operations.md"
            );
            self.losses.add(loss)?;
        }
        self.losses.load()
    }
}

/// Reason why a new journal could not be created.
enum CreateError {
    Io(io::Error),
    Store(JournalError),
}

impl From<io::Error> for CreateError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl CreateError {
    fn into_open_error(self, path: &Path) -> OpenError {
        match self {
            Self::Io(error) => OpenError::Io(path.to_owned(), error),
            Self::Store(error) => OpenError::of_store(path, error),
        }
    }
}

/// Creates the store if it does not exist, completely and synced or not at all. `is_unused` means
/// that nothing was ever committed, so that an incomplete store of an earlier start may be removed.
fn create(
    folder: &DataDir,
    store: &Path,
    is_unused: bool,
    expiry: Arc<dyn Expiry>,
) -> Result<(), CreateError> {
    let new_store = folder.join("journal.new");
    if new_store.exists() {
        fs::remove_dir_all(&new_store)?;
    }
    if store.exists() {
        let version = fs::metadata(store.join(VERSION_FILE)).map_or(0, |file| file.len());
        if version >= VERSION_BYTES || !is_unused {
            return Ok(());
        }
        fs::remove_dir_all(store)?;
    }
    drop(DiskKv::open(&new_store, expiry).map_err(CreateError::Store)?);
    sync_tree(&new_store)?;
    fs::rename(&new_store, store)?;
    Ok(folder.sync()?)
}

/// Repairs the write-ahead files; returns true if the journal continues where it was closed.
fn repair(
    folder: &DataDir,
    store: &Path,
    mark: Option<Mark>,
    is_clean: bool,
    losses: &LossRecord,
) -> io::Result<bool> {
    let bad_tail = wal::inspect(store)?;
    match &bad_tail {
        None => {}
        Some(bad_tail) if bad_tail.is_torn => {
            let (file, offset) = (bad_tail.file.display(), bad_tail.offset);
            tracing::info!(%file, offset, "removed an unfinished write that was not acknowledged");
        }
        Some(bad_tail) => {
            let copy = folder.join(&bad_tail.copy_name(mark.map_or(0, |mark| mark.epoch.0)));
            bad_tail.copy_to(&copy)?;
            folder.sync()?;
            losses.add(Loss::found_at(format!("{bad_tail} (copied to {})", copy.display())))?;
        }
    }
    // Damage that an interrupted start found and cut is on record, but not measured yet.
    let has_unmeasured_loss = losses.load()?.iter().any(Loss::is_unmeasured);
    let continues = is_clean && bad_tail.is_none() && !has_unmeasured_loss;
    if !continues {
        wal::rewrite(store, bad_tail.as_ref())?;
    }
    Ok(continues)
}
