//! The command line against real hubs: piped data arrives complete.

use crate::hub::{Hub, TEST_TIMEOUT, is_full_run};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn fanfare(hub: &Hub, args: &[&str]) -> Command {
    let mut command = Command::new(crate::hub::program());
    command.args(args).env("FANFARE_URL", hub.url("")).stdin(Stdio::null());
    command
}

/// Runs a command to its end; returns its exit code, stdout and stderr.
fn run_command(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn stdout_of(command: Command) -> String {
    let (code, stdout, stderr) = run_command(command);
    assert_eq!(code, 0, "{stderr}");
    stdout
}

/// Runs a command with `input` on its stdin.
fn run_with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    output
}

/// A child process that is killed at the end of the test, even if the test fails.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn wait_until(condition: &str, mut is_true: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_true() {
        assert!(started.elapsed() < TEST_TIMEOUT * 5, "timed out waiting for: {condition}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn events_are_published_and_shown_in_each_format() {
    let hub = Hub::start(&[]).await;
    let id = stdout_of(fanfare(&hub, &["publish", "a", "hello\nyou", "--key", "k"]));
    assert_eq!(
        stdout_of(fanfare(&hub, &["publish", "a", "hello\nyou", "--key", "k"])),
        id,
        "same id"
    );
    let metric = br#"{"name":"cpu","value":1.50}"#;
    let json = fanfare(&hub, &["publish", "a", "--json", "--type", "metric"]);
    assert!(run_with_input(json, metric).status.success());
    let tail = |args: &[&str]| {
        let base_args = ["tail", "a", "--from", "start", "--no-follow"];
        stdout_of(fanfare(&hub, &[&base_args, args].concat()))
    };
    assert_eq!(tail(&["--format", "text", "--types", "message"]), "hello\\nyou\n");
    let pretty = tail(&[]);
    assert!(pretty.contains("Z a hello\n    you\n") && pretty.contains(" a cpu = 1.5"), "{pretty}");
    assert!(!pretty.contains('\x1b') && tail(&["--color", "always"]).contains("\x1b[36ma\x1b[0m"));
    let lines = tail(&["--format", "ndjson"]);
    let lines: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines[0]["id"], id.trim());
    assert_eq!(lines[0]["data"], "hello\nyou");
    assert_eq!(lines[1]["data"]["name"], "cpu");
    let listed = stdout_of(fanfare(&hub, &["streams", "--json"]));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(json!([listed["name"], listed["events"]]), json!(["a", 2]));
    assert!(stdout_of(fanfare(&hub, &["streams"])).lines().nth(1).unwrap().ends_with("  a"));
}

