//! Snapshots of a hub's store, which a hub that the log has left behind gets from another one, through NATS.
//!
//! The receiver asks for one chunk after the other, so it sets the pace. A chunk that gets lost is asked for
//! again; if the sender is gone, the receiver begins again with another hub.

use super::connection::connect;
use super::error::LogError;
use super::peers::Peers;
use super::report::HubReport;
use super::settings::ClusterSettings;
use async_nats::{Client, Message};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, Sender};

/// Size of a chunk, in bytes.
pub const SNAPSHOT_CHUNK_BYTES: usize = 128 * 1024;
/// Time without a request after which a snapshot is no longer sent.
const ABANDONED_AFTER: Duration = Duration::from_secs(30);
/// Time within which a chunk arrives.
const CHUNK_WITHIN: Duration = Duration::from_secs(5);
/// Time between chunks, as a multiple of the time that chunks take, so that the sender and the servers are left
/// to publishers and subscribers.
const PAUSE_SHARE: u32 = 1;
/// Minimum pause; shorter ones are added up.
const MIN_PAUSE: Duration = Duration::from_millis(2);
/// Number of times that a chunk is asked for.
const MAX_ATTEMPTS: usize = 2;
/// Time for which reports are read before a sender is chosen: all hubs report once a second.
const REPORTS_FOR: Duration = Duration::from_millis(1_500);

/// First byte of an answer.
const DATA: u8 = b'd';
const END: u8 = b'e';
const FAILED: u8 = b'f';

/// Request for a chunk.
#[derive(Serialize, Deserialize)]
struct ChunkRequest {
    /// Snapshot, chosen by the receiver.
    id: u64,
    /// Number of the chunk, from 0.
    chunk: u64,
}

/// Reason why no snapshot was received.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The servers cannot be reached.
    #[error(transparent)]
    Log(#[from] LogError),
    /// No hub has the log.
    #[error("no other hub of the cluster can send one")]
    NoHub,
    /// A hub has stopped answering.
    #[error("hub {0:?} does not answer")]
    Silent(String),
    /// A hub cannot send one.
    #[error("hub {hub:?} sends no snapshot: {reason}")]
    Failed {
        /// Name of the hub.
        hub: String,
        /// Reason.
        reason: String,
    },
    /// The store does not accept it.
    #[error("the snapshot cannot be stored")]
    NotStored,
}

impl Peers {
    fn snapshot_subject(&self, node: &str) -> String {
        format!("{}.snapshot.{node}", self.cluster())
    }

    /// Sends snapshots to other hubs, one at a time. `open` begins one and returns its chunks.
    pub async fn serve_snapshots(&self, open: impl Fn() -> Option<Receiver<io::Result<Bytes>>>) {
        let subject = self.snapshot_subject(self.node());
        let Some(mut requests) = self.subscribe(subject).await else { return };
        let mut sent: Option<Sent> = None;
        loop {
            let request = match tokio::time::timeout(ABANDONED_AFTER, requests.next()).await {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(_) => {
                    sent = None;
                    continue;
                }
            };
            let answer = match serde_json::from_slice::<ChunkRequest>(&request.payload) {
                Ok(wanted) => answer(&mut sent, &open, &wanted).await,
                Err(error) => failed(&error.to_string()),
            };
            reply(self.client(), request, answer).await;
        }
    }
}

async fn reply(client: &Client, request: Message, answer: Bytes) {
    let Some(to) = request.reply else { return };
    // The receiver asks again.
    if let Err(error) = client.publish(to, answer).await {
        tracing::debug!(%error, "failed to send a part of a snapshot");
    }
}

/// A snapshot that is being sent.
struct Sent {
    id: u64,
    /// Number of the next chunk, and the answer to the request for the one before.
    next: u64,
    last: Bytes,
    chunks: Receiver<io::Result<Bytes>>,
    asked_at: Instant,
}

