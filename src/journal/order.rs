//! The order of a journal's batches: that of this hub, or of the log of its cluster.

use super::intake::WriterMessage;
use super::open::OpenError;
use super::recovery::OpenedStore;
use super::sequencer::{LocalSequencer, Sequencer};
use super::store::Store;
use crate::cluster::ClusterSettings;
use std::path::Path;
use std::sync::mpsc::SyncSender;

/// The order of a journal.
pub(super) struct Order {
    /// Log of the cluster; `None` if this hub orders its batches itself.
    #[cfg(feature = "cluster")]
    log: Option<crate::cluster::Log>,
}

impl Order {
    /// Joins the cluster, if this hub belongs to one. Fails if the store in `folder` is not a copy of its
    /// log.
    #[cfg(feature = "cluster")]
    pub(super) fn join(
        cluster: Option<ClusterSettings>,
        recovered: &mut OpenedStore,
        store: &mut Store,
        folder: &Path,
    ) -> Result<Self, OpenError> {
        let log = cluster.map(crate::cluster::Log::open).transpose()?;
        if let Some(log) = &log {
            let epoch = crate::event::Epoch(log.epoch());
            let joined = recovered.join(store, epoch);
            if !joined.map_err(|error| OpenError::of_store(folder, error))? {
                return Err(OpenError::OtherLog(folder.to_owned()));
            }
        }
        Ok(Self { log })
    }

    /// Leaves the order to this hub.
    #[cfg(not(feature = "cluster"))]
    pub(super) fn join(
        _: Option<ClusterSettings>,
        _: &mut OpenedStore,
        _: &mut Store,
        _: &Path,
    ) -> Result<Self, OpenError> {
        Ok(Self {})
    }

    /// Returns the sequencer that continues after `applied`, the last batch in the store. It wakes the
    /// writer through `queue`.
    pub(super) fn sequencer(
        self,
        applied: u64,
        queue: &SyncSender<WriterMessage>,
    ) -> Box<dyn Sequencer> {
        #[cfg(feature = "cluster")]
        if let Some(log) = self.log {
            let queue = queue.clone();
            // A full queue wakes the writer as well.
            let wake = move || drop(queue.try_send(WriterMessage::Ordered));
            return Box::new(super::sequencer::ReplicatedSequencer::start(log, applied, wake));
        }
        #[cfg(not(feature = "cluster"))]
        let _ = queue;
        Box::new(LocalSequencer::after(applied))
    }
}
