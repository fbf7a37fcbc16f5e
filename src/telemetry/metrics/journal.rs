//! Metrics of the journal: commits, content, and health.

use super::factory::LATENCY_BUCKETS;
use super::{MetricFactory, Telemetry};
use prometheus::{Counter, Gauge, Histogram, IntCounter, IntGauge};
use std::time::Duration;

const BATCH_ENTRIES_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];
/// Buckets from one small event to the largest commit.
const BATCH_BYTES_BUCKETS: [f64; 9] =
    [256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

pub(super) struct JournalMetrics {
    commit_latency: Histogram,
    batch_entries: Histogram,
    batch_bytes: Histogram,
    syncs: IntCounter,
    pub(super) bytes: IntGauge,
    pub(super) max_bytes: IntGauge,
    pub(super) streams: IntGauge,
    oldest: Gauge,
    pub(super) disk_bytes: IntGauge,
    pub(super) disk_free_bytes: IntGauge,
    disk_reserve_bytes: IntGauge,
    disk_full: IntGauge,
    clock_jump: Gauge,
    compactions: IntCounter,
    compacting: IntGauge,
    compaction_seconds: Counter,
    reclaims: IntCounter,
    conditions: JournalConditions,
}

/// Content of the journal, reported once a second.
#[derive(Clone, Copy, Default, Debug)]
pub struct JournalSample {
    /// Bytes of the retained entries.
    pub bytes: u64,
    /// Streams with history.
    pub streams: usize,
    /// Time of the oldest stored event, in seconds since 1970, if there is one.
    pub oldest_s: Option<f64>,
    /// Bytes of the journal's files.
    pub disk_bytes: u64,
    /// Free bytes of the disk.
    pub disk_free_bytes: u64,
    /// Running compactions.
    pub compacting: usize,
    /// Finished compactions since the start, and the time spent in them.
    pub compacted: (u64, Duration),
}

impl JournalMetrics {
    pub(super) fn new(make: &MetricFactory) -> Result<Self, prometheus::Error> {
        Ok(Self {
            commit_latency: make.histogram(
                "fanfare_journal_commit_seconds",
                "Time from proposing a batch until it is durable",
                &LATENCY_BUCKETS,
            )?,
            batch_entries: make.histogram(
                "fanfare_journal_batch_entries",
                "Entries of a commit",
                &BATCH_ENTRIES_BUCKETS,
            )?,
            batch_bytes: make.histogram(
                "fanfare_journal_batch_bytes",
                "Bytes of a commit",
                &BATCH_BYTES_BUCKETS,
            )?,
            syncs: make.counter(
                "fanfare_journal_syncs_total",
                "Commits synced to disk before they were acknowledged",
            )?,
            bytes: make.gauge("fanfare_journal_bytes", "Bytes of the retained entries")?,
            max_bytes: make.gauge(
                "fanfare_journal_max_bytes",
                "Bytes of entries above which the oldest are removed (--journal-max-bytes)",
            )?,
            streams: make.gauge("fanfare_journal_streams", "Streams with history")?,
            oldest: make.fraction(
                "fanfare_journal_oldest_event_timestamp_seconds",
                "Publish time of the oldest retained event; 0 if there is none",
            )?,
            disk_bytes: make.gauge("fanfare_journal_disk_bytes", "Bytes of the journal's files")?,
            disk_free_bytes: make
                .gauge("fanfare_journal_disk_free_bytes", "Free bytes on the journal's disk")?,
            disk_reserve_bytes: make.gauge(
                "fanfare_journal_disk_reserve_bytes",
                "Free bytes below which publishes are refused (--min-free-bytes)",
            )?,
            clock_jump: make.fraction(
                "fanfare_journal_clock_jump_seconds",
                "Seconds that the system clock jumped forward, while retention by age is held",
            )?,
            disk_full: make.gauge(
                "fanfare_journal_disk_full",
                "1 while publishes are refused for lack of disk space",
            )?,
            compactions: make
                .counter("fanfare_journal_compactions_total", "Finished compactions")?,
            compacting: make.gauge("fanfare_journal_compactions_running", "Running compactions")?,
            compaction_seconds: make
                .sum("fanfare_journal_compaction_seconds_total", "Seconds spent in compactions")?,
            reclaims: make.counter(
                "fanfare_journal_reclaims_total",
                "Compactions that returned the disk space of removed events",
            )?,
            conditions: JournalConditions::new(make)?,
        })
    }
}

/// Gauges of conditions that an operator must act on.
struct JournalConditions {
    poisoned: IntGauge,
    stuck: IntGauge,
    lost: IntGauge,
    read_failed: IntGauge,
}

impl JournalConditions {
    fn new(make: &MetricFactory) -> Result<Self, prometheus::Error> {
        Ok(Self {
            poisoned: make.gauge(
                "fanfare_journal_poisoned",
                "1 after a failed write or sync; publishes fail until a restart",
            )?,
            stuck: make.gauge(
                "fanfare_journal_commit_hanging",
                "1 while one step of the journal's writer (commit, housekeeping, closing, dispatch) \
                 has run for more than five seconds",
            )?,
            lost: make.gauge(
                "fanfare_journal_loss_found",
                "1 while a loss of committed events is not acknowledged",
            )?,
            read_failed: make.gauge(
                "fanfare_journal_read_failed",
                "1 after stored data could not be read, for example from a damaged file",
            )?,
        })
    }
}

fn gauge_value(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Telemetry {
    /// Records a durable batch: its entries, its bytes, the time it took, and whether it was
    /// synced.
    pub fn batch_committed(&self, entries: usize, bytes: usize, duration: Duration, synced: bool) {
        let journal = &self.0.journal;
        journal.commit_latency.observe(duration.as_secs_f64());
        journal.batch_entries.observe(entries as f64);
        journal.batch_bytes.observe(bytes as f64);
        if synced {
            journal.syncs.inc();
        }
    }

    /// Reports the content of the journal.
    pub fn journal_holds(&self, sample: &JournalSample) {
        let journal = &self.0.journal;
        journal.bytes.set(gauge_value(sample.bytes));
        journal.streams.set(gauge_value(sample.streams as u64));
        journal.oldest.set(sample.oldest_s.unwrap_or(0.0));
        journal.disk_bytes.set(gauge_value(sample.disk_bytes));
        journal.disk_free_bytes.set(gauge_value(sample.disk_free_bytes));
        journal.compacting.set(gauge_value(sample.compacting as u64));
        let (completed, duration) = sample.compacted;
        journal.compactions.inc_by(completed.saturating_sub(journal.compactions.get()));
        let new_seconds = duration.as_secs_f64() - journal.compaction_seconds.get();
        journal.compaction_seconds.inc_by(new_seconds.max(0.0));
    }

    /// Sets the bounds: bytes of entries, and bytes that stay free on the disk.
    pub fn journal_bounds(&self, max_bytes: u64, reserve_bytes: u64) {
        self.0.journal.max_bytes.set(gauge_value(max_bytes));
        self.0.journal.disk_reserve_bytes.set(gauge_value(reserve_bytes));
    }

    /// Counts a compaction that reclaimed disk space.
    pub fn journal_reclaimed(&self) {
        self.0.journal.reclaims.inc();
    }

    /// Sets whether publishes are refused for lack of disk space.
    pub fn journal_disk_full(&self, is_full: bool) {
        self.0.journal.disk_full.set(i64::from(is_full));
    }

    /// Sets the lead of the system clock over the time used by retention.
    pub fn clock_jumped(&self, ahead: Duration) {
        self.0.journal.clock_jump.set(ahead.as_secs_f64());
    }

    /// Marks the journal as poisoned: it accepts nothing until a restart.
    pub fn journal_poisoned(&self) {
        self.0.journal.conditions.poisoned.set(1);
    }

    /// Sets whether the current commit has taken too long.
    pub fn journal_hangs(&self, is_stuck: bool) {
        self.0.journal.conditions.stuck.set(i64::from(is_stuck));
    }

    /// Sets whether stored data could not be read since the start.
    pub fn journal_read_failed(&self, has_failed: bool) {
        self.0.journal.conditions.read_failed.set(i64::from(has_failed));
    }

    /// Sets whether a loss of committed events was found and not acknowledged yet.
    pub fn journal_lost(&self, is_lost: bool) {
        self.0.journal.conditions.lost.set(i64::from(is_lost));
    }
}
