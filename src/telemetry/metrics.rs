//! The metrics and the verbs that move them.

use super::reasons::{
    Closed, ConnectionRefused, CredentialRefused, PublishRefused, Replayed, RequestRefused, Turned,
};
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};
use std::sync::Arc;
use std::time::Duration;

/// Seconds from 50 µs to 10 s, where a publish or a commit lies.
const LATENCY_BUCKETS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 10.0,
];
const BATCH_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];
/// Types with a label value of their own; any other is `other`, so that labels stay bounded.
const TYPES: [&str; 4] = ["message", "log", "metric", "heartbeat"];

/// The metrics of one hub. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry(Arc<Metrics>);

struct Metrics {
    registry: Registry,
    access: AccessFigures,
    sessions: Sessions,
    publishes: Publishes,
    journal: JournalFigures,
}

struct AccessFigures {
    credentials: IntCounterVec,
    requests: IntCounterVec,
    connections: IntCounterVec,
}

struct Sessions {
    live: IntGauge,
    catching_up: IntGauge,
    opened: IntCounterVec,
    closed: IntCounterVec,
    refused: IntCounterVec,
    deliveries: IntCounter,
    delivered_bytes: IntCounter,
    replayed: IntCounterVec,
    session_overflows: IntCounter,
    shard_overflows: IntCounter,
    gaps: IntCounter,
}

struct Publishes {
    events: IntCounterVec,
    refused: IntCounterVec,
    latency: Histogram,
}

struct JournalFigures {
    commit_latency: Histogram,
    batch_entries: Histogram,
    bytes: IntGauge,
    streams: IntGauge,
    poisoned: IntGauge,
    hanging: IntGauge,
    lost: IntGauge,
}

impl Telemetry {
    /// Registers every family. Fails only when two have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let make = Maker(Registry::new());
        let metrics = Metrics {
            access: AccessFigures::new(&make)?,
            sessions: Sessions::new(&make)?,
            publishes: Publishes::new(&make)?,
            journal: JournalFigures::new(&make)?,
            registry: make.0,
        };
        let build = Opts::new("fanfare_build_info", "1, with what this binary is")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        let build = IntGauge::with_opts(build)?;
        build.set(1);
        metrics.registry.register(Box::new(build))?;
        #[cfg(target_os = "linux")]
        metrics
            .registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self(Arc::new(metrics)))
    }

    /// Everything, in Prometheus' text format 0.0.4.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.0.registry.gather(), &mut out)?;
        Ok(out)
    }

    /// A credential was refused, or there was none.
    pub fn credential_refused(&self, reason: CredentialRefused) {
        self.0.access.credentials.with_label_values(&[reason.as_str()]).inc();
    }

    /// A request was refused before anybody asked who it is by.
    pub fn request_refused(&self, reason: RequestRefused) {
        self.0.access.requests.with_label_values(&[reason.as_str()]).inc();
    }

    /// A connection was closed before anybody listened to it.
    pub fn connection_refused(&self, reason: ConnectionRefused) {
        self.0.access.connections.with_label_values(&[reason.as_str()]).inc();
    }

    /// A session began, its resume having become `resume`.
    pub fn session_opened(&self, resume: &str) {
        self.0.sessions.live.inc();
        self.0.sessions.opened.with_label_values(&[resume]).inc();
    }

    /// A session ended.
    pub fn session_closed(&self, reason: Closed) {
        self.0.sessions.live.dec();
        self.0.sessions.closed.with_label_values(&[reason.as_str()]).inc();
    }

    /// A session began (+1) or stopped (-1) to read from history.
    pub fn catching_up(&self, change: i64) {
        self.0.sessions.catching_up.add(change);
    }

    /// A subscriber was turned away.
    pub fn subscriber_refused(&self, reason: Turned) {
        self.0.sessions.refused.with_label_values(&[reason.as_str()]).inc();
    }

    /// An event of this type was published.
    pub fn event_published(&self, kind: &str) {
        let label = if TYPES.contains(&kind) { kind } else { "other" };
        self.0.publishes.events.with_label_values(&[label]).inc();
    }

    /// A publish request was answered after this long.
    pub fn publish_answered(&self, took: Duration) {
        self.0.publishes.latency.observe(took.as_secs_f64());
    }

    /// A publish request was refused.
    pub fn publish_refused(&self, reason: PublishRefused) {
        self.0.publishes.refused.with_label_values(&[reason.as_str()]).inc();
    }

    /// A shard handed events to live sessions: so many deliveries of so many bytes.
    pub fn delivered(&self, deliveries: u64, bytes: u64) {
        self.0.sessions.deliveries.inc_by(deliveries);
        self.0.sessions.delivered_bytes.inc_by(bytes);
    }

    /// Events were handed to a session from history.
    pub fn replayed(&self, source: Replayed, events: u64) {
        self.0.sessions.replayed.with_label_values(&[source.as_str()]).inc_by(events);
    }

    /// A session's queue was full, so it goes on from history.
    pub fn session_overflowed(&self) {
        self.0.sessions.session_overflows.inc();
    }

    /// A shard's mailbox was full, so its sessions go on from history.
    pub fn shard_overflowed(&self) {
        self.0.sessions.shard_overflows.inc();
    }

    /// Retention overtook a session.
    pub fn session_gap(&self) {
        self.0.sessions.gaps.inc();
    }

    /// A batch of so many entries became durable in this time.
    pub fn batch_committed(&self, entries: usize, took: Duration) {
        self.0.journal.commit_latency.observe(took.as_secs_f64());
        self.0.journal.batch_entries.observe(entries as f64);
    }

    /// What the journal holds now.
    pub fn journal_holds(&self, bytes: u64, streams: usize) {
        self.0.journal.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.0.journal.streams.set(i64::try_from(streams).unwrap_or(i64::MAX));
    }

    /// The journal takes no more until a restart.
    pub fn journal_poisoned(&self) {
        self.0.journal.poisoned.set(1);
    }

    /// Whether the running commit has been running for too long.
    pub fn journal_hangs(&self, hangs: bool) {
        self.0.journal.hanging.set(i64::from(hangs));
    }

    /// Committed events were found missing at the start.
    pub fn journal_lost(&self) {
        self.0.journal.lost.set(1);
    }
}

