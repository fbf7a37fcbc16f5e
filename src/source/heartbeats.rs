//! Liveness of services: they send `heartbeat` events to any stream, and the stream `heartbeats`
//! reports when a source becomes `up`, `late` or `down`.
//!
//! The monitor reads the journal like any reader. The reports before a restart are read from the
//! stream itself, so that a source that stopped during the restart is reported, too.

use super::last_values::{off_thread, read, read_stream};
use super::own_streams::{HEARTBEATS_KEPT, HEARTBEATS_STREAM};
use super::supervisor::SourceHandle;
use crate::event::{
    Body, Draft, EventType, Interest, MAX_ENTRIES_PER_BATCH, Position, Selector, StreamName,
    Timestamp,
};
use crate::journal::History;
use crate::source::error::SourceError;
use crate::telemetry::HeartbeatMetrics;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Interval at which sources are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of watched sources; heartbeats of further ones are counted as refused.
const MAX_SOURCES: usize = 10_000;

/// Times without a heartbeat after which the status of a source changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GracePeriods {
    /// Time until a source is late.
    pub late: Duration,
    /// Time until a source is down.
    pub down: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Up,
    Late,
    Down,
}

/// Report of a changed status.
#[derive(Serialize, Deserialize)]
struct StatusChange {
    source: String,
    /// Stream of its heartbeats; empty in reports of older versions.
    #[serde(default)]
    stream: String,
    status: Status,
    /// Time of the last heartbeat.
    last: String,
}

/// A source, identified by the stream of its heartbeats and its name there: the right to publish to
/// one stream does not extend to the sources of another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Source {
    stream: String,
    name: String,
}

struct HeartbeatSeen {
    last: Timestamp,
    /// Status that was reported last, if any.
    reported: Option<Status>,
}

/// State of the heartbeat monitor.
struct HeartbeatWatch {
    history: Arc<History>,
    beats: Interest,
    /// Position up to which the journal was read.
    cursor: Position,
    sources: BTreeMap<Source, HeartbeatSeen>,
    /// Number of heartbeats of sources beyond the maximum.
    unwatched: u64,
}

/// Runs the heartbeat monitor until it fails.
pub async fn monitor_heartbeats(
    feed: SourceHandle,
    history: Arc<History>,
    grace: GracePeriods,
    metrics: HeartbeatMetrics,
) -> Result<(), SourceError> {
    let mut monitor = off_thread(move || HeartbeatWatch::begin(history)).await?;
    let mut turns = tokio::time::interval(CHECK_INTERVAL);
    loop {
        turns.tick().await;
        monitor = off_thread(move || monitor.read()).await?;
        let now = feed.now();
        let changes = monitor.changes(now, grace);
        for some in changes.chunks(MAX_ENTRIES_PER_BATCH) {
            let drafts = some.iter().map(|told| draft(told, now)).collect::<Result<_, _>>()?;
            // Refused reports are repeated after the next check.
            if feed.publish(drafts).await.is_ok() {
                monitor.confirm(some);
            }
        }
        feed.lost(std::mem::take(&mut monitor.unwatched));
        let count =
            |status| monitor.sources.values().filter(|s| s.reported == Some(status)).count();
        metrics.set([Status::Up, Status::Late, Status::Down].map(count));
    }
}

fn draft(told: &StatusChange, now: Timestamp) -> Result<Draft, SourceError> {
    let stream = StreamName::parse(HEARTBEATS_STREAM)?;
    let kind = EventType::parse("status")?;
    let data = to_raw_value(told)?;
    Ok(Draft::from_json(vec![stream], kind, &data, now)?)
}

impl HeartbeatWatch {
    /// Restores the last reports, and starts reading heartbeats at the current head.
    fn begin(history: Arc<History>) -> Result<Self, SourceError> {
        let kind = EventType::parse("heartbeat")?;
        let every = Selector::parse("**")?;
        let beats = Interest::new(vec![every], Some([kind].into()))?;
        let cursor = history.head();
        let mut monitor = Self { history, beats, cursor, sources: BTreeMap::new(), unwatched: 0 };
        let mut sources = BTreeMap::new();
        read_stream(&monitor.history, HEARTBEATS_STREAM, &mut |entry| {
            let Body::Event { payload, .. } = &entry.body else { return };
            let Ok(told) = serde_json::from_slice::<StatusChange>(payload.as_bytes()) else {
                return;
            };
            let last = Timestamp::parse("last", &told.last).unwrap_or(entry.time);
            // Reports of older versions do not name the stream.
            if !told.stream.is_empty() {
                let source = Source { stream: told.stream, name: told.source };
                sources.insert(source, HeartbeatSeen { last, reported: Some(told.status) });
            }
        })?;
        monitor.sources = sources;
        Ok(monitor)
    }

    /// Reads the new heartbeats.
    fn read(mut self) -> Result<Self, SourceError> {
        #[derive(Deserialize)]
        struct Beat {
            source: String,
        }
        let (sources, unwatched) = (&mut self.sources, &mut self.unwatched);
        let head = self.history.head();
        read(&self.history, &self.beats, self.cursor, head, &mut |entry| {
            let Body::Event { payload, .. } = &entry.body else { return };
            let Ok(Beat { source }) = serde_json::from_slice(payload.as_bytes()) else { return };
            let Some(stream) = entry.streams.first() else { return };
            let source = Source { stream: stream.to_string(), name: source };
            if let Some(heard) = sources.get_mut(&source) {
                heard.last = heard.last.max(entry.time);
            } else if sources.len() < MAX_SOURCES {
                sources.insert(source, HeartbeatSeen { last: entry.time, reported: None });
            } else {
                *unwatched += 1;
            }
        })?;
        self.cursor = head;
        Ok(self)
    }

    /// Returns the sources whose status differs from the last report. Sources without a heartbeat
    /// for [`HEARTBEATS_KEPT`] are forgotten.
    fn changes(&mut self, now: Timestamp, grace: GracePeriods) -> Vec<StatusChange> {
        let silent =
            |heard: &HeartbeatSeen| Duration::from_millis(now.ms().saturating_sub(heard.last.ms()));
        self.sources.retain(|_, heard| silent(heard) < HEARTBEATS_KEPT);
        let mut changes = Vec::new();
        for (source, heard) in &self.sources {
            let status = match silent(heard) {
                silent if silent >= grace.down => Status::Down,
                silent if silent >= grace.late => Status::Late,
                _ => Status::Up,
            };
            if heard.reported != Some(status) {
                let last = heard.last.to_string();
                let Source { stream, name } = source.clone();
                changes.push(StatusChange { source: name, stream, status, last });
            }
        }
        changes
    }

    fn confirm(&mut self, told: &[StatusChange]) {
        for StatusChange { source, stream, status, .. } in told {
            let source = Source { stream: stream.clone(), name: source.clone() };
            if let Some(heard) = self.sources.get_mut(&source) {
                heard.reported = Some(*status);
            }
        }
    }
}
