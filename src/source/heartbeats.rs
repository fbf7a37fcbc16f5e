//! Liveness of services: they send `heartbeat` events to any stream, and the stream `heartbeats`
//! reports when a source becomes `up`, `late` or `down`.
//!
//! The monitor reads the journal like any reader. The reports before a restart are read from the
//! stream itself, so that a source that stopped during the restart is reported, too. In a cluster every hub
//! watches, and reads the reports of the others: one that was published is not published again.

use super::last_values::{off_thread, read, read_stream};
use super::own_streams::{HEARTBEATS_KEPT, HEARTBEATS_STREAM};
use super::supervisor::SourceHandle;
use crate::event::{
    Body, Draft, Entry, EventType, Interest, Key, MAX_ENTRIES_PER_BATCH, Position, Selector,
    StreamName, Timestamp,
};
use crate::journal::{History, now};
use crate::source::error::SourceError;
use crate::telemetry::HeartbeatMetrics;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_128;

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

/// Status of a source, the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
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
    /// Time since which this hub watches the source; it has missed earlier heartbeats.
    watched_since: Timestamp,
    /// Last report, if any.
    report: Option<Report>,
}

/// Status that was reported, and the time of the heartbeat that it was based on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Report {
    status: Status,
    last: Timestamp,
}

impl HeartbeatSeen {
    /// Returns the status that was reported last.
    fn status(&self) -> Option<Status> {
        self.report.map(|report| report.status)
    }

    /// Returns true if `status` is to be reported. Only a later heartbeat makes a status better: the clock of
    /// another hub may be ahead of that of this one.
    fn is_news(&self, status: Status) -> bool {
        self.report.is_none_or(|report| {
            status > report.status || status < report.status && self.last > report.last
        })
    }
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
            |status| monitor.sources.values().filter(|seen| seen.status() == Some(status)).count();
        metrics.set([Status::Up, Status::Late, Status::Down].map(count));
    }
}

fn draft(told: &StatusChange, now: Timestamp) -> Result<Draft, SourceError> {
    let stream = StreamName::parse(HEARTBEATS_STREAM)?;
    let kind = EventType::parse("status")?;
    let data = to_raw_value(told)?;
    // Two hubs that find the same at the same time publish it once.
    let key = format!("{:032x}", xxh3_128(data.get().as_bytes()));
    let key = Key::parse("key", &key)?;
    Ok(Draft::from_json(vec![stream], kind, &data, now)?.with_key(Some(key)))
}

/// Returns the report in an entry of the stream of reports.
fn report_of(entry: &Entry) -> Option<(Source, Report)> {
    let Body::Event { payload, .. } = &entry.body else { return None };
    let change: StatusChange = serde_json::from_slice(payload.as_bytes()).ok()?;
    let last = Timestamp::parse("last", &change.last).unwrap_or(entry.time);
    // Reports of older versions do not name the stream.
    let source = Source { stream: change.stream, name: change.source };
    (!source.stream.is_empty()).then_some((source, Report { status: change.status, last }))
}

impl HeartbeatWatch {
    /// Restores the last reports, and starts reading heartbeats and reports at the current head.
    fn begin(history: Arc<History>) -> Result<Self, SourceError> {
        let kinds = [EventType::parse("heartbeat")?, EventType::parse("status")?];
        let every = Selector::parse("**")?;
        let beats = Interest::new(vec![every], Some(kinds.into()))?;
        let cursor = history.head();
        let mut monitor = Self { history, beats, cursor, sources: BTreeMap::new(), unwatched: 0 };
        let mut sources = BTreeMap::new();
        read_stream(&monitor.history, HEARTBEATS_STREAM, &mut |entry| {
            if let Some((source, report)) = report_of(entry) {
                let (last, watched_since, report) = (report.last, now(), Some(report));
                sources.insert(source, HeartbeatSeen { last, watched_since, report });
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
            let Body::Event { payload, kind } = &entry.body else { return };
            let Some(stream) = entry.streams.first() else { return };
            if kind.as_str() == "status" {
                // Of this hub, or of another one of its cluster.
                let report =
                    (stream.as_str() == HEARTBEATS_STREAM).then(|| report_of(entry)).flatten();
                if let Some((source, report)) = report
                    && let Some(seen) = sources.get_mut(&source)
                {
                    seen.report = Some(report);
                }
                return;
            }
            let Ok(Beat { source }) = serde_json::from_slice(payload.as_bytes()) else { return };
            let source = Source { stream: stream.to_string(), name: source };
            if let Some(heard) = sources.get_mut(&source) {
                heard.last = heard.last.max(entry.time);
            } else if sources.len() < MAX_SOURCES {
                let (last, report) = (entry.time, None);
                sources.insert(source, HeartbeatSeen { last, watched_since: last, report });
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
            let watched = now.ms().saturating_sub(heard.watched_since.ms());
            let status = match silent(heard).min(Duration::from_millis(watched)) {
                silent if silent >= grace.down => Status::Down,
                silent if silent >= grace.late => Status::Late,
                _ => Status::Up,
            };
            if heard.is_news(status) {
                let last = heard.last.to_string();
                let Source { stream, name } = source.clone();
                changes.push(StatusChange { source: name, stream, status, last });
            }
        }
        changes
    }

    fn confirm(&mut self, told: &[StatusChange]) {
        for StatusChange { source, stream, status, last } in told {
            let source = Source { stream: stream.clone(), name: source.clone() };
            if let Some(seen) = self.sources.get_mut(&source) {
                let last = Timestamp::parse("last", last).unwrap_or(seen.last);
                seen.report = Some(Report { status: *status, last });
            }
        }
    }
}
