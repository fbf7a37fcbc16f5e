//! Cost of idle streams and a large journal: memory, time to start, and an export beside live
//! readers.
//!
//! `cargo bench --bench streams` prints the rows of `docs/benchmarks.md`. It starts hubs on
//! temporary directories and takes some minutes; `-- --events N` sets the size of the journal.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures_util::StreamExt as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const STREAMS: usize = 100_000;
const EVENTS: usize = 10_000_000;
const PER_BODY: usize = 4_096;
const STARTS: usize = 5;

struct Hub {
    child: Child,
    url: String,
    ready_after: Duration,
}

impl Hub {
    fn start(data: &Path) -> Self {
        Self::with(data, &[])
    }

    fn with(data: &Path, flags: &[&str]) -> Self {
        let start = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .args(["--listen", "127.0.0.1:0", "--log", "warn", "--data-dir"])
            .arg(data)
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url, ready_after: start.elapsed() }
    }

    /// Returns the proportional set size, in bytes.
    fn memory(&self) -> u64 {
        let rollup = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = std::fs::read_to_string(rollup).unwrap();
        let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Returns the processor time used so far, in seconds.
    fn cpu_s(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", self.child.id())).unwrap();
        let process_ns: f64 = text.split(' ').next().unwrap().parse().unwrap();
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let task_ns = |path: std::path::PathBuf| -> f64 {
            let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0.0)
        };
        let tasks_ns: f64 = tasks.map(|task| task_ns(task.unwrap().path())).sum();
        tasks_ns.max(process_ns) / 1e9
    }

    async fn publish(&self, http: &reqwest::Client, body: String) {
        let request = http.post(format!("{}/publish", self.url));
        let request = request.header("Content-Type", "application/x-ndjson").body(body);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }

    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

async fn fill(hub: &Hub, http: &reqwest::Client, events: usize, streams: usize) -> Duration {
    let start = Instant::now();
    for first in (0..events).step_by(PER_BODY) {
        let body: String = (first..events.min(first + PER_BODY))
            .map(|n| {
                let stream = n % streams;
                format!("{{\"stream\":\"idle.{stream}\",\"data\":{{\"n\":{n},\"text\":\"something happened, and this says what\"}}}}\n")
            })
            .collect();
        hub.publish(http, body).await;
    }
    start.elapsed()
}

/// Starts a hub several times, and ends it by `kill -9` and in order, in turn. Returns the medians
/// in milliseconds until the hub listens and until a publish is answered.
async fn measure_starts(data: &Path, http: &reqwest::Client) -> (f64, f64) {
    let (mut ready, mut answered) = (Vec::new(), Vec::new());
    for n in 0..STARTS {
        let start = Instant::now();
        let hub = Hub::start(data);
        hub.publish(http, "{\"stream\":\"first\",\"data\":1}\n".into()).await;
        answered.push(start.elapsed().as_secs_f64() * 1e3);
        ready.push(hub.ready_after.as_secs_f64() * 1e3);
        if n % 2 == 0 { hub.kill() } else { hub.stop() }
    }
    (median(ready), median(answered))
}

/// Live readers beside an export, and the interval of the events that they are sent.
const LIVE_READERS: usize = 10;
const LIVE_EVERY: Duration = Duration::from_millis(5);
/// Rounds without and with an export, in turn.
const EXPORTS: usize = 3;

/// Result of an export.
struct ExportResult {
    events: usize,
    took: Duration,
    /// Peak memory of the hub during the export, above its memory before, in bytes.
    memory: u64,
}

/// Reads all events, as an export does.
async fn export(hub: &Hub, http: &reqwest::Client) -> ExportResult {
    let (before, start) = (hub.memory(), Instant::now());
    let query = "stream=idle.*&from=start&follow=false&format=ndjson&control=off";
    let url = format!("{}/events?{query}", hub.url);
    let response = http.get(url).send().await.unwrap();
    assert!(response.content_length().is_none(), "it comes in chunks");
    let (mut body, mut events, mut peak_bytes, mut last_check) =
        (response.bytes_stream(), 0, 0, start);
    while let Some(bytes) = body.next().await {
        events += memchr::memchr_iter(b'\n', &bytes.unwrap()).count();
        if last_check.elapsed() > Duration::from_millis(100) {
            (peak_bytes, last_check) = (peak_bytes.max(hub.memory()), Instant::now());
        }
    }
    ExportResult { events, took: start.elapsed(), memory: peak_bytes.saturating_sub(before) }
}

/// Publishes to live readers until `is_over`. Returns the median and the 99th percentile of the time
/// from before a publish until a reader has it, in milliseconds.
async fn measure_live_readers(
    hub: &Hub,
    http: &reqwest::Client,
    is_over: &AtomicBool,
) -> (f64, f64) {
    let start = Instant::now();
    let mut readers = Vec::new();
    for _ in 0..LIVE_READERS {
        let url = format!("{}/streams/live/events?format=text&control=off", hub.url);
        let mut body = http.get(url).send().await.unwrap().bytes_stream();
        readers.push(tokio::spawn(async move {
            let (mut delays, mut rest) = (Vec::new(), Vec::new());
            while let Some(bytes) = body.next().await {
                rest.extend_from_slice(&bytes.unwrap());
                while let Some(end) = memchr::memchr(b'\n', &rest) {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    match std::str::from_utf8(&line).unwrap().trim() {
                        "" => {}
                        "over" => return delays,
                        sent_at => {
                            let sent_at = Duration::from_micros(sent_at.parse().unwrap());
                            delays.push((start.elapsed() - sent_at).as_secs_f64() * 1e3);
                        }
                    }
                }
            }
            delays
        }));
    }
    let publish = async |data: String| {
        let request = http.post(format!("{}/streams/live/events", hub.url)).body(data);
        assert_eq!(request.send().await.unwrap().status(), 200);
    };
    let mut interval = tokio::time::interval(LIVE_EVERY);
    while !is_over.load(Ordering::Relaxed) {
        interval.tick().await;
        publish(start.elapsed().as_micros().to_string()).await;
    }
    publish("over".into()).await;
    let mut delays = Vec::new();
    for reader in readers {
        delays.extend(reader.await.unwrap());
    }
    delays.sort_by(f64::total_cmp);
    (delays[delays.len() / 2], delays[delays.len() * 99 / 100])
}

