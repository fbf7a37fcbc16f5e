//! The command line against real hubs: piped data arrives complete.

use crate::hub::{Hub, TEST_TIMEOUT, full};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn fanfare(hub: &Hub, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    command.args(args).env("FANFARE_URL", hub.url("")).stdin(Stdio::null());
    command
}

/// Runs a command to its end; returns its exit code, stdout and stderr.
fn said(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn out(command: Command) -> String {
    let (code, out, err) = said(command);
    assert_eq!(code, 0, "{err}");
    out
}

/// Runs a command with `input` on its stdin.
fn fed(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writing.join().unwrap();
    output
}

/// A child process that is killed at the end of the test, even if the test fails.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < TEST_TIMEOUT * 5, "timed out waiting for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn events_are_published_and_shown_in_each_format() {
    let hub = Hub::start(&[]).await;
    let id = out(fanfare(&hub, &["publish", "a", "hello\nyou", "--key", "k"]));
    assert_eq!(out(fanfare(&hub, &["publish", "a", "hello\nyou", "--key", "k"])), id, "same id");
    let metric = br#"{"name":"cpu","value":1.50}"#;
    let json = fanfare(&hub, &["publish", "a", "--json", "--type", "metric"]);
    assert!(fed(json, metric).status.success());
    let shown = |args: &[&str]| {
        let all = ["tail", "a", "--from", "start", "--no-follow"];
        out(fanfare(&hub, &[&all, args].concat()))
    };
    assert_eq!(shown(&["--format", "text", "--types", "message"]), "hello\\nyou\n");
    let pretty = shown(&[]);
    assert!(pretty.contains("Z a hello\n    you\n") && pretty.contains(" a cpu = 1.5"), "{pretty}");
    assert!(!pretty.contains('\x1b') && shown(&["--color", "always"]).contains("\x1b[36ma\x1b[0m"));
    let lines = shown(&["--format", "ndjson"]);
    let lines: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines[0]["id"], id.trim());
    assert_eq!(lines[0]["data"], "hello\nyou");
    assert_eq!(lines[1]["data"]["name"], "cpu");
    let listed = out(fanfare(&hub, &["streams", "--json"]));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(json!([listed["name"], listed["events"]]), json!(["a", 2]));
    assert!(out(fanfare(&hub, &["streams"])).lines().nth(1).unwrap().ends_with("  a"));
}

