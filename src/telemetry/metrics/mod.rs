//! Metrics and the methods that change them, one file per topic.
//!
//! Promises: every family exists from the first scrape; values that only their owners know (queues,
//! limits, the disk) are [`Sampled`] by the scrape.

mod access;
mod catalog;
mod chats;
mod cluster;
mod factory;
mod files;
mod journal;
mod limits;
mod openmetrics;
mod publishes;
mod readiness;
mod search;
mod sessions;
mod shard;
mod sources;
mod totals;

pub use catalog::markdown;
pub use chats::ChatMetrics;
pub use cluster::ClusterSample;
pub use journal::JournalSample;
pub use limits::LimitUse;
pub use publishes::{PatternMetrics, Published};
pub use readiness::{Queues, ReadinessSample};
pub use shard::ShardMetrics;
pub use sources::{HeartbeatMetrics, JobMetrics, SourceMetrics, TailMetrics};
pub use totals::{Bucket, Latency, Refusals, Totals};

use super::log_sampling::LogSampler;
use super::log_writer;
use factory::MetricFactory;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, IntCounter, IntCounterVec, Registry, TextEncoder};
use std::sync::{Arc, Mutex, PoisonError};

/// The metrics of one hub. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry(Arc<Metrics>);

struct Metrics {
    registry: Registry,
    access: access::AccessMetrics,
    sessions: sessions::SessionMetrics,
    publishes: publishes::PublishMetrics,
    journal: journal::JournalMetrics,
    log: cluster::LogMetrics,
    sources: sources::SourcesMetrics,
    files: files::FileMetrics,
    search: search::SearchMetrics,
    chats: ChatMetrics,
    bounds: IntCounterVec,
    lines: LogSampler,
    lost_lines: IntCounter,
    /// Sampled metrics, which only one scrape at a time may set and read.
    sampled: Mutex<SampledMetrics>,
}

struct SampledMetrics {
    cluster: cluster::ClusterMetrics,
    limits: limits::LimitMetrics,
    readiness: readiness::ReadinessMetrics,
}

/// Values that a scrape samples, because they are not reported.
#[derive(Debug, Default)]
pub struct Sampled {
    /// Every limit and its use.
    pub limits: Vec<LimitUse>,
    /// Readiness.
    pub readiness: ReadinessSample,
    /// State of the log of the cluster.
    pub cluster: ClusterSample,
}

/// Text format of the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exposition {
    /// Prometheus' text format 0.0.4.
    Text,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Exposition {
    /// Returns the format for a scrape's `Accept`: the newer one if that names it.
    pub fn accepted(accept: &str) -> Self {
        let is_openmetrics = |kind: &str| kind.trim().starts_with("application/openmetrics-text");
        if accept.split(',').any(is_openmetrics) { Self::OpenMetrics } else { Self::Text }
    }

    /// Returns the `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Telemetry {
    /// Registers every family. Fails only if two families have the same name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let make = MetricFactory(Registry::new());
        let metrics = Metrics {
            access: access::AccessMetrics::new(&make)?,
            sessions: sessions::SessionMetrics::new(&make)?,
            publishes: publishes::PublishMetrics::new(&make)?,
            journal: journal::JournalMetrics::new(&make)?,
            log: cluster::LogMetrics::new(&make)?,
            sources: sources::SourcesMetrics::new(&make)?,
            files: files::FileMetrics::new(&make)?,
            search: search::SearchMetrics::new(&make)?,
            chats: ChatMetrics::new(&make)?,
            bounds: readiness::bounds(&make)?,
            lines: LogSampler::default(),
            lost_lines: make.counter(
                "fanfare_log_lines_lost_total",
                "Log lines dropped because the log was not read fast enough",
            )?,
            sampled: Mutex::new(SampledMetrics {
                cluster: cluster::ClusterMetrics::new(&make)?,
                limits: limits::LimitMetrics::new(&make)?,
                readiness: readiness::ReadinessMetrics::new(&make)?,
            }),
            registry: make.0,
        };
        Ok(Self(Arc::new(metrics)))
    }

    /// Returns all metrics, with the sampled values, in a text format.
    pub fn render(
        &self,
        sampled: &Sampled,
        exposition: Exposition,
    ) -> Result<Vec<u8>, prometheus::Error> {
        let families = self.gather(sampled);
        let mut out = Vec::new();
        match exposition {
            Exposition::Text => TextEncoder::new().encode(&families, &mut out)?,
            Exposition::OpenMetrics => openmetrics::encode(&families, &mut out),
        }
        Ok(out)
    }

    /// Returns true if a log line of this kind, which may be frequent, may be written.
    pub fn may_log(&self, kind: &'static str) -> bool {
        self.0.lines.admit(kind)
    }

    /// Returns true if a line of a successful request would be written now.
    pub fn would_log(&self) -> bool {
        self.0.lines.has_capacity()
    }

    /// Returns the number of suppressed lines of each kind since the last call.
    pub fn not_logged(&self) -> Vec<(&'static str, u64)> {
        self.0.lines.suppressed()
    }

    /// Counts the log lines that were lost since the last call, and returns their number.
    pub fn lost_lines(&self) -> u64 {
        let lost = log_writer::take_lost();
        self.0.lost_lines.inc_by(lost);
        lost
    }

    fn gather(&self, sampled: &Sampled) -> Vec<MetricFamily> {
        let metrics = self.0.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.limits.set(&sampled.limits);
        metrics.readiness.set(&sampled.readiness);
        metrics.cluster.set(&sampled.cluster);
        self.0.registry.gather()
    }
}
