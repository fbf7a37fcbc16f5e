//! The order of a journal's batches: that of this hub, or of the log of its cluster.

use super::intake::WriterMessage;
use super::open::OpenError;
use super::recovery::OpenedStore;
use super::sequencer::{LocalSequencer, Sequencer};
#[cfg(feature = "cluster")]
use super::store::LogProgress;
use super::store::Store;
use crate::cluster::{ClusterSettings, LogStatus};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// Fails if the store belongs to a hub of a cluster, which must not order batches itself.
fn refuse_member(recovered: &OpenedStore, folder: &Path) -> Result<(), OpenError> {
    let link = recovered.kv.get(super::keys::LOG_LINK);
    match link.map_err(|error| OpenError::of_store(folder, error))? {
        Some(_) => Err(OpenError::OfCluster(folder.to_owned())),
        None => Ok(()),
    }
}

/// The order of a journal.
pub(super) struct Order {
    /// Log of the cluster; `None` if this hub orders its batches itself.
    #[cfg(feature = "cluster")]
    log: Option<(crate::cluster::Log, LogProgress)>,
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
        let failed = |error| OpenError::of_store(folder, error);
        let Some(cluster) = cluster else {
            refuse_member(recovered, folder)?;
            return Ok(Self { log: None });
        };
        let progress = LogProgress::load(&recovered.kv).map_err(failed)?;
        // Batches that this hub has ordered itself would have the numbers of others.
        if progress.link.sequence != store.totals().number {
            return Err(OpenError::OtherLog(folder.to_owned()));
        }
        let is_member = progress != LogProgress::default();
        let log = crate::cluster::Log::open(cluster, is_member)?;
        let epoch = crate::event::Epoch(log.epoch());
        // Before anything else: the store of another log must stay.
        if !recovered.belongs_to(epoch).map_err(failed)? {
            return Err(OpenError::OtherLog(folder.to_owned()));
        }
        let (last, first) = (progress.link.sequence, log.first());
        if first > last + 1 {
            return Err(OpenError::LeftBehind { last, first });
        }
        recovered.join(store, epoch).map_err(failed)?;
        store.follow_log();
        Ok(Self { log: Some((log, progress)) })
    }

    /// Leaves the order to this hub.
    #[cfg(not(feature = "cluster"))]
    pub(super) fn join(
        _: Option<ClusterSettings>,
        recovered: &mut OpenedStore,
        _: &mut Store,
        folder: &Path,
    ) -> Result<Self, OpenError> {
        refuse_member(recovered, folder)?;
        Ok(Self {})
    }

    /// Returns a handle to the other hubs, if this hub belongs to a cluster.
    #[cfg(feature = "cluster")]
    pub(super) fn peers(&self) -> Option<crate::cluster::Peers> {
        self.log.as_ref().map(|(log, _)| log.peers().clone())
    }

    /// Returns the state of the log, if this hub belongs to a cluster.
    pub(super) fn log_status(&self) -> Option<Arc<LogStatus>> {
        #[cfg(feature = "cluster")]
        return self.log.as_ref().map(|(log, _)| log.status().clone());
        #[cfg(not(feature = "cluster"))]
        None
    }

    /// Returns the sequencer that continues after `applied`, the last batch in the store. It wakes the
    /// writer through `queue`.
    pub(super) fn sequencer(
        self,
        applied: u64,
        queue: &SyncSender<WriterMessage>,
    ) -> Box<dyn Sequencer> {
        #[cfg(feature = "cluster")]
        if let Some((log, progress)) = self.log {
            let queue = queue.clone();
            // A full queue wakes the writer as well.
            let wake = move || drop(queue.try_send(WriterMessage::Ordered));
            return Box::new(super::sequencer::ReplicatedSequencer::start(log, progress, wake));
        }
        #[cfg(not(feature = "cluster"))]
        let _ = queue;
        Box::new(LocalSequencer::after(applied))
    }
}
