//! Opening the journal of a hub that the log of its cluster has left behind: it gets a snapshot of another hub.

use crate::cluster::{ClusterSettings, SnapshotError, receive_snapshot};
use crate::config::Config;
use crate::http::{BoundSockets, JoinProgress, start_joining};
use crate::journal::{BackupError, Dispatch, Journal, OpenError, Settings, restore_snapshot};
use crate::telemetry::Telemetry;
use actix_web::web::{Bytes, Data};
use anyhow::Context as _;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{self, Receiver, Sender};

/// Maximum number of chunks that wait to be stored.
const MAX_WAITING_CHUNKS: usize = 4;
/// Pause after a snapshot could not be received; it doubles with each failure.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Interval of progress in the log.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Opens the journal. If the log has deleted messages that this hub has not applied, gets a snapshot of another
/// hub before, and answers health checks on `sockets` meanwhile.
pub(super) async fn open_journal(
    config: &Config,
    settings: &Settings,
    telemetry: &Telemetry,
    dispatch_sender: &Sender<Dispatch>,
    sockets: &[&BoundSockets],
) -> anyhow::Result<Journal> {
    let open = || Journal::open(settings.clone(), telemetry.clone(), dispatch_sender.clone());
    let (last, first) = match open() {
        Err(OpenError::LeftBehind { last, first }) => (last, first),
        opened => return Ok(opened?),
    };
    tracing::info!(
        last,
        first,
        "the log has left this hub behind; getting a snapshot of another one"
    );
    let progress = Data::new(JoinProgress::default());
    let server = start_joining(progress.clone(), sockets)?;
    let cluster = config.cluster.as_ref().context("a hub of a cluster has its settings")?;
    let (mut failed, mut pause) = (BTreeSet::new(), MIN_PAUSE);
    let journal = loop {
        if let Err(error) = get_snapshot(cluster, &mut failed, settings, &progress).await {
            tracing::warn!(%error, pause_s = pause.as_secs(), "failed to get a snapshot; trying again");
            progress.set(format!("cannot get a snapshot of another hub: {}", error.public()), 0);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
            continue;
        }
        match open() {
            // The log has gone on meanwhile.
            Err(OpenError::LeftBehind { .. }) => {}
            opened => break opened?,
        }
    };
    if let Some(server) = server {
        server.stop(true).await;
    }
    Ok(journal)
}

/// Gets a snapshot, and replaces the journal with it.
async fn get_snapshot(
    cluster: &ClusterSettings,
    failed: &mut BTreeSet<String>,
    settings: &Settings,
    progress: &JoinProgress,
) -> Result<(), JoinError> {
    progress.set("waiting for another hub to send a snapshot".to_owned(), 0);
    let (sender, chunks) = mpsc::channel(MAX_WAITING_CHUNKS);
    let (data_dir, holder) = (settings.data_dir.clone(), settings.holder.clone());
    let stored = tokio::task::spawn_blocking(move || {
        restore_snapshot(ChunkReader { chunks, rest: Bytes::new() }, &data_dir, &holder)
    });
    let (began, mut logged) = (Instant::now(), Instant::now());
    let received = receive_snapshot(cluster, failed, sender, |hub, bytes| {
        progress.set(format!("getting a snapshot of hub {hub:?}: {bytes} bytes so far"), bytes);
        if logged.elapsed() >= LOG_INTERVAL {
            logged = Instant::now();
            tracing::info!(hub, bytes, "getting a snapshot");
        }
    });
    let received = received.await;
    let stored = stored.await.map_err(JoinError::Panicked)?;
    let hub = match received {
        // The store knows why it took no more.
        Err(SnapshotError::NotStored) => String::new(),
        received => received?,
    };
    let records = stored?;
    let seconds = began.elapsed().as_secs_f64();
    tracing::info!(hub, records, seconds, "got a snapshot");
    Ok(())
}

/// Reason why this hub has got no snapshot.
#[derive(Debug, thiserror::Error)]
enum JoinError {
    #[error(transparent)]
    Received(#[from] SnapshotError),
    #[error(transparent)]
    Stored(#[from] BackupError),
    #[error("the thread that stores the snapshot panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

impl JoinError {
    /// Returns a text for clients without a credential, which contains no path and no address.
    fn public(&self) -> String {
        match self {
            Self::Received(SnapshotError::Log(_)) => "NATS does not answer".to_owned(),
            Self::Received(error) => error.to_string(),
            Self::Stored(_) | Self::Panicked(_) => "it cannot be stored".to_owned(),
        }
    }
}

/// Reads chunks as they arrive.
struct ChunkReader {
    chunks: Receiver<Bytes>,
    rest: Bytes,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.rest = chunk,
                None => return Ok(0),
            }
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}