#[tokio::test]
async fn exit_codes_identify_errors_and_a_closed_pipe_is_a_success() {
    let secret = "a secret of the test";
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    let digest = "9f1b3bb8f5ae28c4ad4d9d1d9b8c1c8a0b9a0a4d8e3f6b2c1d0e9f8a7b6c5d4e";
    let key = format!("[[key]]\nname = \"k\"\nsha256 = \"{digest}\"\npublish = [\"a\"]\n");
    std::fs::write(&config, key).unwrap();
    let protected = Hub::start(&["--config", config.to_str().unwrap()]).await;
    let mut command = fanfare(&protected, &["publish", "a", "x"]);
    command.env("FANFARE_TOKEN", secret);
    let (code, _, stderr) = run_command(command);
    assert!(
        code == 4 && stderr.contains("Authentication required") && !stderr.contains(secret),
        "{code}: {stderr}"
    );
    let hub = Hub::start(&[]).await;
    let (code, _, stderr) = run_command(fanfare(&hub, &["publish", "a b", "x"]));
    assert!(code == 2 && stderr.contains("must not contain"), "{code}: {stderr}");
    for args in [
        &["publish"][..],
        &["run", "--stream", "a b", "--", "true"],
        &["tail", "a**"],
        &["tail", "a", "--last", "many"],
        &["tail", "a", "--since", "2026-13-01"],
        &["streams", "--url", "ftp://localhost"],
        &["export", "a", "--wait", "long"],
    ] {
        let (code, _, stderr) = run_command(fanfare(&hub, args));
        assert_eq!(code, 2, "{args:?}: {stderr}");
    }
    let mut unreachable = fanfare(&hub, &["publish", "a", "x"]);
    unreachable.env("FANFARE_URL", "http://127.0.0.1:9");
    let (code, _, stderr) = run_command(unreachable);
    assert!(code == 3 && stderr.contains("cannot reach the hub"), "{code}: {stderr}");
    let lines = fanfare(&hub, &["publish", "a", "--lines", "--json"]);
    let output = run_with_input(lines, b"1\n2\n{\n4\n");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && stderr.contains("line 3 is not valid JSON"),
        "{stderr}"
    );
    let large = [&b"small\n"[..], &b"x".repeat(300 * 1024), b"\n"].concat();
    let output = run_with_input(fanfare(&hub, &["publish", "b", "--lines"]), &large);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(4) && stderr.contains("line 2"), "{stderr}");
    let many: Vec<Value> = (0..4_000).map(|n| json!({ "stream": "c", "data": n })).collect();
    hub.post("/publish", Value::Array(many)).await;
    let mut child = fanfare(&hub, &["export", "c"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let status = child.wait().unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(status.success() && stderr.is_empty(), "{status}: {stderr}");
}

/// Pipes lines through a hub to three readers while the hub is killed twice.
#[tokio::test]
async fn piped_lines_arrive_once_and_in_order_although_the_hub_is_killed() {
    let lines = if is_full_run() { 1_000_000 } else { 60_000 };
    let mut hub = Hub::start(&["--max-body-bytes", "2MiB"]).await;
    hub.keep_address();
    let folder = tempfile::tempdir().unwrap();
    let tail = |n: usize| {
        let file = folder.path().join(n.to_string());
        let mut command =
            fanfare(&hub, &["tail", "piped.*", "--from", "start", "--format", "text"]);
        let errors = File::create(folder.path().join(format!("{n}.err"))).unwrap();
        let child = command.stdout(File::create(&file).unwrap()).stderr(errors).spawn().unwrap();
        (KillOnDrop(child), file)
    };
    let tails: Vec<(KillOnDrop, std::path::PathBuf)> = (0..3).map(tail).collect();
    let publish = fanfare(&hub, &["publish", "piped.lines", "--lines"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut publish = KillOnDrop(publish.unwrap());
    let mut stdin = publish.0.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        for n in 0..lines {
            writeln!(stdin, "line {n}").unwrap();
        }
    });
    let bytes = |path: &Path| path.metadata().map_or(0, |file| file.len());
    let total_bytes: u64 = (0..lines).map(|n| format!("line {n}\n").len() as u64).sum();
    for divisor in [5, 2] {
        let part_bytes = total_bytes / divisor;
        wait_until("a part is there", || bytes(&tails[0].1) > part_bytes / 2).await;
        hub.kill();
        hub.restart().await;
    }
    wait_until("all is there", || tails.iter().all(|(_, file)| bytes(file) >= total_bytes)).await;
    writer.join().unwrap();
    assert!(publish.0.wait().unwrap().success());
    for (_, file) in &tails {
        let mut count = 0;
        for line in BufReader::new(File::open(file).unwrap()).lines() {
            assert_eq!(line.unwrap(), format!("line {count}"));
            count += 1;
        }
        assert_eq!(count, lines);
    }
}

#[tokio::test]
#[ignore = "needs python3"]
async fn run_shows_and_publishes_output_and_keeps_the_exit_code() {
    let hub = Hub::start(&[]).await;
    let script = "import sys, time\nprint('slowly')\ntime.sleep(0.2)\n\
                  print('WARN: oh', file=sys.stderr)\nprint('half', end='')\nsys.exit(3)";
    let run = ["run", "--stream", "builds.1", "--end", "--", "python3", "-c", script];
    let (code, stdout, stderr) = run_command(fanfare(&hub, &run));
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (3, "slowly\nhalf", "WARN: oh\n"));
    let tail = ["tail", "builds.1", "--from", "start", "--format", "ndjson"];
    let (code, stdout, _) = run_command(fanfare(&hub, &tail));
    assert_eq!(code, 0, "the stream has ended, and so does its tail");
    let events: Vec<Value> = stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let summary = |event: &Value| {
        let data = &event["data"];
        json!([event["type"], data["level"], data["message"], data["fields"]["output"]])
    };
    let mut logs: Vec<Value> = events[..3].iter().map(summary).collect();
    logs.sort_by_key(Value::to_string);
    let expected = [
        json!(["log", "info", "half", "stdout"]),
        json!(["log", "info", "slowly", "stdout"]),
        json!(["log", "warn", "WARN: oh", "stderr"]),
    ];
    assert_eq!(logs, expected);
    assert_eq!(json!([events[3]["type"], events[3]["data"]["code"]]), json!(["exit", 3]));
    let (code, _, stderr) =
        run_command(fanfare(&hub, &["run", "--stream", "b", "--", "/no/such/thing"]));
    assert!(code == 127 && stderr.contains("/no/such/thing"), "{code}: {stderr}");
    let killed = ["run", "--stream", "b", "--", "sh", "-c", "kill -9 $$"];
    assert_eq!(run_command(fanfare(&hub, &killed)).0, 137);
}

