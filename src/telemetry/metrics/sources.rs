//! Metrics of the hub's own sources.

use super::{MetricFactory, Telemetry};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// Names of all sources.
const SOURCES: [&str; 5] = ["heartbeats", "log", "revocations", "system", "tail"];
/// States of a source of heartbeats.
const STATUSES: [&str; 3] = ["up", "late", "down"];

/// Outcomes of a run of a job.
const OUTCOMES: [&str; 8] =
    ["ok", "failed", "signalled", "timeout", "stopped", "hub_stopping", "not_started", "refused"];

pub(super) struct SourcesMetrics {
    jobs: JobFamilies,
    tail: TailMetrics,
    up: IntGaugeVec,
    events: IntCounterVec,
    refused: IntCounterVec,
    restarts: IntCounterVec,
    heartbeats: HeartbeatMetrics,
}

/// Number of sources of heartbeats that are `up`, `late` and `down`.
#[derive(Clone)]
pub struct HeartbeatMetrics([IntGauge; STATUSES.len()]);

impl HeartbeatMetrics {
    /// Sets the numbers.
    pub fn set(&self, counts: [usize; STATUSES.len()]) {
        for (gauge, count) in self.0.iter().zip(counts) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

struct JobFamilies {
    runs: IntCounterVec,
    running: IntGaugeVec,
}

/// Metrics of one job.
#[derive(Clone)]
pub struct JobMetrics {
    runs: IntCounterVec,
    running: IntGauge,
    name: String,
}

impl JobMetrics {
    /// Counts a run as running.
    pub fn run_started(&self) {
        self.running.inc();
    }

    /// Counts a run as no longer running.
    pub fn run_finished(&self) {
        self.running.dec();
    }

    /// Counts an ended run, by outcome.
    pub fn ended(&self, outcome: &str) {
        self.runs.with_label_values(&[self.name.as_str(), outcome]).inc();
    }

    /// Counts a run that was refused because the maximum number were running.
    pub fn refused(&self) {
        self.ended("refused");
    }
}

/// Metrics of followed files.
#[derive(Clone)]
pub struct TailMetrics {
    files: IntGauge,
    behind_bytes: IntGauge,
    unreadable: IntGauge,
    replaced: IntCounter,
}

impl TailMetrics {
    /// Sets the number of followed files, their bytes that are still to be read, and the number of
    /// files that cannot be read.
    pub fn set(&self, files: usize, behind_bytes: u64, unreadable: usize) {
        self.unreadable.set(i64::try_from(unreadable).unwrap_or(i64::MAX));
        self.files.set(i64::try_from(files).unwrap_or(i64::MAX));
        self.behind_bytes.set(i64::try_from(behind_bytes).unwrap_or(i64::MAX));
    }

    /// Counts lines in which bytes that are not UTF-8 were replaced.
    pub fn replaced(&self, lines: u64) {
        self.replaced.inc_by(lines);
    }
}

/// Metrics of one source.
#[derive(Clone)]
pub struct SourceMetrics {
    up: IntGauge,
    events: IntCounter,
    refused: IntCounter,
    restarts: IntCounter,
}

impl SourcesMetrics {
    pub(super) fn new(make: &MetricFactory) -> Result<Self, prometheus::Error> {
        let up = make.gauges(
            "fanfare_source_up",
            "1 while a source runs; 0 while it is off or waits to be restarted",
            &["source"],
        )?;
        for source in SOURCES {
            up.with_label_values(&[source]).set(0);
        }
        let heartbeats = make.gauges(
            "fanfare_heartbeat_sources",
            "Services that send heartbeats, by status",
            &["status"],
        )?;
        let heartbeats = STATUSES.map(|status| heartbeats.with_label_values(&[status]));
        let counters = |name, help| make.counters(name, help, "source", SOURCES.into_iter());
        let jobs = JobFamilies {
            runs: make.open_counters(
                "fanfare_job_runs_total",
                "Ended runs of each job, by outcome; no series without a job",
                &["job", "outcome"],
            )?,
            running: make.gauges("fanfare_job_running", "Running runs of each job", &["job"])?,
        };
        let tail = TailMetrics {
            files: make.gauge("fanfare_tail_files", "Followed files")?,
            behind_bytes: make.gauge(
                "fanfare_tail_behind_bytes",
                "Bytes of followed files that are not read yet",
            )?,
            unreadable: make.gauge(
                "fanfare_tail_unreadable_files",
                "Files to follow that cannot be opened, or exceed the maximum number",
            )?,
            replaced: make.counter(
                "fanfare_tail_lines_replaced_total",
                "Lines of followed files with bytes that are not UTF-8, which were replaced",
            )?,
        };
        Ok(Self {
            tail,
            jobs,
            up,
            heartbeats: HeartbeatMetrics(heartbeats),
            events: counters(
                "fanfare_source_events_total",
                "Events published by the hub's own sources",
            )?,
            refused: counters(
                "fanfare_source_events_refused_total",
                "Events of a source that were refused and are lost",
            )?,
            restarts: counters("fanfare_source_restarts_total", "Restarts of failed sources")?,
        })
    }
}

impl Telemetry {
    /// Returns the metrics of heartbeats.
    pub fn heartbeats(&self) -> HeartbeatMetrics {
        self.0.sources.heartbeats.clone()
    }

    /// Returns the metrics of followed files.
    pub fn tail(&self) -> TailMetrics {
        self.0.sources.tail.clone()
    }

    /// Returns the metrics of a job; all its series exist from then on.
    pub fn of_job(&self, name: &str) -> JobMetrics {
        let jobs = &self.0.sources.jobs;
        for outcome in OUTCOMES {
            jobs.runs.with_label_values(&[name, outcome]);
        }
        JobMetrics {
            runs: jobs.runs.clone(),
            running: jobs.running.with_label_values(&[name]),
            name: name.to_owned(),
        }
    }

    /// Returns the metrics of a source, and marks it as running.
    pub fn of_source(&self, name: &str) -> SourceMetrics {
        let sources = &self.0.sources;
        let up = sources.up.with_label_values(&[name]);
        up.set(1);
        SourceMetrics {
            up,
            events: sources.events.with_label_values(&[name]),
            refused: sources.refused.with_label_values(&[name]),
            restarts: sources.restarts.with_label_values(&[name]),
        }
    }
}

impl SourceMetrics {
    /// Counts published events.
    pub fn published(&self, events: u64) {
        self.events.inc_by(events);
    }

    /// Counts refused events.
    pub fn refused(&self, events: u64) {
        self.refused.inc_by(events);
    }

    /// Notes that the source failed.
    pub fn stopped(&self) {
        self.up.set(0);
    }

    /// Counts a restart.
    pub fn restarted(&self) {
        self.up.set(1);
        self.restarts.inc();
    }
}
