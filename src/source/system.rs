//! The system monitor: publishes the state of this machine on the stream `system`.
//!
//! A sample is a `metric` event for each figure that a dashboard draws, and a `status` event with
//! all figures. They are published in one commit, with the figures of the hub on `hub.stats`.

use super::hub_stats::Recorder;
use super::own_streams::{STATS_STREAM, SYSTEM_STREAM};
use super::supervisor::SourceHandle;
use crate::event::{Draft, EventType, StreamName, Timestamp};
use crate::source::error::SourceError;
use crate::telemetry::Telemetry;
use serde::Serialize;
use serde_json::value::to_raw_value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, Networks, RefreshKind, System};

/// Data of a `status` event.
#[derive(Serialize)]
struct HostStatus {
    timestamp: String,
    /// Seconds since the machine was started.
    uptime: u64,
    /// Usage of all cores together, and of each core.
    cpu_percent: f64,
    cpu_percent_per_core: Vec<f64>,
    memory_percent: f64,
    memory_used_bytes: u64,
    memory_total_bytes: u64,
    /// Usage of the disk with the journal.
    disk_percent: f64,
    disk_used_bytes: u64,
    disk_total_bytes: u64,
    /// Bytes of all interfaces except loopback, since the start of the machine.
    network_io: NetworkIo,
    process_count: u64,
    /// Averages over one, five and fifteen minutes.
    load_average: [f64; 3],
}

#[derive(Serialize, Clone, Copy, Default)]
struct NetworkIo {
    bytes_sent: u64,
    bytes_received: u64,
    packets_sent: u64,
    packets_received: u64,
    errors_sent: u64,
    errors_received: u64,
}

/// Reads the state of the machine.
struct Monitor {
    system: System,
    networks: Networks,
    disk: PathBuf,
    /// Network counters of the last sample.
    before: Option<NetworkIo>,
}

/// Publishes the state of the machine and of the hub at an interval. `disk` is a path on the disk
/// to report.
pub async fn watch(
    feed: SourceHandle,
    every: Duration,
    disk: PathBuf,
    telemetry: Telemetry,
) -> Result<(), SourceError> {
    let (system, hub_stats) = (feed.own_stream(SYSTEM_STREAM)?, feed.own_stream(STATS_STREAM)?);
    let mut monitor = Monitor::new(disk);
    let mut recorder = Recorder::default();
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // CPU usage is a difference, so an interval must pass before the first sample.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        // Sampling reads files, which may block.
        let looked = tokio::task::spawn_blocking(move || {
            let status = monitor.look();
            (monitor, status)
        });
        let (looked, (status, sent, received)) = looked.await?;
        monitor = looked;
        let traffic = [sent, received].map(|bytes| rounded(bytes as f64 / every.as_secs_f64()));
        let mut drafts = drafts(&system, &status, traffic, feed.now())?;
        if let Some(stats) = recorder.look(&telemetry, Instant::now()) {
            drafts.push(draft(&hub_stats, "status", &stats, feed.now())?);
        }
        // A refused sample is not published again: the next one replaces it.
        let _ = feed.publish(drafts).await;
    }
}

impl Monitor {
    fn new(disk: PathBuf) -> Self {
        let cpu = CpuRefreshKind::nothing().with_cpu_usage();
        let kinds = RefreshKind::nothing().with_cpu(cpu);
        let system = System::new_with_specifics(kinds);
        Self { system, networks: Networks::new_with_refreshed_list(), disk, before: None }
    }

    /// Returns the state, and the bytes sent and received since the last sample.
    fn look(&mut self) -> (HostStatus, u64, u64) {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        self.networks.refresh(true);
        let (used, total) = (self.system.used_memory(), self.system.total_memory());
        let (disk_used, disk_total) = disk(&self.disk);
        let network = self.network();
        let before = self.before.replace(network).unwrap_or(network);
        let load = System::load_average();
        let status = HostStatus {
            timestamp: crate::journal::now().to_string(),
            uptime: System::uptime(),
            cpu_percent: rounded(f64::from(self.system.global_cpu_usage())),
            cpu_percent_per_core: self
                .system
                .cpus()
                .iter()
                .map(|cpu| rounded(f64::from(cpu.cpu_usage())))
                .collect(),
            memory_percent: percent(used, total),
            memory_used_bytes: used,
            memory_total_bytes: total,
            disk_percent: percent(disk_used, disk_total),
            disk_used_bytes: disk_used,
            disk_total_bytes: disk_total,
            network_io: network,
            process_count: crate::platform::process_count(),
            load_average: [load.one, load.five, load.fifteen],
        };
        let sent = network.bytes_sent.saturating_sub(before.bytes_sent);
        (status, sent, network.bytes_received.saturating_sub(before.bytes_received))
    }

    fn network(&self) -> NetworkIo {
        let others = self.networks.iter().filter(|(name, _)| *name != "lo");
        others.fold(NetworkIo::default(), |sum, (_, one)| NetworkIo {
            bytes_sent: sum.bytes_sent + one.total_transmitted(),
            bytes_received: sum.bytes_received + one.total_received(),
            packets_sent: sum.packets_sent + one.total_packets_transmitted(),
            packets_received: sum.packets_received + one.total_packets_received(),
            errors_sent: sum.errors_sent + one.total_errors_on_transmitted(),
            errors_received: sum.errors_received + one.total_errors_on_received(),
        })
    }
}

/// Returns the used and total bytes of the disk that `path` is on. Space that is reserved for root
/// counts as used.
fn disk(path: &Path) -> (u64, u64) {
    let Ok(stat) = rustix::fs::statvfs(path) else { return (0, 0) };
    let total = stat.f_blocks.saturating_mul(stat.f_frsize);
    (total.saturating_sub(stat.f_bavail.saturating_mul(stat.f_frsize)), total)
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { rounded(100.0 * part as f64 / whole as f64) }
}

/// Rounds to hundredths: more is noise.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Returns the events of a sample. `traffic` is what was sent and received, in bytes per second.
fn drafts(
    stream: &StreamName,
    status: &HostStatus,
    traffic: [f64; 2],
    now: Timestamp,
) -> Result<Vec<Draft>, SourceError> {
    #[derive(Serialize)]
    struct Metric<'a> {
        name: &'a str,
        value: f64,
        unit: &'a str,
        timestamp: &'a str,
    }
    let [sent, received] = traffic;
    let metrics = [
        ("cpu_percent", status.cpu_percent, "percent"),
        ("memory_percent", status.memory_percent, "percent"),
        ("disk_percent", status.disk_percent, "percent"),
        ("network_sent", sent, "bytes/s"),
        ("network_received", received, "bytes/s"),
        ("process_count", status.process_count as f64, "processes"),
        ("load_average", status.load_average[0], "processes"),
    ];
    let mut drafts = Vec::with_capacity(metrics.len() + 1);
    for (name, value, unit) in metrics {
        let metric = Metric { name, value, unit, timestamp: &status.timestamp };
        drafts.push(draft(stream, "metric", &metric, now)?);
    }
    drafts.push(draft(stream, "status", status, now)?);
    Ok(drafts)
}

/// Returns an event with serialized data.
fn draft(
    stream: &StreamName,
    kind: &str,
    data: &impl Serialize,
    now: Timestamp,
) -> Result<Draft, SourceError> {
    Ok(Draft::from_json(vec![stream.clone()], EventType::parse(kind)?, &to_raw_value(data)?, now)?)
}