#[tokio::test]
async fn run_does_not_wait_for_an_unreachable_hub_and_spools_events() {
    const LINES: usize = 2_000;
    let mut hub = Hub::start(&[]).await;
    hub.keep_address();
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().to_str().unwrap().to_owned();
    hub.kill();
    let script = format!("for n in $(seq {LINES}); do echo $n; done");
    let run = ["run", "--stream", "s", "--wait", "100ms", "--spool", &spool, "--"];
    let run = [&run[..], &["sh", "-c", &script]].concat();
    let (code, stdout, stderr) = run_command(fanfare(&hub, &run));
    assert_eq!((code, stdout.lines().count()), (0, LINES));
    assert!(stderr.contains(&format!("{} events were not published", LINES + 1)), "{stderr}");
    let spool_files: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(spool_files.len(), 1);
    hub.restart().await;
    for _ in 0..2 {
        stdout_of(fanfare(&hub, &["import", spool_files[0].to_str().unwrap()]));
    }
    let text = stdout_of(fanfare(
        &hub,
        &["tail", "s", "--no-follow", "--from", "start", "--types", "log"],
    ));
    assert_eq!(text.lines().count(), LINES, "once, though it was imported twice");
}

#[tokio::test]
async fn history_moves_from_one_hub_to_another() {
    let (source, target) = (Hub::start(&["--recent-bytes", "64KiB"]).await, Hub::start(&[]).await);
    let many: Vec<Value> = (0..3_000)
        .map(|n| json!({ "stream": ["a", "b.x"], "type": "t", "data": { "n": n, "s": "é\n" } }))
        .collect();
    source.post("/publish", Value::Array(many)).await;
    source.publish("c", "text").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("export.ndjson");
    let file = file.to_str().unwrap();
    stdout_of(fanfare(&source, &["export", "**", "-o", file]));
    let (_, _, stderr) = run_command(fanfare(&target, &["import", file]));
    assert_eq!(stderr, "fanfare: published 3001 events\n");
    let exported = std::fs::read(file).unwrap();
    let repeated = run_with_input(fanfare(&target, &["import", "-"]), &exported);
    assert!(repeated.status.success(), "repeated from a pipe");
    let stderr = String::from_utf8(repeated.stderr).unwrap();
    assert_eq!(stderr, "fanfare: published 0 events; 3001 were published before\n");
    let events = |hub: &Hub| -> Vec<Value> {
        let text = stdout_of(fanfare(hub, &["export", "**"]));
        let event = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap();
            json!([event["stream"], event["type"], event["data"]])
        };
        text.lines().map(event).collect()
    };
    assert_eq!(events(&source).len(), 3_001);
    assert_eq!(events(&target), events(&source));
    let table = stdout_of(fanfare(
        &target,
        &["export", "a", "--format", "csv", "--columns", "n", "-n", "2"],
    ));
    assert_eq!(table, "n\r\n2998\r\n2999\r\n");
}

#[tokio::test]
async fn completions_and_manuals_cover_every_subcommand() {
    let hub = Hub::start(&[]).await;
    for shell in ["bash", "zsh", "fish"] {
        let text = stdout_of(fanfare(&hub, &["completions", shell]));
        assert!(text.contains("export") && text.contains("no-follow"), "{shell}");
    }
    assert!(stdout_of(fanfare(&hub, &["man"])).contains("fanfare\\-publish(1)"));
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man1");
    stdout_of(fanfare(&hub, &["man", "--folder", pages.to_str().unwrap()]));
    assert!(pages.join("fanfare-tail.1").exists());
}

