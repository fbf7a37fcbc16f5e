//! Metrics of readiness, lengths of queues, and bounds that were reached.

use super::super::reasons::BoundHit;
use super::{MetricFactory, Telemetry};
use prometheus::{Gauge, IntCounterVec, IntGauge, IntGaugeVec};

pub(super) struct ReadinessMetrics {
    ready: IntGauge,
    draining: IntGauge,
    drain_ends: Gauge,
    drain_window: Gauge,
    publish_requests: IntGauge,
    publish_bytes: IntGauge,
    batches: IntGauge,
    waiting_reads: IntGauge,
    waiting_lookups: IntGauge,
    body_bytes: IntGauge,
    checks: IntGaugeVec,
}

/// State of the readiness checks and queues.
#[derive(Default, Debug)]
pub struct ReadinessSample {
    /// Checks, each with true if it passes.
    pub checks: Vec<(&'static str, bool)>,
    /// True if the hub is ready.
    pub is_ready: bool,
    /// Time at which the drain ends, in seconds since 1970, while draining.
    pub drain_ends_s: Option<f64>,
    /// Maximum time of a drain, in seconds.
    pub drain_window_s: f64,
    /// Lengths of the queues.
    pub queues: Queues,
}

/// Lengths of the queues.
#[derive(Default, Debug)]
pub struct Queues {
    /// Publish requests that wait for a commit, and their bytes.
    pub publish: (usize, usize),
    /// Committed batches that wait for the connection manager.
    pub batches: usize,
    /// Reads of history that read from the disk.
    pub reads: usize,
    /// Lookups that read from the disk.
    pub lookups: usize,
    /// Bytes of bodies that are being received.
    pub body_bytes: usize,
}

impl ReadinessMetrics {
    pub(super) fn new(make: &MetricFactory) -> Result<Self, prometheus::Error> {
        make.process()?;
        Ok(Self {
            ready: make.gauge("fanfare_ready", "1 while the hub is ready, as /readyz reports")?,
            checks: make.gauges(
                "fanfare_ready_check",
                "1 for each check of /readyz that passes, else 0",
                &["check"],
            )?,
            draining: make.gauge("fanfare_draining", "1 while the hub is draining")?,
            drain_ends: make.fraction(
                "fanfare_drain_ends_timestamp_seconds",
                "Time at which the drain closes remaining connections; 0 while not draining",
            )?,
            drain_window: make.fraction(
                "fanfare_drain_window_seconds",
                "Maximum duration of a drain (--drain)",
            )?,
            publish_requests: make.gauge(
                "fanfare_publish_queue_requests",
                "Publish requests that wait for a commit",
            )?,
            publish_bytes: make.gauge(
                "fanfare_publish_queue_bytes",
                "Bytes of the publish requests that wait for a commit",
            )?,
            batches: make.gauge(
                "fanfare_dispatch_queue_batches",
                "Committed batches that wait for the connection manager",
            )?,
            waiting_reads: make
                .gauge("fanfare_disk_reads_running", "Reads of history that read from the disk")?,
            waiting_lookups: make
                .gauge("fanfare_disk_lookups_running", "Lookups that read from the disk")?,
            body_bytes: make.gauge(
                "fanfare_request_body_bytes",
                "Bytes of request bodies that are being received",
            )?,
        })
    }

    pub(super) fn set(&self, readiness: &ReadinessSample) {
        let gauge_value = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.ready.set(i64::from(readiness.is_ready));
        for (check, passes) in &readiness.checks {
            self.checks.with_label_values(&[check]).set(i64::from(*passes));
        }
        self.draining.set(i64::from(readiness.drain_ends_s.is_some()));
        self.drain_ends.set(readiness.drain_ends_s.unwrap_or(0.0));
        self.drain_window.set(readiness.drain_window_s);
        let queues = &readiness.queues;
        self.publish_requests.set(gauge_value(queues.publish.0));
        self.publish_bytes.set(gauge_value(queues.publish.1));
        self.batches.set(gauge_value(queues.batches));
        self.waiting_reads.set(gauge_value(queues.reads));
        self.waiting_lookups.set(gauge_value(queues.lookups));
        self.body_bytes.set(gauge_value(queues.body_bytes));
    }
}

/// Creates the counter of reached bounds.
pub(super) fn bounds(make: &MetricFactory) -> Result<IntCounterVec, prometheus::Error> {
    make.counters(
        "fanfare_bound_hits_total",
        "Times a bounded queue, buffer or map was full, by bound",
        "bound",
        BoundHit::ALL.iter().map(|bound| bound.as_str()),
    )
}

impl Telemetry {
    /// Counts a bound that was reached.
    pub fn bound_hit(&self, bound: BoundHit) {
        self.0.bounds.with_label_values(&[bound.as_str()]).inc();
    }
}
