//! Compares Fanfare with its peers in one run: `cargo bench --bench compare`.
//!
//! Servers run in turn, A B C A B C …, with the same client, payload and number of workers. The
//! report has medians, and medians of the ratios within a round, because machines are noisy. The
//! run installs missing packages of the peers (Debian packages as root, Python packages below
//! `target/`) and rewrites the tables of `docs/benchmarks.md` and the charts beside it.
//!
//! `-- --rounds N`, `--rows a,b`, `--servers a,b` run less; `--render` only rewrites the document.
//! To add a peer, add a file to `peers/`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod chart;
mod goals;
mod peer;
mod report;
mod rows;

use peer::Peer;
use rows::{OWN, ROWS};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROUNDS: usize = 5;
/// Workers of the hub and the floor, as of the peers that have workers.
const WORKERS: &str = "2";

/// All results, stored in `target/compare/results.json`.
#[derive(Default, Serialize, Deserialize)]
struct Results {
    date: String,
    machine: String,
    versions: BTreeMap<String, String>,
    /// Description of each peer.
    about: BTreeMap<String, String>,
    /// Additional arguments of `fanfare bench`, by row and server.
    #[serde(default)]
    args: BTreeMap<String, String>,
    /// Reports by row and server, one per round.
    runs: BTreeMap<String, Vec<Value>>,
}

struct Options {
    rounds: usize,
    rows: Option<Vec<String>>,
    servers: Option<Vec<String>>,
    render: bool,
}

fn parse_options() -> Options {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let index = args.iter().position(|arg| arg == name)?;
        Some(args.get(index + 1).unwrap_or_else(|| panic!("{name} needs a value")).clone())
    };
    let list = |name| value(name).map(|v| v.split(',').map(str::to_owned).collect());
    Options {
        rounds: value("--rounds").map_or(ROUNDS, |n| n.parse().expect("a number of rounds")),
        rows: list("--rows"),
        servers: list("--servers"),
        render: args.iter().any(|arg| arg == "--render"),
    }
}

fn main() {
    let options = parse_options();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = root.join("target/compare");
    std::fs::create_dir_all(&work).unwrap();
    let file = work.join("results.json");
    let mut results: Results = std::fs::read_to_string(&file)
        .map(|text| serde_json::from_str(&text).unwrap())
        .unwrap_or_default();
    if !options.render {
        // Servers with many connections need many open files; children inherit the limit.
        fanfare::cli::raise_file_limit();
        measure(&options, &work, &mut results);
        std::fs::write(&file, serde_json::to_string_pretty(&results).unwrap()).unwrap();
    }
    report::rewrite(root, &results);
}

fn measure(options: &Options, work: &Path, results: &mut Results) {
    let peers = Peer::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare/peers"));
    let is_selected = |list: &Option<Vec<String>>, name: &str| {
        list.as_ref().is_none_or(|names| names.iter().any(|n| n == name))
    };
    let peers: Vec<Peer> =
        peers.into_iter().filter(|peer| is_selected(&options.servers, &peer.name)).collect();
    results.date = today();
    results.machine = machine();
    for server in OWN {
        results.versions.insert(server.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    }
    peer::install(&peers, work);
    for peer in &peers {
        results.versions.insert(peer.name.clone(), peer.version(work));
        results.about.insert(peer.name.clone(), peer.about.clone());
    }
    for round in 0..options.rounds {
        for row in ROWS.iter().filter(|row| is_selected(&options.rows, row.name)) {
            let own_reports =
                row.own.iter().filter(|(name, _)| is_selected(&options.servers, name));
            let own_reports = own_reports
                .map(|(name, args)| (name.to_string(), args.join(" "), run_own(row.args, args)));
            let participants = peers.iter().filter(|p| p.rows.iter().any(|r| r == row.name));
            let peer_reports = participants.map(|peer| {
                let args = peer.args_of(row.name).join(" ");
                (peer.name.clone(), args, peer.run(work, row.name, row.args))
            });
            for (server, args, report) in own_reports.chain(peer_reports) {
                let key = format!("{}/{server}", row.name);
                results.args.insert(key.clone(), args);
                eprintln!("round {} {key}: {}", round + 1, short(&report));
                let reports = results.runs.entry(key).or_default();
                if round == 0 {
                    reports.clear();
                }
                reports.push(report);
            }
        }
    }
}

/// Runs `fanfare bench` and returns its report, also if the run had losses.
fn run_own(row: &[&str], args: &[&str]) -> Value {
    let (bench_args, hub_args) = match args.iter().position(|arg| *arg == "--") {
        Some(index) => (&args[..index], &args[index + 1..]),
        None => (args, &[][..]),
    };
    let hub_args = if bench_args.contains(&"--floor") {
        vec![]
    } else {
        [&["--", "--workers", WORKERS], hub_args].concat()
    };
    bench(
        [row, bench_args, &["--json"], &hub_args]
            .concat()
            .iter()
            .map(|a| (*a).to_owned())
            .collect(),
    )
}

fn bench(args: Vec<String>) -> Value {
    let output =
        Command::new(env!("CARGO_BIN_EXE_fanfare")).arg("bench").args(&args).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        panic!("bench {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr))
    })
}

/// Returns a summary of a report in one line, to show progress.
fn short(report: &Value) -> String {
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64);
    let format_value = |name: &str, path: &str| number(path).map(|n| format!("{name} {n:.2}"));
    let parts = [
        format_value("lost", "/deliveries/lost"),
        format_value("deliveries/s", "/deliveries/per_second"),
        format_value("publishes/s", "/publish/per_second"),
        format_value("CPU/delivery", "/used/cpu_us_per_delivery"),
        format_value("p99 ms", "/latency_ms/p99"),
        format_value("bytes/connection", "/used/pss_bytes_per_connection"),
        format_value("level ms", "/storm/level_after_ms"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn shell(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn today() -> String {
    shell("date +%F")
}

fn machine() -> String {
    let cpu = shell("grep -m1 'model name' /proc/cpuinfo | cut -d: -f2");
    let (cores, kernel) = (shell("nproc"), shell("uname -r | cut -d. -f1,2"));
    let memory = shell("awk '/MemTotal/ {printf \"%.0f\", $2/1048576}' /proc/meminfo");
    format!("{cores} cores ({cpu}, virtual), {memory} GiB of memory, Linux {kernel}")
}

/// Returns the path of the Python environment of the peers.
fn venv(work: &Path) -> PathBuf {
    work.join("venv")
}
