//! Metrics of the log of a cluster.

use super::factory::LATENCY_BUCKETS;
use super::{MetricFactory, Telemetry};
use prometheus::{Gauge, Histogram, IntCounter, IntGauge};
use std::time::Duration;

/// State of the log as a hub sees it; zero for a single hub.
#[derive(Clone, Copy, Default, Debug)]
pub struct ClusterSample {
    /// Last message of the log.
    pub end: u64,
    /// Last message that this hub has applied.
    pub applied: u64,
    /// Time for which this hub has not caught up with the log, in seconds.
    pub behind_s: f64,
    /// Time since the log answered, in seconds, if that is too long.
    pub unreachable_s: f64,
    /// True if the log lacks messages that this hub has applied.
    pub has_lost_messages: bool,
    /// Number of servers that store the log and are not up to date.
    pub stale_servers: usize,
    /// Number of appends that were repeated.
    pub repeated_appends: u64,
    /// Number of times that reading began again.
    pub restarts: u64,
    /// Number of times that an applied message had the same content in the log.
    pub verified: u64,
    /// Number of other hubs that report.
    pub hubs: usize,
    /// Number of other hubs that have not reported lately.
    pub silent_hubs: usize,
    /// True if most hubs have applied another log than this one.
    pub differs: bool,
    /// Number of times that what another hub has applied was compared with what this one has.
    pub compared: u64,
}

pub(super) struct ClusterMetrics {
    end: IntGauge,
    applied: IntGauge,
    behind: Gauge,
    unreachable: Gauge,
    lost_messages: IntGauge,
    stale_servers: IntGauge,
    repeated_appends: IntCounter,
    restarts: IntCounter,
    verified: IntCounter,
    hubs: IntGauge,
    silent_hubs: IntGauge,
    differs: IntGauge,
    compared: IntCounter,
}

/// Durations of the batches of the log.
pub(super) struct LogMetrics {
    append_latency: Histogram,
    apply_latency: Histogram,
}

impl LogMetrics {
    pub(super) fn new(make: &MetricFactory) -> Result<Self, prometheus::Error> {
        Ok(Self {
            append_latency: make.histogram(
                "fanfare_cluster_append_seconds",
                "Time from appending a batch to the log until this hub has read it",
                &LATENCY_BUCKETS,
            )?,
            apply_latency: make.histogram(
                "fanfare_cluster_apply_seconds",
                "Time of storing a batch of the log",
                &LATENCY_BUCKETS,
            )?,
        })
    }
}

impl ClusterMetrics {
    pub(super) fn new(make: &MetricFactory) -> Result<Self, prometheus::Error> {
        Ok(Self {
            end: make.gauge("fanfare_cluster_log_end", "Number of the last message of the log")?,
            applied: make.gauge(
                "fanfare_cluster_log_applied",
                "Number of the last message of the log that this hub has applied",
            )?,
            behind: make.fraction(
                "fanfare_cluster_behind_seconds",
                "Seconds for which this hub has not caught up with the log",
            )?,
            unreachable: make.fraction(
                "fanfare_cluster_unreachable_seconds",
                "Seconds since the log last answered, if they are 10 or more",
            )?,
            lost_messages: make.gauge(
                "fanfare_cluster_log_lost_messages",
                "1 while the log lacks messages that this hub has applied",
            )?,
            stale_servers: make.gauge(
                "fanfare_cluster_stale_servers",
                "NATS servers that store the log and are not up to date",
            )?,
            repeated_appends: make.counter(
                "fanfare_cluster_appends_repeated_total",
                "Appends to the log that were repeated because they were not acknowledged",
            )?,
            restarts: make.counter(
                "fanfare_cluster_reads_restarted_total",
                "Times that reading the log began again",
            )?,
            verified: make.counter(
                "fanfare_cluster_verified_total",
                "Times that the message applied last had the same content in the log",
            )?,
            hubs: make.gauge("fanfare_cluster_hubs", "Other hubs of the cluster that report")?,
            silent_hubs: make.gauge(
                "fanfare_cluster_silent_hubs",
                "Other hubs of the cluster that have not reported for 5 s or more",
            )?,
            differs: make.gauge(
                "fanfare_cluster_differs",
                "1 while most hubs of the cluster have applied another log than this one",
            )?,
            compared: make.counter(
                "fanfare_cluster_compared_total",
                "Times that the hash of the log at another hub was compared with the own one",
            )?,
        })
    }

    pub(super) fn set(&self, sample: &ClusterSample) {
        let gauge_value = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.end.set(gauge_value(sample.end));
        self.applied.set(gauge_value(sample.applied));
        self.behind.set(sample.behind_s);
        self.unreachable.set(sample.unreachable_s);
        self.lost_messages.set(i64::from(sample.has_lost_messages));
        self.stale_servers.set(gauge_value(sample.stale_servers as u64));
        self.hubs.set(gauge_value(sample.hubs as u64));
        self.silent_hubs.set(gauge_value(sample.silent_hubs as u64));
        self.differs.set(i64::from(sample.differs));
        for (counter, value) in [
            (&self.repeated_appends, sample.repeated_appends),
            (&self.restarts, sample.restarts),
            (&self.verified, sample.verified),
            (&self.compared, sample.compared),
        ] {
            counter.inc_by(value.saturating_sub(counter.get()));
        }
    }
}

impl Telemetry {
    /// Records that a batch of the log was stored, and for a batch of this hub the time until it was read.
    pub fn log_batch_applied(&self, append: Option<Duration>, apply: Duration) {
        let log = &self.0.log;
        if let Some(append) = append {
            log.append_latency.observe(append.as_secs_f64());
        }
        log.apply_latency.observe(apply.as_secs_f64());
    }
}