#[tokio::test]
async fn exit_codes_identify_errors_and_a_closed_pipe_is_a_success() {
    let secret = "a secret of the test";
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    let digest = "9f1b3bb8f5ae28c4ad4d9d1d9b8c1c8a0b9a0a4d8e3f6b2c1d0e9f8a7b6c5d4e";
    let key = format!("[[key]]\nname = \"k\"\nsha256 = \"{digest}\"\npublish = [\"a\"]\n");
    std::fs::write(&config, key).unwrap();
    let guarded = Hub::start(&["--config", config.to_str().unwrap()]).await;
    let mut asked = fanfare(&guarded, &["publish", "a", "x"]);
    asked.env("FANFARE_TOKEN", secret);
    let (code, _, why) = said(asked);
    assert!(
        code == 4 && why.contains("Authentication required") && !why.contains(secret),
        "{code}: {why}"
    );
    let hub = Hub::start(&[]).await;
    let (code, _, why) = said(fanfare(&hub, &["publish", "a b", "x"]));
    assert!(code == 1 && why.contains("must not contain"), "{code}: {why}");
    let (code, _, _) = said(fanfare(&hub, &["publish"]));
    assert_eq!(code, 2);
    let mut away = fanfare(&hub, &["publish", "a", "x"]);
    away.env("FANFARE_URL", "http://127.0.0.1:9");
    let (code, _, why) = said(away);
    assert!(code == 3 && why.contains("cannot reach the hub"), "{code}: {why}");
    let lines = fanfare(&hub, &["publish", "a", "--lines", "--json"]);
    let done = fed(lines, b"1\n2\n{\n4\n");
    let why = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.code() == Some(1) && why.contains("line 3 is not valid JSON"), "{why}");
    let large = [&b"small\n"[..], &b"x".repeat(300 * 1024), b"\n"].concat();
    let done = fed(fanfare(&hub, &["publish", "b", "--lines"]), &large);
    let why = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.code() == Some(4) && why.contains("line 2"), "{why}");
    let many: Vec<Value> = (0..4_000).map(|n| json!({ "stream": "c", "data": n })).collect();
    hub.post("/publish", Value::Array(many)).await;
    let mut child = fanfare(&hub, &["export", "c"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let status = child.wait().unwrap();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(status.success() && err.is_empty(), "{status}: {err}");
}

/// Pipes lines through a hub to three readers while the hub is killed twice.
#[tokio::test]
async fn piped_lines_arrive_once_and_in_order_although_the_hub_is_killed() {
    let lines = if full() { 1_000_000 } else { 60_000 };
    let mut hub = Hub::start(&["--max-body-bytes", "2MiB"]).await;
    hub.stay();
    let folder = tempfile::tempdir().unwrap();
    let tail = |n: usize| {
        let file = folder.path().join(n.to_string());
        let mut command =
            fanfare(&hub, &["tail", "piped.*", "--from", "start", "--format", "text"]);
        let errors = File::create(folder.path().join(format!("{n}.err"))).unwrap();
        let child = command.stdout(File::create(&file).unwrap()).stderr(errors).spawn().unwrap();
        (Owned(child), file)
    };
    let tails: Vec<(Owned, std::path::PathBuf)> = (0..3).map(tail).collect();
    let publish = fanfare(&hub, &["publish", "piped.lines", "--lines"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut publish = Owned(publish.unwrap());
    let mut stdin = publish.0.stdin.take().unwrap();
    let writing = std::thread::spawn(move || {
        for n in 0..lines {
            writeln!(stdin, "line {n}").unwrap();
        }
    });
    let bytes = |path: &Path| path.metadata().map_or(0, |file| file.len());
    let whole: u64 = (0..lines).map(|n| format!("line {n}\n").len() as u64).sum();
    for share in [5, 2] {
        let some = whole / share;
        until("a part is there", || bytes(&tails[0].1) > some / 2).await;
        hub.kill();
        hub.restart().await;
    }
    until("all is there", || tails.iter().all(|(_, file)| bytes(file) >= whole)).await;
    writing.join().unwrap();
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
    let (code, out, err) = said(fanfare(&hub, &run));
    assert_eq!((code, out.as_str(), err.as_str()), (3, "slowly\nhalf", "WARN: oh\n"));
    let tail = ["tail", "builds.1", "--from", "start", "--format", "ndjson"];
    let (code, shown, _) = said(fanfare(&hub, &tail));
    assert_eq!(code, 0, "the stream has ended, and so does its tail");
    let events: Vec<Value> = shown.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let told = |event: &Value| {
        let data = &event["data"];
        json!([event["type"], data["level"], data["message"], data["fields"]["output"]])
    };
    let mut logs: Vec<Value> = events[..3].iter().map(told).collect();
    logs.sort_by_key(Value::to_string);
    let expected = [
        json!(["log", "info", "half", "stdout"]),
        json!(["log", "info", "slowly", "stdout"]),
        json!(["log", "warn", "WARN: oh", "stderr"]),
    ];
    assert_eq!(logs, expected);
    assert_eq!(json!([events[3]["type"], events[3]["data"]["code"]]), json!(["exit", 3]));
    let (code, _, err) = said(fanfare(&hub, &["run", "--stream", "b", "--", "/no/such/thing"]));
    assert!(code == 127 && err.contains("/no/such/thing"), "{code}: {err}");
    let killed = ["run", "--stream", "b", "--", "sh", "-c", "kill -9 $$"];
    assert_eq!(said(fanfare(&hub, &killed)).0, 137);
}

#[tokio::test]
async fn run_does_not_wait_for_an_unreachable_hub_and_spools_events() {
    const LINES: usize = 2_000;
    let mut hub = Hub::start(&[]).await;
    hub.stay();
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().to_str().unwrap().to_owned();
    hub.kill();
    let script = format!("for n in $(seq {LINES}); do echo $n; done");
    let run = ["run", "--stream", "s", "--wait", "100ms", "--spool", &spool, "--"];
    let run = [&run[..], &["sh", "-c", &script]].concat();
    let (code, shown, err) = said(fanfare(&hub, &run));
    assert_eq!((code, shown.lines().count()), (0, LINES));
    assert!(err.contains(&format!("{} events were not published", LINES + 1)), "{err}");
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left.len(), 1);
    hub.restart().await;
    for _ in 0..2 {
        out(fanfare(&hub, &["import", left[0].to_str().unwrap()]));
    }
    let text =
        out(fanfare(&hub, &["tail", "s", "--no-follow", "--from", "start", "--types", "log"]));
    assert_eq!(text.lines().count(), LINES, "once, though it was imported twice");
}

#[tokio::test]
async fn history_moves_from_one_hub_to_another() {
    let (one, other) = (Hub::start(&["--recent-bytes", "64KiB"]).await, Hub::start(&[]).await);
    let many: Vec<Value> = (0..3_000)
        .map(|n| json!({ "stream": ["a", "b.x"], "type": "t", "data": { "n": n, "s": "é\n" } }))
        .collect();
    one.post("/publish", Value::Array(many)).await;
    one.publish("c", "text").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("export.ndjson");
    let file = file.to_str().unwrap();
    out(fanfare(&one, &["export", "**", "-o", file]));
    out(fanfare(&other, &["import", file]));
    let piped = std::fs::read(file).unwrap();
    assert!(fed(fanfare(&other, &["import"]), &piped).status.success(), "repeated from a pipe");
    let events = |hub: &Hub| -> Vec<Value> {
        let text = out(fanfare(hub, &["export", "**"]));
        let event = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap();
            json!([event["stream"], event["type"], event["data"]])
        };
        text.lines().map(event).collect()
    };
    assert_eq!(events(&one).len(), 3_001);
    assert_eq!(events(&other), events(&one));
    let table =
        out(fanfare(&other, &["export", "a", "--format", "csv", "--columns", "n", "-n", "2"]));
    assert_eq!(table, "n\r\n2998\r\n2999\r\n");
}

#[tokio::test]
async fn completions_and_manuals_cover_every_subcommand() {
    let hub = Hub::start(&[]).await;
    for shell in ["bash", "zsh", "fish"] {
        let text = out(fanfare(&hub, &["completions", shell]));
        assert!(text.contains("export") && text.contains("no-follow"), "{shell}");
    }
    assert!(out(fanfare(&hub, &["man"])).contains("fanfare\\-publish(1)"));
    let folder = tempfile::tempdir().unwrap();
    out(fanfare(&hub, &["man", "--folder", folder.path().to_str().unwrap()]));
    assert!(folder.path().join("fanfare-tail.1").exists());
}

/// An export that a drain interrupts is not taken for a complete one.
#[tokio::test]
async fn an_interrupted_export_fails_or_resumes() {
    let mut hub = Hub::start(&["--drain", "2s"]).await;
    hub.stay();
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
            Owned(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut out = child.0.stdout.take().unwrap();
        // Keeps reading during the drain, but too slowly to finish before it.
        let hurry = Arc::new(AtomicBool::new(false));
        let is_hurried = Arc::clone(&hurry);
        let reading = std::thread::spawn(move || {
            let (mut read, mut part) = (Vec::new(), vec![0; 32 * 1024]);
            loop {
                match out.read(&mut part).unwrap() {
                    0 => return String::from_utf8(read).unwrap(),
                    count => read.extend_from_slice(&part[..count]),
                }
                if !is_hurried.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(15));
                }
            }
        });
        hub.wait_for_metric("fanfare_sessions", |sessions| sessions == 1.0).await;
        hub.stop().await;
        hurry.store(true, Ordering::Relaxed);
        hub.restart().await;
        let read = reading.join().unwrap();
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
                let mut why = String::new();
                child.0.stderr.take().unwrap().read_to_string(&mut why).unwrap();
                assert!(read.lines().count() < EVENTS, "the export was not interrupted");
                assert!(
                    !status.success() && why.contains("cannot be resumed"),
                    "{format}: {status} {why}"
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
    let mut child = Owned(command.stdin(Stdio::piped()).spawn().unwrap());
    let mut stdin = child.0.stdin.take().unwrap();
    let lines = if full() { 4_000_000 } else { 1_000_000 };
    let writing = std::thread::spawn(move || {
        let part = "a line of a log that is neither long nor short\n".repeat(1_000);
        (0..lines / 1_000).for_each(|_| stdin.write_all(part.as_bytes()).unwrap());
    });
    let status = format!("/proc/{}/status", child.0.id());
    let mut most = 0;
    while child.0.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        most = most.max(kib.unwrap_or(0_u64));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    writing.join().unwrap();
    assert_eq!(
        hub.metric("fanfare_events_published_total{type=\"message\"}").await,
        f64::from(lines)
    );
    assert!(most < 100 << 10, "{most} KiB");
}

/// The command has priority: it runs to its end even if no event can be published or spooled.
#[tokio::test]
async fn run_keeps_the_exit_code_if_events_can_be_neither_published_nor_spooled() {
    let mut hub = Hub::start(&[]).await;
    hub.stay();
    hub.kill();
    let script = "i=0; while [ $i -lt 300 ]; do printf '%040000d\\n' $i; i=$((i+1)); done; exit 5";
    let mut command =
        fanfare(&hub, &["run", "--stream", "s", "--wait", "100ms", "--", "sh", "-c", script]);
    command.env("TMPDIR", "/no/such/folder");
    let (code, shown, why) = said(command);
    assert_eq!((code, shown.lines().count()), (5, 300), "{why}");
    assert!(why.contains("events are lost"), "{why}");
    // With a spool directory, unpublished events are in a file that only its owner can read.
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().to_str().unwrap();
    let run =
        ["run", "--stream", "s", "--wait", "100ms", "--spool", spool, "--", "sh", "-c", script];
    let (code, _, why) = said(fanfare(&hub, &run));
    assert_eq!(code, 5, "{why}");
    let left = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&left.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(left.path()).unwrap().lines().count(), 301);
    hub.restart().await;
    let imported = said(fanfare(&hub, &["import", left.path().to_str().unwrap()]));
    assert_eq!(imported.0, 0, "{}", imported.2);
    assert_eq!(hub.get("/streams/s").await.1["events"], 301);
    // An event that the hub refuses is left out; the others are published.
    let script = "head -c 60000 /dev/zero | tr '\\0' '\\1'; echo; echo after; exit 6";
    let (code, _, why) = said(fanfare(&hub, &["run", "--stream", "t", "--", "sh", "-c", script]));
    assert!(code == 6 && why.contains("1 events are lost"), "{code}: {why}");
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
        let tail = env!("CARGO_BIN_EXE_fanfare").to_owned()
            + &format!(" tail s --from start --no-follow --format {format}");
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
        let shown = on_terminal(format, no_color);
        assert!(shown.contains("failed") && !shown.contains('\u{1b}'), "{shown:?}");
    }
    let piped = out(fanfare(&hub, &["tail", "s", "--from", "start", "--no-follow"]));
    assert!(piped.contains("failed") && !piped.contains('\u{1b}'), "{piped:?}");
}