/// Measures live readers without and beside an export, in turn.
async fn measure_exports(data: &Path, http: &reqwest::Client, events: usize) {
    let hub = Hub::start(data);
    let (mut without_export, mut with_export, mut exported) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..EXPORTS {
        let is_over = AtomicBool::new(false);
        let run = async {
            let exported = export(&hub, http).await;
            is_over.store(true, Ordering::Relaxed);
            exported
        };
        let (delays, result) = tokio::join!(measure_live_readers(&hub, http, &is_over), run);
        assert_eq!(result.events, events, "an export has everything");
        let wait_as_long = async {
            tokio::time::sleep(result.took).await;
            is_over.store(true, Ordering::Relaxed);
        };
        with_export.push(delays);
        is_over.store(false, Ordering::Relaxed);
        let (delays, ()) = tokio::join!(measure_live_readers(&hub, http, &is_over), wait_as_long);
        without_export.push(delays);
        exported.push(result);
    }
    hub.stop();
    let medians = |delays: &[(f64, f64)]| {
        (median(delays.iter().map(|d| d.0).collect()), median(delays.iter().map(|d| d.1).collect()))
    };
    let (without_export, with_export) = (medians(&without_export), medians(&with_export));
    let rate = median(exported.iter().map(|e| e.events as f64 / e.took.as_secs_f64()).collect());
    let memory = exported.iter().map(|e| e.memory).max().unwrap_or_default() >> 20;
    println!("| | exported as NDJSON | {rate:.0} events/s, {memory} MiB of memory more at most |");
    println!(
        "| | {LIVE_READERS} live readers of 200 events/s, from the publish to the reader: alone | p50 {:.2} ms, p99 {:.2} ms |",
        without_export.0, without_export.1
    );
    println!(
        "| | and beside the export | p50 {:.2} ms, p99 {:.2} ms |",
        with_export.0, with_export.1
    );
}

/// Time for which an idle hub is measured, with and without the system monitor in turn.
const IDLE: Duration = Duration::from_secs(40);

/// Measures the cost of the system monitor: the share of a core that an idle hub uses with and
/// without it.
async fn measure_monitor() {
    let folder = tempfile::tempdir().unwrap();
    let mut shares = [Vec::new(), Vec::new()];
    for round in 0..6 {
        let flags = [&["--system", "2s"], &["--system", "off"]][round % 2];
        let hub = Hub::with(&folder.path().join(round.to_string()), flags);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (before, start) = (hub.cpu_s(), Instant::now());
        tokio::time::sleep(IDLE).await;
        let share = (hub.cpu_s() - before) / start.elapsed().as_secs_f64();
        shares[round % 2].push(share * 100.0);
        hub.stop();
    }
    let [with, without] = shares.map(median);
    println!(
        "| an idle hub | with the system monitor (`--system 2s`) / without | {with:.2} % / {without:.2} % of a core |"
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let events = args.iter().position(|a| a == "--events").map(|at| args[at + 1].parse().unwrap());
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    measure_monitor().await;

    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let hub = Hub::start(&data);
    hub.publish(&http, "{\"stream\":\"first\",\"data\":1}\n".into()).await;
    let before = hub.memory();
    fill(&hub, &http, STREAMS, STREAMS).await;
    let filled = hub.memory();
    hub.kill();
    // After a start nothing but the table of streams is in memory: no recent events, no memtables.
    Hub::start(&data).stop();
    let hub = Hub::start(&data);
    let idle = hub.memory();
    hub.stop();
    let (ready, answered) = measure_starts(&data, &http).await;
    let each = |bytes: u64| bytes.saturating_sub(before) / STREAMS as u64;
    println!("| {STREAMS} idle streams | memory per stream after a start | {} bytes |", each(idle));
    println!("| | memory per stream with one recent event each | {} bytes |", each(filled));
    println!(
        "| | start until listening / first publish answered | {ready:.0} ms / {answered:.0} ms |"
    );

    let events = events.unwrap_or(EVENTS);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let hub = Hub::start(&data);
    let took = fill(&hub, &http, events, 1_000).await;
    hub.kill();
    let (ready, answered) = measure_starts(&data, &http).await;
    println!(
        "| {events} events on 1000 streams | published one body of {PER_BODY} after the other, `sync` | {:.0} events/s |",
        events as f64 / took.as_secs_f64()
    );
    println!(
        "| | start until listening / first publish answered | {ready:.0} ms / {answered:.0} ms |"
    );
    measure_exports(&data, &http, events).await;
}