impl AccessFigures {
    fn new(make: &Maker) -> Result<Self, prometheus::Error> {
        Ok(Self {
            credentials: make.counters(
                "fanfare_credentials_refused_total",
                "Credentials refused, by reason",
                "reason",
                CredentialRefused::ALL.iter().map(|r| r.as_str()),
            )?,
            requests: make.counters(
                "fanfare_requests_refused_total",
                "Requests refused before anybody asked who they are by, by reason",
                "reason",
                RequestRefused::ALL.iter().map(|r| r.as_str()),
            )?,
            connections: make.counters(
                "fanfare_connections_refused_total",
                "Connections closed before anybody listened to them, by reason",
                "reason",
                ConnectionRefused::ALL.iter().map(|r| r.as_str()),
            )?,
        })
    }
}

impl Sessions {
    fn new(make: &Maker) -> Result<Self, prometheus::Error> {
        Ok(Self {
            live: make.gauge("fanfare_sessions", "Sessions that are live")?,
            catching_up: make
                .gauge("fanfare_sessions_catching_up", "Sessions that read from history")?,
            opened: make.counters(
                "fanfare_sessions_opened_total",
                "Sessions opened, by what became of their resume",
                "resume",
                ["live", "resumed", "gap", "reset"].into_iter(),
            )?,
            closed: make.counters(
                "fanfare_sessions_closed_total",
                "Sessions closed, by reason",
                "reason",
                Closed::ALL.iter().map(|r| r.as_str()),
            )?,
            refused: make.counters(
                "fanfare_subscribers_refused_total",
                "Subscribers turned away, by reason",
                "reason",
                Turned::ALL.iter().map(|r| r.as_str()),
            )?,
            deliveries: make.counter(
                "fanfare_deliveries_total",
                "Events handed to live sessions; control events and heartbeats are none",
            )?,
            delivered_bytes: make
                .counter("fanfare_delivered_bytes_total", "Bytes of those deliveries")?,
            replayed: make.counters(
                "fanfare_events_replayed_total",
                "Events handed to sessions from history, by where they came from",
                "source",
                Replayed::ALL.iter().map(|r| r.as_str()),
            )?,
            session_overflows: make.counter(
                "fanfare_session_queue_overflows_total",
                "Times a session fell so far behind that it went on from history",
            )?,
            shard_overflows: make.counter(
                "fanfare_shard_queue_overflows_total",
                "Times a shard fell so far behind that its sessions went on from history",
            )?,
            gaps: make.counter(
                "fanfare_session_gaps_total",
                "Times retention overtook a session, which was told",
            )?,
        })
    }
}

impl Publishes {
    fn new(make: &Maker) -> Result<Self, prometheus::Error> {
        Ok(Self {
            events: make.counters(
                "fanfare_events_published_total",
                "Events published, by type",
                "type",
                TYPES.into_iter().chain(["other"]),
            )?,
            refused: make.counters(
                "fanfare_publishes_refused_total",
                "Publish requests refused, by reason",
                "reason",
                PublishRefused::ALL.iter().map(|r| r.as_str()),
            )?,
            latency: make.histogram(
                "fanfare_publish_seconds",
                "From a publish request's body to its receipt",
                &LATENCY_BUCKETS,
            )?,
        })
    }
}

impl JournalFigures {
    fn new(make: &Maker) -> Result<Self, prometheus::Error> {
        Ok(Self {
            commit_latency: make.histogram(
                "fanfare_journal_commit_seconds",
                "From handing a batch to the order until it is durable",
                &LATENCY_BUCKETS,
            )?,
            batch_entries: make.histogram(
                "fanfare_journal_batch_entries",
                "Entries that shared one commit",
                &BATCH_BUCKETS,
            )?,
            bytes: make.gauge("fanfare_journal_bytes", "Bytes of the entries that are kept")?,
            streams: make.gauge("fanfare_journal_streams", "Streams with history")?,
            poisoned: make.gauge(
                "fanfare_journal_poisoned",
                "1 once a write or sync has failed, so that publishes fail until a restart",
            )?,
            hanging: make.gauge(
                "fanfare_journal_commit_hanging",
                "1 while a commit runs for longer than five seconds",
            )?,
            lost: make.gauge(
                "fanfare_journal_loss_found",
                "1 where committed events were found missing at the start",
            )?,
        })
    }
}

/// Makes and registers families.
struct Maker(Registry);

impl Maker {
    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        let gauge = IntGauge::new(name, help)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        let counter = IntCounter::new(name, help)?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn counters<'a>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = &'a str>,
    ) -> Result<IntCounterVec, prometheus::Error> {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
        for value in values {
            counters.with_label_values(&[value]);
        }
        self.0.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, prometheus::Error> {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let histogram = Histogram::with_opts(opts)?;
        self.0.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }
}