async fn answer(
    sent: &mut Option<Sent>,
    open: &impl Fn() -> Option<Receiver<io::Result<Bytes>>>,
    wanted: &ChunkRequest,
) -> Bytes {
    let is_other = sent.as_ref().is_none_or(|sent| sent.id != wanted.id);
    if is_other && wanted.chunk == 0 {
        if sent.as_ref().is_some_and(|sent| sent.asked_at.elapsed() < ABANDONED_AFTER) {
            return failed("it is sending one to another hub");
        }
        // An abandoned one would keep another from being made.
        *sent = None;
        let Some(chunks) = open() else { return failed("a backup is being made") };
        let (id, asked_at) = (wanted.id, Instant::now());
        *sent = Some(Sent { id, next: 0, last: Bytes::new(), chunks, asked_at });
    }
    let Some(current) = sent.as_mut().filter(|sent| sent.id == wanted.id) else {
        return failed("it is no longer sent");
    };
    current.asked_at = Instant::now();
    if current.next.checked_sub(1) == Some(wanted.chunk) {
        return current.last.clone();
    }
    if wanted.chunk != current.next {
        return failed("the chunk is not the next one");
    }
    let answer = match current.chunks.recv().await {
        Some(Ok(chunk)) => frame(DATA, &chunk),
        Some(Err(error)) => failed(&error.to_string()),
        None => frame(END, &[]),
    };
    current.next += 1;
    current.last = answer.clone();
    if answer.first() != Some(&DATA) {
        // The last answer may be asked for again; the snapshot itself is released.
        current.chunks.close();
        current.asked_at = Instant::now().checked_sub(ABANDONED_AFTER).unwrap_or(current.asked_at);
    }
    answer
}

fn frame(kind: u8, content: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(content.len() + 1);
    frame.put_u8(kind);
    frame.put_slice(content);
    frame.freeze()
}

fn failed(reason: &str) -> Bytes {
    frame(FAILED, reason.as_bytes())
}

/// Receives a snapshot from the best of the hubs, and sends its chunks to `chunks`. Hubs that have failed before
/// are in `failed`, and are asked last. `received` is called with the name of the hub and the number of bytes so
/// far. Returns the name of the hub.
pub async fn receive_snapshot(
    settings: &ClusterSettings,
    failed: &mut BTreeSet<String>,
    chunks: Sender<Bytes>,
    mut received: impl FnMut(&str, u64),
) -> Result<String, SnapshotError> {
    let context = connect(settings).await?;
    let peers = Peers::new(context.client(), settings);
    let hub = choose_sender(&peers, failed).await.ok_or(SnapshotError::NoHub)?;
    failed.insert(hub.clone());
    let (subject, id) = (peers.snapshot_subject(&hub), rand::random());
    let (mut bytes, mut busy) = (0, Duration::ZERO);
    for chunk in 0.. {
        if busy * PAUSE_SHARE >= MIN_PAUSE {
            tokio::time::sleep(busy * PAUSE_SHARE).await;
            busy = Duration::ZERO;
        }
        let began = Instant::now();
        let request = serde_json::to_vec(&ChunkRequest { id, chunk }).unwrap_or_default();
        let answer = ask(peers.client(), &subject, request.into()).await;
        let mut answer = answer.ok_or_else(|| SnapshotError::Silent(hub.clone()))?;
        let content = if answer.is_empty() { answer.clone() } else { answer.split_off(1) };
        match answer.first() {
            Some(&DATA) => {
                bytes += content.len() as u64;
                chunks.send(content).await.map_err(|_| SnapshotError::NotStored)?;
                received(&hub, bytes);
                busy += began.elapsed();
            }
            Some(&END) => {
                failed.remove(&hub);
                break;
            }
            _ => {
                let reason = String::from_utf8_lossy(&content).into_owned();
                return Err(SnapshotError::Failed { hub, reason });
            }
        }
    }
    Ok(hub)
}

async fn ask(client: &Client, subject: &str, request: Bytes) -> Option<Bytes> {
    for _ in 0..MAX_ATTEMPTS {
        let asked = client.request(subject.to_owned(), request.clone());
        if let Ok(Ok(answer)) = tokio::time::timeout(CHUNK_WITHIN, asked).await {
            return Some(answer.payload);
        }
    }
    None
}

/// Returns the hub that has applied most, of those that have the log. Others are preferred to `failed` ones.
async fn choose_sender(peers: &Peers, failed: &BTreeSet<String>) -> Option<String> {
    let mut reports = peers.subscribe(peers.report_subject()).await?;
    let mut sound = BTreeMap::new();
    let deadline = tokio::time::Instant::now() + REPORTS_FOR;
    while let Ok(Some(message)) = tokio::time::timeout_at(deadline, reports.next()).await {
        let Ok(report) = serde_json::from_slice::<HubReport>(&message.payload) else { continue };
        if report.node != peers.node() && report.has_log && !report.is_leaving {
            sound.insert(report.node, report.applied);
        }
    }
    let best = sound.into_iter().max_by_key(|(node, applied)| (!failed.contains(node), *applied));
    best.map(|(node, _)| node)
}
