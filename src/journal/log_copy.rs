//! The journal of a hub that has stopped, as the beginning of a new log of its cluster.

use super::high_water::Mark;
use super::open::{OpenError, Settings};
use super::recovery::OpenedStore;
use super::sealing::KeyFile;
use super::store::{Epochs, Floors, LogProgress, Store};
use super::watermark::Watermark;
use crate::cluster::ChainLink;
use crate::event::{Epoch, EventId};
use crate::journal::error::JournalError;
use std::path::PathBuf;
use std::sync::Arc;

/// An open journal that is not written to, except by [`Self::begin_log`].
pub struct LogCopy {
    folder: PathBuf,
    recovered: OpenedStore,
    store: Store,
    epochs: Epochs,
    link: ChainLink,
    is_member: bool,
}

impl LogCopy {
    /// Opens the journal. It is repaired, as at each start of a hub.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        let folder = settings.data_dir.clone();
        let failed = |error| OpenError::of_store(&folder, error);
        let floors = Arc::new(Floors::default());
        let mut recovered = OpenedStore::open(&settings, floors.clone())?;
        let (kv, sync) = (recovered.kv.clone(), recovered.sync);
        let sealing = std::mem::replace(&mut recovered.sealing, KeyFile::none());
        let (retention, limits) = (settings.retention, settings.limits);
        let store = Store::open(kv.clone(), sync, retention, limits, floors, sealing);
        let store = store.map_err(failed)?;
        let progress = LogProgress::load(&kv).map_err(failed)?;
        let is_member = progress != LogProgress::default();
        // A hub without a cluster has ordered its batches itself.
        let number = store.totals().number;
        let link = if is_member {
            progress.link
        } else {
            ChainLink { sequence: number, ..ChainLink::default() }
        };
        let loaded = Epochs::load(&kv).map_err(failed)?;
        let epochs = loaded.filter(|_| link.sequence == number);
        let epochs = epochs.ok_or_else(|| OpenError::Empty(folder.clone()))?;
        Ok(Self { folder, recovered, store, epochs, link, is_member })
    }

    /// Returns the last message of the log that the copy has, or the number of its last batch if no log has
    /// ordered it.
    pub fn last(&self) -> ChainLink {
        self.link
    }

    /// Returns the epoch of its ids.
    pub fn epoch(&self) -> Epoch {
        self.epochs.current()
    }

    /// Returns the id of its last event.
    pub fn last_id(&self) -> EventId {
        self.epochs.id(self.store.totals().last)
    }

    /// Returns true if it is a copy of a log.
    pub fn is_member(&self) -> bool {
        self.is_member
    }

    /// Returns the epochs with the one of a new log, which `begin_log` stores.
    pub fn with_new_epoch(&self) -> NewEpoch {
        let mut epochs = self.epochs.clone();
        epochs.begin(self.store.totals().last, self.epochs.current());
        NewEpoch(epochs)
    }

    /// Stores that the log with this epoch follows.
    pub fn begin_log(&mut self, epoch: NewEpoch) -> Result<(), OpenError> {
        let stored = self.store.begin_log(&epoch.0, self.link);
        stored.map_err(|error| OpenError::of_store(&self.folder, error))?;
        self.epochs = epoch.0;
        Ok(())
    }

    /// Closes the journal.
    pub fn close(self) -> Result<(), OpenError> {
        let Self { folder, recovered, store, epochs, .. } = self;
        let closed = || -> Result<(), JournalError> {
            recovered.kv.sync()?;
            let Some(files) = recovered.files.filter(|files| files.is_clean()) else {
                return Ok(());
            };
            let mut watermark = Watermark::new(Some((files.folder, files.high_water)));
            watermark.write(Mark { epoch: epochs.current(), position: store.totals().last })?;
            watermark.close()
        };
        closed().map_err(|error| OpenError::of_store(&folder, error))
    }
}

/// Epochs of a journal with that of a new log.
pub struct NewEpoch(Epochs);

impl NewEpoch {
    /// Returns the epoch of the new log.
    pub fn epoch(&self) -> Epoch {
        self.0.current()
    }
}
