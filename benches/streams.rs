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
        let began = Instant::now();
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
        Self { child, url, ready_after: began.elapsed() }
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
        let of_main: f64 = text.split(' ').next().unwrap().parse().unwrap();
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let of = |path: std::path::PathBuf| -> f64 {
            let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0.0)
        };
        let all: f64 = tasks.map(|task| of(task.unwrap().path())).sum();
        all.max(of_main) / 1e9
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
    let began = Instant::now();
    for first in (0..events).step_by(PER_BODY) {
        let body: String = (first..events.min(first + PER_BODY))
            .map(|n| {
                let stream = n % streams;
                format!("{{\"stream\":\"idle.{stream}\",\"data\":{{\"n\":{n},\"text\":\"something happened, and this says what\"}}}}\n")
            })
            .collect();
        hub.publish(http, body).await;
    }
    began.elapsed()
}

/// Starts a hub several times, and ends it by `kill -9` and in order, in turn. Returns the medians
/// in milliseconds until the hub listens and until a publish is answered.
async fn starts(data: &Path, http: &reqwest::Client) -> (f64, f64) {
    let (mut ready, mut answered) = (Vec::new(), Vec::new());
    for n in 0..STARTS {
        let began = Instant::now();
        let hub = Hub::start(data);
        hub.publish(http, "{\"stream\":\"first\",\"data\":1}\n".into()).await;
        answered.push(began.elapsed().as_secs_f64() * 1e3);
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
struct Exported {
    events: usize,
    took: Duration,
    /// Peak memory of the hub during the export, above its memory before, in bytes.
    memory: u64,
}

/// Reads all events, as an export does.
async fn export(hub: &Hub, http: &reqwest::Client) -> Exported {
    let (before, began) = (hub.memory(), Instant::now());
    let query = "stream=idle.*&from=start&follow=false&format=ndjson&control=off";
    let url = format!("{}/events?{query}", hub.url);
    let answer = http.get(url).send().await.unwrap();
    assert!(answer.content_length().is_none(), "it comes in chunks");
    let (mut body, mut events, mut most, mut looked) = (answer.bytes_stream(), 0, 0, began);
    while let Some(bytes) = body.next().await {
        events += memchr::memchr_iter(b'\n', &bytes.unwrap()).count();
        if looked.elapsed() > Duration::from_millis(100) {
            (most, looked) = (most.max(hub.memory()), Instant::now());
        }
    }
    Exported { events, took: began.elapsed(), memory: most.saturating_sub(before) }
}

/// Publishes to live readers until `over`. Returns the median and the 99th percentile of the time
/// from before a publish until a reader has it, in milliseconds.
async fn live(hub: &Hub, http: &reqwest::Client, over: &AtomicBool) -> (f64, f64) {
    let began = Instant::now();
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
                        sent => {
                            let sent = Duration::from_micros(sent.parse().unwrap());
                            delays.push((began.elapsed() - sent).as_secs_f64() * 1e3);
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
    let mut due = tokio::time::interval(LIVE_EVERY);
    while !over.load(Ordering::Relaxed) {
        due.tick().await;
        publish(began.elapsed().as_micros().to_string()).await;
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
async fn exports(data: &Path, http: &reqwest::Client, events: usize) {
    let hub = Hub::start(data);
    let (mut alone, mut beside, mut exported) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..EXPORTS {
        let over = AtomicBool::new(false);
        let run = async {
            let exported = export(&hub, http).await;
            over.store(true, Ordering::Relaxed);
            exported
        };
        let (delays, one) = tokio::join!(live(&hub, http, &over), run);
        assert_eq!(one.events, events, "an export has everything");
        let wait = async {
            tokio::time::sleep(one.took).await;
            over.store(true, Ordering::Relaxed);
        };
        beside.push(delays);
        over.store(false, Ordering::Relaxed);
        let (delays, ()) = tokio::join!(live(&hub, http, &over), wait);
        alone.push(delays);
        exported.push(one);
    }
    hub.stop();
    let of = |delays: &[(f64, f64)]| {
        (median(delays.iter().map(|d| d.0).collect()), median(delays.iter().map(|d| d.1).collect()))
    };
    let (alone, beside) = (of(&alone), of(&beside));
    let rate = median(exported.iter().map(|e| e.events as f64 / e.took.as_secs_f64()).collect());
    let memory = exported.iter().map(|e| e.memory).max().unwrap_or_default() >> 20;
    println!("| | exported as NDJSON | {rate:.0} events/s, {memory} MiB of memory more at most |");
    println!(
        "| | {LIVE_READERS} live readers of 200 events/s, from the publish to the reader: alone | p50 {:.2} ms, p99 {:.2} ms |",
        alone.0, alone.1
    );
    println!("| | and beside the export | p50 {:.2} ms, p99 {:.2} ms |", beside.0, beside.1);
}

/// Time for which an idle hub is measured, with and without the system monitor in turn.
const IDLE: Duration = Duration::from_secs(40);

/// Measures the cost of the system monitor: the share of a core that an idle hub uses with and
/// without it.
async fn monitor() {
    let folder = tempfile::tempdir().unwrap();
    let mut shares = [Vec::new(), Vec::new()];
    for round in 0..6 {
        let flags = [&["--system", "2s"], &["--system", "off"]][round % 2];
        let hub = Hub::with(&folder.path().join(round.to_string()), flags);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (before, began) = (hub.cpu_s(), Instant::now());
        tokio::time::sleep(IDLE).await;
        let share = (hub.cpu_s() - before) / began.elapsed().as_secs_f64();
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
    monitor().await;

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
    let (ready, answered) = starts(&data, &http).await;
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
    let (ready, answered) = starts(&data, &http).await;
    println!(
        "| {events} events on 1000 streams | published one body of {PER_BODY} after the other, `sync` | {:.0} events/s |",
        events as f64 / took.as_secs_f64()
    );
    println!(
        "| | start until listening / first publish answered | {ready:.0} ms / {answered:.0} ms |"
    );
    exports(&data, &http, events).await;
}
