//! `fanfare bench` reports the faults of a server, and none of a correct one.

use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn bench(args: &[&str]) -> Output {
    Command::new(crate::hub::program())
        .arg("bench")
        .args(args)
        .args(["--settle", "100ms"])
        .output()
        .unwrap()
}

fn report(args: &[&str]) -> (bool, Value) {
    let with_json: Vec<&str> = ["--json"].iter().chain(args).copied().collect();
    let output = bench(&with_json);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        panic!("{e}: {}", String::from_utf8_lossy(&output.stderr));
    });
    (output.status.success(), report)
}

#[test]
fn each_scenario_starts_a_hub_and_finds_no_fault() {
    let small: [(&str, &[&str]); 7] = [
        ("paced", &["--subscribers", "20", "--rate", "100", "--events", "50"]),
        ("saturated", &["--subscribers", "20", "--publishers", "4", "--events", "500"]),
        ("idle", &["--subscribers", "30", "--duration", "1s"]),
        ("storm", &["--subscribers", "30", "--missed", "40"]),
        ("churn", &["--subscribers", "10", "--visit", "2", "--rate", "200", "--events", "100"]),
        (
            "many-streams",
            &[
                "--streams",
                "100",
                "--subscribers",
                "20",
                "--streams-per-subscriber",
                "10",
                "--rate",
                "500",
                "--events",
                "300",
            ],
        ),
        ("publish", &["--publishers", "8", "--events", "400"]),
    ];
    for (scenario, args) in small {
        let args: Vec<&str> = [scenario].iter().chain(args).copied().collect();
        let (success, report) = report(&args);
        assert!(success, "{report}");
        assert_eq!(report["scenario"], scenario);
        let received = report["deliveries"]["received"].as_u64().unwrap();
        let published = report["publish"]["acknowledged"].as_u64().unwrap_or(0);
        match scenario {
            "paced" => assert_eq!((published, received), (50, 50 * 20)),
            "saturated" => assert_eq!((published, received), (500, 500 * 20)),
            "idle" => assert!(report["used"]["pss_bytes_per_connection"].is_f64(), "{report}"),
            "storm" => {
                assert_eq!(received, 41 * 30);
                assert!(report["storm"]["level_after_ms"].as_f64().unwrap() > 0.0);
            }
            "churn" => assert!(report["churn"]["visits"].as_u64().unwrap() > 10, "{report}"),
            "many-streams" => assert_eq!((published, received), (300, 300 * 2)),
            _ => assert_eq!((published, received), (400, 0)),
        }
        if received > 0 && scenario != "storm" {
            assert!(report["latency_ms"]["p50"].as_f64().unwrap() > 0.0, "{report}");
        }
    }
}

#[test]
fn stuck_readers_do_not_cost_other_readers_events() {
    let (success, report) = report(&["--subscribers", "20", "--stuck", "5", "--events", "50"]);
    assert!(success, "{report}");
    assert_eq!(report["deliveries"]["received"], 50 * 15);
}

#[test]
fn slow_clients_cost_no_deliveries_and_unfinished_heads_are_closed() {
    let (success, report) =
        report(&["slow", "--subscribers", "20", "--slow", "60", "--duration", "9s"]);
    assert!(success, "{report}");
    let published = report["publish"]["acknowledged"].as_u64().unwrap();
    assert_eq!(report["deliveries"]["received"], published * 20);
    // A third of them never end their head; each reconnects once before the end.
    let closed = report["slow_closed"].as_u64().unwrap();
    assert!((20..=80).contains(&closed), "{closed}");
}

#[test]
fn the_floor_server_delivers_every_event() {
    let (success, report) =
        report(&["saturated", "--floor", "2", "--subscribers", "20", "--events", "400"]);
    assert!(success, "{report}");
    assert_eq!(report["deliveries"]["received"], 400 * 20);
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    Loses,
    Repeats,
    Swaps,
    /// Answers every publish after [`SLOW`].
    Slow,
}

/// Time that a slow server takes for a publish.
const SLOW: Duration = Duration::from_millis(50);

/// State of a faulty server: its readers, the number of events so far, and a delayed event.
#[derive(Default)]
struct FaultyServer {
    readers: Vec<TcpStream>,
    events: usize,
    delayed: Option<String>,
}

impl FaultyServer {
    /// Sends an event to all readers; applies the fault to the third event.
    fn publish(&mut self, event: String, fault: Fault) {
        self.events += 1;
        let frames = match (self.events, fault) {
            (3, Fault::Loses) => vec![],
            (3, Fault::Repeats) => vec![event.clone(), event],
            (3, Fault::Swaps) => {
                self.delayed = Some(event);
                vec![]
            }
            _ => [Some(event), self.delayed.take()].into_iter().flatten().collect(),
        };
        for frame in frames {
            for reader in &mut self.readers {
                write!(reader, "data: {frame}\r\n\r\n").unwrap();
            }
        }
    }
}