#[tokio::test]
async fn commands_that_end_fail_at_once_without_a_hub_unless_they_wait() {
    let mut hub = Hub::start(&[]).await;
    hub.publish("a", "x").await;
    hub.keep_address();
    let url = hub.address.clone();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("export.ndjson").to_str().unwrap().to_owned();
    stdout_of(fanfare(&hub, &["export", "a", "-o", &file, "--url", &url]));
    let commands: [&[&str]; 4] =
        [&["export", "a"], &["import", &file], &["streams"], &["tail", "a", "--no-follow"]];
    hub.stop().await;
    let mut waiting = Vec::new();
    for args in commands {
        let (code, _, stderr) = run_command(fanfare(&hub, args));
        assert!(
            code == 3 && stderr.contains("cannot reach the hub at"),
            "{args:?}: {code} {stderr}"
        );
        assert!(!stderr.contains("retrying"), "{args:?}: {stderr}");
        let mut command = fanfare(&hub, &[args, &["--wait", "10m"]].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        waiting.push((args, command.spawn().unwrap()));
    }
    hub.restart().await;
    for (args, child) in waiting {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
}

#[tokio::test]
async fn an_export_of_an_unknown_stream_fails_and_one_of_a_pattern_is_empty() {
    let hub = Hub::start(&[]).await;
    hub.publish("known", "x").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out");
    let args = ["export", "known", "unknown", "-o", file.to_str().unwrap()];
    let (code, _, stderr) = run_command(fanfare(&hub, &args));
    assert!(code == 4 && stderr.contains("unknown stream \"unknown\""), "{code}: {stderr}");
    assert!(!file.exists(), "no file is written");
    assert_eq!(stdout_of(fanfare(&hub, &["export", "unknown.*"])), "");
    let since =
        |when: &str| stdout_of(fanfare(&hub, &["tail", "known", "--no-follow", "--since", when]));
    for when in ["2020-01-31", "2020-01-31 10:30", "2020-01-31T10:30:05+02:00", "1h", "start"] {
        assert!(since(when).contains(" known x"), "{when}");
    }
    assert_eq!(since("2999-01-01"), "");
    let mut follow = fanfare(&hub, &["tail", "known", "-f", "--from", "start"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().ends_with(" known x"));
    hub.post("/streams/known/end", json!({})).await;
    assert!(follow.wait().unwrap().success());
}

#[tokio::test]
async fn grep_searches_history_on_the_hub_and_filters_new_events() {
    let hub = Hub::start(&[]).await;
    let log = |n: usize, level: &str| {
        let data = json!({ "level": level, "message": format!("n {n}"), "n": n });
        json!({ "stream": "s", "type": "log", "data": data })
    };
    // More matches than one request returns.
    for batch in 0..3 {
        let events: Vec<Value> = (0..4_000).map(|n| log(batch * 4_000 + n, "warn")).collect();
        hub.post("/publish", json!(events)).await;
    }
    hub.post("/publish", json!([log(12_000, "info"), log(12_001, "error")])).await;
    let grep = |args: &[&str]| {
        let all = [&["tail", "s", "--format", "ndjson"][..], args].concat();
        stdout_of(fanfare(&hub, &all)).lines().count()
    };
    assert_eq!(grep(&["--no-follow", "--grep", "level>=warn"]), 12_001);
    assert_eq!(grep(&["--no-follow", "--grep", "n>=11999 level!=info"]), 2);
    assert_eq!(grep(&["--no-follow", "--grep", "/n 1200[01]/ -error"]), 1);
    assert_eq!(grep(&["--no-follow", "--grep", "n=5", "--since", "2999-01-01"]), 0);
    let (code, _, stderr) = run_command(fanfare(&hub, &["tail", "s", "--grep", "/(/"]));
    assert!(code == 2 && stderr.contains("unclosed group"), "{code}: {stderr}");
    // History first, then new events, with the same filter and no event twice.
    let args = ["tail", "s", "--from", "start", "--grep", "level=error", "--format", "text"];
    let mut follow = fanfare(&hub, &args).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("12001"));
    hub.post("/publish", json!([log(12_002, "info"), log(12_003, "error")])).await;
    assert!(lines.next().unwrap().unwrap().contains("12003"));
    hub.post("/streams/s/end", json!({})).await;
    assert!(lines.next().is_none() && follow.wait().unwrap().success());
}

#[tokio::test]
#[ignore = "needs openssl"]
async fn a_wrong_scheme_is_named() {
    let certificate = crate::certificate::Certificate::make("localhost");
    let tls = Hub::start(&certificate.flags()).await;
    let plain = Hub::start(&[]).await;
    for (hub, scheme, other) in [(&tls, "http", "https"), (&plain, "https", "http")] {
        let url = format!("{scheme}://{}", hub.address);
        let (code, _, stderr) = run_command(fanfare(hub, &["streams", "--url", &url]));
        let hint = format!("does the hub use {other}:// on this port?");
        assert!(code == 3 && stderr.contains(&hint), "{code}: {stderr}");
    }
}

/// An export that a drain interrupts is not taken for a complete one.
#[tokio::test]
async fn an_interrupted_export_fails_or_resumes() {
    let mut hub = Hub::start(&["--drain", "2s"]).await;
    hub.keep_address();
    // More than the buffers of a connection hold while the drain closes it.
    const EVENTS: usize = 120_000;
    for first in (0..EVENTS).step_by(3_000) {
        let events: Vec<Value> = (first..first + 3_000)
            .map(|n| json!({ "stream": "s", "data": { "n": n, "text": "x".repeat(200) } }))
            .collect();
        hub.post("/publish", json!(events)).await;
    }
    for format in ["csv", "text", "ndjson"] {
        let mut command = fanfare(&hub, &["export", "s", "--format", format]);
        let mut child =
            KillOnDrop(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut stdout = child.0.stdout.take().unwrap();
        // Keeps reading during the drain, but too slowly to finish before it.
        let read_fast = Arc::new(AtomicBool::new(false));
        let should_read_fast = Arc::clone(&read_fast);
        let reader = std::thread::spawn(move || {
            let (mut read, mut buffer) = (Vec::new(), vec![0; 32 * 1024]);
            loop {
                match stdout.read(&mut buffer).unwrap() {
                    0 => return String::from_utf8(read).unwrap(),
                    count => read.extend_from_slice(&buffer[..count]),
                }
                if !should_read_fast.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(15));
                }
            }
        });
        hub.wait_for_metric("fanfare_sessions", |sessions| sessions == 1.0).await;
        hub.stop().await;
        read_fast.store(true, Ordering::Relaxed);
        hub.restart().await;
        let read = reader.join().unwrap();
        let status = child.0.wait().unwrap();
        match format {
            "ndjson" => {
                assert!(status.success());
                let numbers = read.lines().map(|line| {
                    serde_json::from_str::<Value>(line).unwrap()["data"]["n"].as_u64().unwrap()
                });
                assert!(numbers.eq(0..EVENTS as u64), "each once and in order");
            }
            _ => {
                let mut stderr = String::new();
                child.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
                assert!(read.lines().count() < EVENTS, "the export was not interrupted");
                assert!(
                    !status.success() && stderr.contains("cannot be resumed"),
                    "{format}: {status} {stderr}"
                );
            }
        }
    }
}

/// Fast input is published as it arrives and not collected first.
#[tokio::test]
async fn lines_are_published_as_they_arrive_in_little_memory() {
    let hub = Hub::start(&["--durability", "memory"]).await;
    let mut command = fanfare(&hub, &["publish", "s", "--lines"]);
    let mut child = KillOnDrop(command.stdin(Stdio::piped()).spawn().unwrap());
    let mut stdin = child.0.stdin.take().unwrap();
    let lines = if is_full_run() { 4_000_000 } else { 1_000_000 };
    let writer = std::thread::spawn(move || {
        let block = "a line of a log that is neither long nor short\n".repeat(1_000);
        (0..lines / 1_000).for_each(|_| stdin.write_all(block.as_bytes()).unwrap());
    });
    let status = format!("/proc/{}/status", child.0.id());
    let mut peak_kib = 0;
    while child.0.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        peak_kib = peak_kib.max(kib.unwrap_or(0_u64));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    writer.join().unwrap();
    assert_eq!(
        hub.metric("fanfare_events_published_total{type=\"message\"}").await,
        f64::from(lines)
    );
    assert!(peak_kib < 100 << 10, "{peak_kib} KiB");
}

/// The command has priority: it runs to its end even if no event can be published or spooled.
#[tokio::test]
async fn run_keeps_the_exit_code_if_events_can_be_neither_published_nor_spooled() {
    let mut hub = Hub::start(&[]).await;
    hub.keep_address();
    hub.kill();
    let script = "i=0; while [ $i -lt 300 ]; do printf '%040000d\\n' $i; i=$((i+1)); done; exit 5";
    let mut command =
        fanfare(&hub, &["run", "--stream", "s", "--wait", "100ms", "--", "sh", "-c", script]);
    command.env("TMPDIR", "/no/such/folder");
    let (code, stdout, stderr) = run_command(command);
    assert_eq!((code, stdout.lines().count()), (5, 300), "{stderr}");
    assert!(stderr.contains("events are lost"), "{stderr}");
    // With a spool directory, unpublished events are in a file that only its owner can read.
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().to_str().unwrap();
    let run =
        ["run", "--stream", "s", "--wait", "100ms", "--spool", spool, "--", "sh", "-c", script];
    let (code, _, stderr) = run_command(fanfare(&hub, &run));
    assert_eq!(code, 5, "{stderr}");
    let spool_file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&spool_file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(spool_file.path()).unwrap().lines().count(), 301);
    hub.restart().await;
    let imported = run_command(fanfare(&hub, &["import", spool_file.path().to_str().unwrap()]));
    assert_eq!(imported.0, 0, "{}", imported.2);
    assert_eq!(hub.get("/streams/s").await.1["events"], 301);
    // An event that the hub refuses is left out; the others are published.
    let script = "head -c 60000 /dev/zero | tr '\\0' '\\1'; echo; echo after; exit 6";
    let (code, _, stderr) =
        run_command(fanfare(&hub, &["run", "--stream", "t", "--", "sh", "-c", script]));
    assert!(code == 6 && stderr.contains("1 events are lost"), "{code}: {stderr}");
    assert_eq!(hub.get("/streams/t").await.1["events"], 2, "the other line, and the exit");
}

