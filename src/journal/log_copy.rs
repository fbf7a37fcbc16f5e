//! The journal of a hub that has stopped, as the beginning of a new log of its cluster.

use super::backup::REPLACED_STORE;
use super::high_water::Mark;
use super::loss::Loss;
use super::open::{OpenError, Settings};
use super::recovery::{OpenedStore, RecoveryFiles};
use super::sealing::KeyFile;
use super::sequencer::Frame;
use super::store::{Epochs, Floors, LogProgress, Store};
use super::watermark::Watermark;
use crate::cluster::{ChainLink, FoundLog};
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
    progress: LogProgress,
    /// Mark of a new epoch, once one is reserved.
    reserved: Option<Mark>,
}

/// State of a log, compared with a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogComparison {
    /// The servers have no log.
    Missing,
    /// The log has other ids.
    OtherEpoch {
        /// Last message of the log.
        end: u64,
        /// True if it has messages.
        has_messages: bool,
    },
    /// The log ends before the copy.
    Behind {
        /// Last message of the log.
        end: u64,
        /// True if the copy lacks its last message.
        has_others: bool,
    },
    /// The log has another message in the place of the last one of the copy, or none.
    Diverged {
        /// Last message of the log.
        end: u64,
    },
    /// The log has all that the copy has.
    Continues {
        /// Last message of the log.
        end: u64,
    },
    /// The log begins after the end of the copy.
    LeftBehind {
        /// First message of the log.
        first: u64,
    },
}

impl LogComparison {
    /// Returns true if the log has messages that the copy may lack, or is sound.
    #[must_use]
    pub fn loses_messages(self) -> bool {
        match self {
            Self::Missing => false,
            Self::OtherEpoch { has_messages, .. } => has_messages,
            Self::Behind { has_others, .. } => has_others,
            Self::Diverged { .. } | Self::Continues { .. } | Self::LeftBehind { .. } => true,
        }
    }
}

impl LogCopy {
    /// Opens the journal. It is repaired, as at each start of a hub.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        let folder = settings.data_dir.clone();
        // A wrong directory stays as it is. The second is there if a kill has interrupted a replacement.
        if !["journal", REPLACED_STORE].iter().any(|name| folder.join(name).is_dir()) {
            return Err(OpenError::Empty(folder));
        }
        let failed = |error| OpenError::of_store(&folder, error);
        let floors = Arc::new(Floors::default());
        let mut recovered = OpenedStore::open(&settings, floors.clone())?;
        let (kv, sync) = (recovered.kv.clone(), recovered.sync);
        let sealing = std::mem::replace(&mut recovered.sealing, KeyFile::none());
        let (retention, limits) = (settings.retention, settings.limits);
        let store = Store::open(kv.clone(), sync, retention, limits, floors, sealing);
        let store = store.map_err(failed)?;
        let progress = LogProgress::load(&kv).map_err(failed)?;
        // A hub without a cluster has ordered its batches itself.
        let number = store.totals().number;
        let is_member = progress != LogProgress::default();
        let link = if is_member {
            progress.link
        } else {
            ChainLink { sequence: number, ..ChainLink::default() }
        };
        let loaded = Epochs::load(&kv).map_err(failed)?;
        let epochs = loaded.filter(|_| link.sequence == number);
        let epochs = epochs.ok_or_else(|| OpenError::Empty(folder.clone()))?;
        Ok(Self { folder, recovered, store, epochs, link, progress, reserved: None })
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
        self.progress != LogProgress::default()
    }

    /// Compares a log with the copy.
    pub fn compare(&self, log: Option<&FoundLog>) -> LogComparison {
        let Some(log) = log else { return LogComparison::Missing };
        let (last, end) = (self.link.sequence, log.end);
        let content = log.content.as_ref().filter(|_| log.messages > 0);
        if log.epoch != self.epoch().0 {
            LogComparison::OtherEpoch { end, has_messages: log.messages > 0 }
        } else if end < last {
            let is_known =
                content.and_then(|content| Frame::read(content).ok()).is_some_and(|frame| {
                    self.progress.may_have_had(frame.proposer.boot, frame.ticket, end)
                });
            LogComparison::Behind { end, has_others: log.messages > 0 && !is_known }
        } else if log.first == last + 1 || content.is_some_and(|content| self.link.covers(content))
        {
            LogComparison::Continues { end }
        } else if log.first > last {
            LogComparison::LeftBehind { first: log.first }
        } else {
            LogComparison::Diverged { end }
        }
    }

    /// Returns the epochs with the one of a new log, which [`Self::begin_log`] stores. It is later than that of
    /// the log, and than the last one that is known to have been in use. It counts as used from now on, because the
    /// log is deleted next.
    pub fn reserve_epoch(&mut self, log: Option<&FoundLog>) -> Result<NewEpoch, OpenError> {
        let (mut epochs, last) = (self.epochs.clone(), self.store.totals().last);
        let mark = self.recovered.files.as_ref().and_then(RecoveryFiles::last_mark);
        let of_log = log.map(|log| Epoch(log.epoch));
        let of_mark = mark.map(|mark| mark.epoch);
        let seen = [of_mark, of_log].into_iter().flatten().fold(epochs.current(), Epoch::max);
        epochs.begin(last, seen);
        let position = mark.map_or(last, |mark| mark.position.max(last));
        let reserved = Mark { epoch: epochs.current(), position };
        if let Some(files) = &mut self.recovered.files {
            let written = files.high_water.write(reserved).and_then(|()| files.high_water.sync());
            written.map_err(|error| OpenError::Io(self.folder.clone(), error))?;
        }
        self.reserved = Some(reserved);
        Ok(NewEpoch(epochs))
    }

    /// Stores that the log with this epoch follows. Returns the losses of committed events.
    pub fn begin_log(&mut self, epoch: NewEpoch) -> Result<Vec<Loss>, OpenError> {
        let failed = |error| OpenError::of_store(&self.folder, error);
        // Events that are missing will not be read from a log again.
        let (_, losses) = self.recovered.epochs(&mut self.store).map_err(failed)?;
        self.store.begin_log(&epoch.0, self.link).map_err(failed)?;
        self.epochs = epoch.0;
        Ok(losses)
    }

    /// Closes the journal.
    pub fn close(self) -> Result<(), OpenError> {
        let Self { folder, recovered, store, epochs, reserved, .. } = self;
        let closed = || -> Result<(), JournalError> {
            recovered.kv.sync()?;
            let Some(files) = recovered.files.filter(|files| files.is_clean()) else {
                return Ok(());
            };
            let mut watermark = Watermark::new(Some((files.folder, files.high_water)));
            let mark = Mark { epoch: epochs.current(), position: store.totals().last };
            watermark.write(reserved.unwrap_or(mark))?;
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