/// Starts a server with one fault, which runs as long as the test process; returns its URL.
fn faulty_server(fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let state = Arc::new(Mutex::new(FaultyServer::default()));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let state = state.clone();
            std::thread::spawn(move || serve(stream.unwrap(), &state, fault));
        }
    });
    url
}

fn serve(mut stream: TcpStream, state: &Mutex<FaultyServer>, fault: Fault) {
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut request_line = String::new();
    while lines.read_line(&mut request_line).unwrap_or(0) > 0 {
        let (mut length, mut line) = (0, String::new());
        while lines.read_line(&mut line).unwrap() > 2 {
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        if request_line.starts_with("GET") {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            state.lock().unwrap().readers.push(stream);
            return;
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body).unwrap();
        if fault == Fault::Slow {
            std::thread::sleep(SLOW);
        }
        state.lock().unwrap().publish(String::from_utf8(body).unwrap(), fault);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        request_line.clear();
    }
}

#[test]
fn lost_duplicated_and_reordered_events_are_reported() {
    for (fault, lost, duplicated, reordered) in [
        (Fault::None, 0, 0, 0),
        (Fault::Loses, 5, 0, 0),
        (Fault::Repeats, 0, 5, 0),
        (Fault::Swaps, 0, 0, 5),
    ] {
        let url = faulty_server(fault);
        let (success, report) = report(&[
            "--subscribe-url",
            &url,
            "--publish-url",
            &url,
            "--subscribers",
            "5",
            "--events",
            "20",
        ]);
        assert_eq!(success, fault == Fault::None, "{fault:?}: {report}");
        let deliveries = &report["deliveries"];
        assert_eq!(
            (&deliveries["lost"], &deliveries["duplicated"], &deliveries["reordered"]),
            (&lost.into(), &duplicated.into(), &reordered.into()),
            "{fault:?}: {report}"
        );
    }
}

#[test]
fn latency_includes_the_time_that_a_publish_waits_to_be_sent() {
    let url = faulty_server(Fault::Slow);
    let (_, report) = report(&[
        "--subscribe-url",
        &url,
        "--publish-url",
        &url,
        "--subscribers",
        "2",
        "--rate",
        "100",
        "--events",
        "20",
    ]);
    // The tenth event is due after 90 ms, but ten publishes take `10 * SLOW`.
    let min_ms = SLOW.as_secs_f64() * 1e3 * 10.0 - 90.0;
    assert!(report["latency_ms"]["p50"].as_f64().unwrap() >= min_ms, "{report}");
    assert!(report["publish"]["answer_ms"]["p50"].as_f64().unwrap() >= min_ms, "{report}");
}

#[test]
fn an_interrupted_bench_ends_its_hub_and_cleans_up_unless_killed() {
    let folder = tempfile::tempdir().unwrap();
    for (signal, cleans_up) in [(Signal::INT, true), (Signal::TERM, true), (Signal::KILL, false)] {
        let mut bench = Command::new(crate::hub::program())
            .args(["bench", "idle", "--subscribers", "1", "--duration", "10m"])
            .env("TMPDIR", folder.path())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&bench);
        let hub =
            eventually(|| child_of(pid).filter(|hub| command_of(*hub).contains("--data-dir")));
        rustix::process::kill_process(pid, signal).unwrap();
        assert!(!bench.wait().unwrap().success());
        eventually(|| (!command_of(hub).contains("--data-dir")).then_some(()));
        let remaining = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(remaining == 0, cleans_up, "{signal:?}");
    }
}

/// The kernel sends no signal for a parent that exited before the signal was requested.
#[test]
fn a_child_of_an_exited_bench_does_not_start() {
    let output = Command::new(crate::hub::program())
        .args(["bench-child", "1", "--", "echo", "it runs"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert!(String::from_utf8_lossy(&output.stderr).contains("has exited"));
}

fn eventually<T>(mut find: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(30) {
        if let Some(found) = find() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it did not happen in time");
}

fn child_of(parent: Pid) -> Option<u32> {
    let parent = parent.as_raw_nonzero();
    let children = format!("/proc/{parent}/task/{parent}/children");
    std::fs::read_to_string(children).ok()?.split_whitespace().next()?.parse().ok()
}

/// Returns the command line of a process; empty if the process is gone.
fn command_of(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

#[test]
fn a_bench_that_cannot_run_reports_the_reason() {
    for (args, reason) in [
        (&["--subscribers", "1000000000"][..], "open files"),
        (&["--rate", "often"], "--rate"),
        (
            &["--subscribe-url", "http://127.0.0.1:1/", "--publish-url", "http://127.0.0.1:1/"],
            "no subscriber was admitted: Connection refused",
        ),
        (&["publish", "--publish-url", "http://127.0.0.1:1/"], "no publish"),
        (&["--", "--durability", "eternal"], "did not start"),
    ] {
        let output = bench(args);
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(reason), "{args:?}: {error}");
    }
}