/// Output has colours only on a terminal, and not with `NO_COLOR` or the format `text`.
#[tokio::test]
#[ignore = "needs script (util-linux)"]
async fn terminals_are_shown_colours_unless_disabled() {
    let hub = Hub::start(&[]).await;
    let log = json!({ "level": "error", "message": "it \u{1b}]0;failed\u{7}" });
    hub.post("/publish", json!({ "stream": "s", "type": "log", "data": log })).await;
    let on_terminal = |format: &str, no_color: Option<&str>| {
        let tail =
            crate::hub::program() + &format!(" tail s --from start --no-follow --format {format}");
        let mut command = Command::new("script");
        command
            .args(["-qec", &tail, "/dev/null"])
            .env("FANFARE_URL", hub.url(""))
            .env("TERM", "xterm");
        command.env_remove("NO_COLOR").envs(no_color.map(|value| ("NO_COLOR", value)));
        String::from_utf8(command.stdin(Stdio::null()).output().unwrap().stdout).unwrap()
    };
    let coloured = on_terminal("pretty", None);
    assert!(coloured.contains("failed") && coloured.contains("\u{1b}["), "{coloured:?}");
    for (format, no_color) in [("pretty", Some("1")), ("text", None)] {
        let output = on_terminal(format, no_color);
        assert!(output.contains("failed") && !output.contains('\u{1b}'), "{output:?}");
    }
    let piped = stdout_of(fanfare(&hub, &["tail", "s", "--from", "start", "--no-follow"]));
    assert!(piped.contains("failed") && !piped.contains('\u{1b}'), "{piped:?}");
}

#[tokio::test]
async fn bytes_are_exported_and_imported_unchanged() {
    let (from, to) = (Hub::start(&[]).await, Hub::start(&[]).await);
    from.post("/publish", json!({ "stream": "b", "data": "AP8=", "encoding": "base64" })).await;
    let lines = stdout_of(fanfare(&from, &["export", "b"]));
    let imported = run_with_input(fanfare(&to, &["import", "-"]), lines.as_bytes());
    assert!(imported.status.success(), "{imported:?}");
    let copied = stdout_of(fanfare(&to, &["export", "b"]));
    assert!(copied.contains(r#""data":"AP8=","encoding":"base64""#), "{copied}");
}
