//! Followed files, rotated by the real logrotate.

use crate::disk::SmallDisk;
use crate::hub::{Hub, TEST_TIMEOUT, is_full_run};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Creates a directory for logs and a configuration of a hub that follows `*.log` in it.
fn log_folder(extra: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("logs")).unwrap();
    let paths = folder.path().join("logs/*.log");
    let file = folder.path().join("fanfare.toml");
    std::fs::write(&file, format!("[[source.tail]]\npaths = [{paths:?}]\n{extra}\n")).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (folder, file)
}

fn append(folder: &TempDir, name: &str, text: impl AsRef<[u8]>) {
    let path = folder.path().join("logs").join(name);
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_ref()).unwrap();
}

/// Returns the data of all events of a stream so far.
async fn events(hub: &Hub, stream: &str) -> Vec<Value> {
    let path =
        format!("/streams/{stream}/events?from=start&follow=false&format=ndjson&control=off");
    let response = hub.http.get(hub.url(&path)).send().await.unwrap();
    let text = response.text().await.unwrap();
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["data"].clone()).collect()
}

fn messages(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

/// Waits until a stream has at least `count` events and returns them.
async fn wait_for_events(hub: &Hub, stream: &str, count: usize) -> Vec<Value> {
    let started = Instant::now();
    loop {
        let events = events(hub, stream).await;
        if events.len() >= count {
            return events;
        }
        assert!(
            started.elapsed() < TEST_TIMEOUT,
            "{} of {count}: {events:?}\n{}",
            events.len(),
            hub.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asserts that `lines` equals `expected`, and shows the first difference.
fn assert_lines(lines: &[String], expected: &[String]) {
    let difference = lines.iter().zip(expected).position(|(line, expected)| line != expected);
    if let Some(index) = difference {
        let around = index.saturating_sub(3)..(index + 10).min(lines.len());
        panic!("line {index} of {}: {:?}", lines.len(), &lines[around]);
    }
    assert_eq!(lines.len(), expected.len());
}

/// Waits until the hub follows this many files.
async fn wait_for_files(hub: &Hub, files: usize) {
    hub.wait_for_metric("fanfare_tail_files", |n| n == files as f64).await;
}

#[tokio::test]
async fn new_lines_are_published_with_their_level_and_each_file_has_its_stream() {
    let (folder, config) = log_folder("");
    append(&folder, "web.log", "before\nin the ");
    let hub = Hub::start(&["--config", &config]).await;
    wait_for_files(&hub, 1).await;
    append(
        &folder,
        "web.log",
        "middle\n2026-11-25 ERROR lost\n{\"level\":\"warn\",\"message\":\"as it is\",\"fields\":{\"a\":1}}\n{\"msg\":\"of another shape\"}\nopen",
    );
    append(&folder, "db.log", b"\xff new\n");
    let web = wait_for_events(&hub, "logs.web", 4).await;
    let levels: Vec<&str> = web.iter().map(|log| log["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["info", "error", "warn", "info"]);
    assert_eq!(
        messages(&web),
        ["middle", "2026-11-25 ERROR lost", "as it is", "{\"msg\":\"of another shape\"}"]
    );
    assert_eq!(web[2]["fields"], json!({ "a": 1 }));
    let db = wait_for_events(&hub, "logs.db", 1).await;
    assert_eq!(messages(&db), ["\u{fffd} new"], "a later file is read from its start");
    hub.wait_for_metric("fanfare_tail_lines_replaced_total", |n| n == 1.0).await;
    append(&folder, "web.log", " line\n");
    assert_eq!(messages(&wait_for_events(&hub, "logs.web", 5).await)[4], "open line");
    let (_, stats) = hub.get("/stats").await;
    let sources = stats["sources"].as_array().unwrap();
    assert!(sources.iter().any(|s| s["name"] == "tail" && s["state"] == "running"), "{stats}");
}

#[tokio::test]
async fn indented_lines_are_joined_into_one_event() {
    let (folder, config) =
        log_folder("multiline = \"indented\"\nfrom = \"start\"\nstream = \"{dir}.{file}\"");
    append(&folder, "a.log", "ERROR: x\n  at y\n  at z\nnext\n");
    let hub = Hub::start(&["--config", &config]).await;
    let events = wait_for_events(&hub, "logs.a.log", 2).await;
    assert_eq!(messages(&events), ["ERROR: x\n  at y\n  at z", "next"]);
    assert_eq!(events[0]["level"], "error");
}

fn rotate(folder: &TempDir, method: &str) {
    let path = folder.path();
    let config = path.join("rotate.conf");
    let text =
        format!("{}/logs/app.log {{\n  rotate 50\n  {method}\n  nodateext\n}}\n", path.display());
    std::fs::write(&config, text).unwrap();
    let state = path.join("state");
    let output =
        Command::new("logrotate").args(["--force", "--state"]).arg(state).arg(&config).output();
    let output = output.expect("logrotate is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn numbers(range: std::ops::Range<usize>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}

/// A log is written continuously and rotated by logrotate while the hub is killed: every line
/// arrives once and in order.
#[tokio::test]
#[ignore = "needs logrotate"]
async fn every_line_is_published_once_across_rotations_and_kills() {
    let rounds = if is_full_run() { 30 } else { 6 };
    const LINES: usize = 500;
    let (folder, config) = log_folder("");
    append(&folder, "app.log", "before\n");
    let mut hub = Hub::start(&["--config", &config, "--durability", "os"]).await;
    wait_for_files(&hub, 1).await;
    let mut double_rotations = 0;
    for round in 0..rounds {
        let from = round * LINES;
        wait_for_events(&hub, "logs.app", from).await;
        for line in (from..from + LINES).step_by(10) {
            append(&folder, "app.log", numbers(line..line + 10));
            if line == from + LINES / 2 {
                // Lines written while the hub is down are found in the renamed file.
                if round % 3 == 1 {
                    hub.kill();
                }
                rotate(&folder, "create");
            }
            // Rotates a second time while the hub is down.
            if line == from + LINES * 4 / 5 && round % 3 == 1 {
                double_rotations += 1;
                rotate(&folder, "create");
            }
            if line == from + LINES / 2 && round % 3 == 2 {
                hub.kill();
            }
        }
        if round % 3 != 0 {
            hub.restart().await;
        }
    }
    let lines = wait_for_events(&hub, "logs.app", rounds * LINES).await;
    let expected: Vec<String> = (0..rounds * LINES).map(|n| n.to_string()).collect();
    assert_lines(&messages(&lines), &expected);
    assert!(double_rotations >= rounds / 3);
    let (_, list) = hub.get("/streams?prefix=logs.").await;
    assert_eq!(list["streams"].as_array().unwrap().len(), 1, "all lines are on one stream: {list}");
    hub.stop().await;
    hub.restart().await;
    append(&folder, "app.log", "last\n");
    let lines = wait_for_events(&hub, "logs.app", expected.len() + 1).await;
    assert_eq!(lines.len(), expected.len() + 1);
}

/// The log is truncated in place. Lines written between copy and truncation are lost by logrotate.
#[tokio::test]
#[ignore = "needs logrotate"]
async fn a_truncated_file_is_read_from_its_start_even_if_it_has_grown_again() {
    let (folder, config) = log_folder("");
    append(&folder, "app.log", "");
    let hub = Hub::start(&["--config", &config]).await;
    wait_for_files(&hub, 1).await;
    append(&folder, "app.log", numbers(0..100));
    wait_for_events(&hub, "logs.app", 100).await;
    rotate(&folder, "copytruncate");
    append(&folder, "app.log", numbers(100..400));
    wait_for_events(&hub, "logs.app", 400).await;
    rotate(&folder, "copytruncate");
    append(&folder, "app.log", "x\n");
    let lines = messages(&wait_for_events(&hub, "logs.app", 401).await);
    let expected: Vec<String> = (0..400).map(|n| n.to_string()).chain(["x".to_owned()]).collect();
    assert_eq!(lines, expected);
}

/// A copy made while the hub was down is found by its content. Files that only have a similar name
/// are not read.
#[tokio::test]
#[ignore = "needs logrotate"]
async fn copies_rotated_while_the_hub_was_down_are_read_and_other_files_are_not() {
    let (folder, config) = log_folder("");
    append(&folder, "app.log", numbers(0..100));
    let mut hub = Hub::start(&["--config", &config]).await;
    wait_for_files(&hub, 1).await;
    append(&folder, "app.log", numbers(100..200));
    wait_for_events(&hub, "logs.app", 100).await;
    hub.kill();
    append(&folder, "app.log", numbers(200..300));
    rotate(&folder, "copytruncate");
    append(&folder, "app.log", numbers(300..310));
    append(&folder, "app.log.bak", "not a part of it\n");
    append(&folder, "app.log.pos", "nor this\n");
    hub.restart().await;
    let lines = messages(&wait_for_events(&hub, "logs.app", 210).await);
    assert_eq!(lines, (100..310).map(|n| n.to_string()).collect::<Vec<_>>());
    // A restart publishes nothing twice, and two rotations while the hub is down are found, too.
    hub.kill();
    hub.restart().await;
    wait_for_files(&hub, 2).await;
    hub.kill();
    append(&folder, "app.log", numbers(310..320));
    rotate(&folder, "copytruncate");
    append(&folder, "app.log", numbers(320..330));
    rotate(&folder, "copytruncate");
    append(&folder, "app.log", numbers(330..340));
    hub.restart().await;
    let lines = messages(&wait_for_events(&hub, "logs.app", 240).await);
    assert_lines(&lines, &(100..340).map(|n| n.to_string()).collect::<Vec<_>>());
    let (_, list) = hub.get("/streams?prefix=logs.").await;
    assert_eq!(list["streams"].as_array().unwrap().len(), 1, "{list}");
}

#[tokio::test]
async fn links_are_not_followed_by_default_and_a_pipe_delays_nothing() {
    let (folder, config) = log_folder("from = \"start\"");
    let logs = folder.path().join("logs");
    std::fs::write(folder.path().join("secret"), "root:x:0\n").unwrap();
    std::os::unix::fs::symlink(folder.path().join("secret"), logs.join("app.log")).unwrap();
    let status = std::process::Command::new("mkfifo").arg(logs.join("pipe.log")).status().unwrap();
    assert!(status.success());
    std::fs::write(logs.join("real.log"), "a line\n").unwrap();
    let hub = Hub::start(&["--config", &config]).await;
    wait_for_events(&hub, "logs.real", 1).await;
    hub.wait_for_log("set follow-symlinks = true to follow it", 1).await;
    assert_eq!(hub.get("/streams/logs.app").await.0, 404);
}

/// Container logs are links in one directory to files in another, which are rotated there.
#[tokio::test]
async fn rotated_files_behind_a_link_are_found_after_every_restart() {
    let (folder, config) = log_folder("follow-symlinks = true");
    let real_folder = folder.path().join("real");
    std::fs::create_dir(&real_folder).unwrap();
    std::os::unix::fs::symlink(real_folder.join("0.log"), folder.path().join("logs/app.log"))
        .unwrap();
    let write = |text: String| {
        let path = real_folder.join("0.log");
        OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes())
    };
    write(String::new()).unwrap();
    let mut hub = Hub::start(&["--config", &config]).await;
    wait_for_files(&hub, 1).await;
    let mut count = 0;
    for round in 0..4 {
        write(numbers(count..count + 10)).unwrap();
        wait_for_events(&hub, "logs.app", count + 10).await;
        hub.kill();
        write(numbers(count + 10..count + 20)).unwrap();
        std::fs::rename(
            real_folder.join("0.log"),
            real_folder.join(format!("0.log.{}", 4 - round)),
        )
        .unwrap();
        write(numbers(count + 20..count + 30)).unwrap();
        count += 30;
        hub.restart().await;
        let lines = messages(&wait_for_events(&hub, "logs.app", count).await);
        assert_eq!(lines, (0..count).map(|n| n.to_string()).collect::<Vec<_>>(), "{round}");
    }
}

#[tokio::test]
async fn a_file_rewritten_at_the_same_length_is_read_again() {
    let (folder, config) = log_folder("from = \"start\"");
    let path = folder.path().join("logs/app.log");
    std::fs::write(&path, "aaaa\n").unwrap();
    let hub = Hub::start(&["--config", &config]).await;
    wait_for_events(&hub, "logs.app", 1).await;
    std::fs::write(&path, "bbbb\n").unwrap();
    let lines = messages(&wait_for_events(&hub, "logs.app", 2).await);
    assert_eq!(lines, ["aaaa", "bbbb"]);
    let banner = "=".repeat(300);
    std::fs::write(&path, format!("{banner}\n1\n")).unwrap();
    wait_for_events(&hub, "logs.app", 4).await;
    std::fs::write(&path, format!("{banner}\n2\n3\n4\n")).unwrap();
    let lines = messages(&wait_for_events(&hub, "logs.app", 8).await);
    assert_eq!(lines[4..], [&banner, "2", "3", "4"]);
}

/// The stored positions of quiet files outlive the retention of the journal.
#[tokio::test]
async fn the_position_of_a_quiet_file_outlives_retention() {
    let (folder, config) = log_folder("");
    append(&folder, "app.log", "");
    let flags = ["--config", &config, "--journal-max-bytes", "2MiB", "--durability", "os"];
    let mut hub = Hub::start(&flags).await;
    wait_for_files(&hub, 1).await;
    append(&folder, "app.log", "once\n");
    wait_for_events(&hub, "logs.app", 1).await;
    for _ in 0..60 {
        hub.publish("other", &"x".repeat(100_000)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    hub.kill();
    append(&folder, "app.log", "again\n");
    hub.restart().await;
    let lines = messages(&wait_for_events(&hub, "logs.app", 1).await);
    // Retention removed the first line; neither line is published twice.
    assert_eq!(lines.last().unwrap(), "again");
    assert!(lines.iter().filter(|line| *line == "once").count() <= 1, "{lines:?}");
    let path = "/streams/logs.app/events?from=start&follow=false&format=text&control=off";
    let text = hub.http.get(hub.url(path)).send().await.unwrap().text().await.unwrap();
    assert_eq!(text.matches("again").count(), 1);
    assert!(
        !lines.contains(&"once".to_owned()),
        "published again after retention removed it: {lines:?}"
    );
}

/// Waits until a source reports an error that contains `text`.
async fn wait_for_source_error(hub: &Hub, text: &str) {
    let started = std::time::Instant::now();
    loop {
        let stats = hub.get("/stats").await.1;
        let sources = stats["sources"].as_array().unwrap().iter();
        let mut errors = sources.filter_map(|source| source["error"].as_str());
        if errors.any(|error| error.contains(text)) {
            return;
        }
        assert!(started.elapsed() < crate::hub::TEST_TIMEOUT, "it is not refused: {stats}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// A limit delays only the file whose stream it refuses.
#[tokio::test]
async fn a_file_whose_stream_exceeds_max_streams_waits_and_others_continue() {
    let (folder, config) = log_folder("from = \"start\"");
    append(&folder, "a.log", "a\n");
    // `hub.tail` is one of the two streams.
    let hub = Hub::start(&["--config", &config, "--max-streams", "2"]).await;
    wait_for_events(&hub, "logs.a", 1).await;
    append(&folder, "b.log", "b1\n");
    append(&folder, "a.log", "a2\n");
    wait_for_events(&hub, "logs.a", 2).await;
    wait_for_source_error(&hub, "max_streams").await;
    append(&folder, "b.log", "b2\n");
    append(&folder, "a.log", "a3\n");
    wait_for_events(&hub, "logs.a", 3).await;
    let response = hub.http.delete(hub.url("/streams/logs.a")).send().await.unwrap();
    assert_eq!(response.status(), 204);
    assert_eq!(messages(&wait_for_events(&hub, "logs.b", 2).await), ["b1", "b2"]);
}

/// A journal that accepts nothing pauses reading, and no line is lost.
#[tokio::test]
#[ignore = "needs root: mounts a tmpfs"]
async fn lines_refused_by_a_full_disk_are_published_later() {
    let (folder, config) = log_folder("from = \"start\"");
    append(&folder, "app.log", numbers(0..2_000));
    let disk = SmallDisk::new(64);
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 40 << 20]).unwrap();
    let flags = ["--config", &config, "--min-free-bytes", "32MiB"];
    let hub = Hub::start_in(&disk.path().join("data"), &flags).await;
    hub.wait_for_metric("fanfare_journal_disk_full", |n| n == 1.0).await;
    append(&folder, "app.log", numbers(2_000..2_500));
    assert_eq!(events(&hub, "logs.app").await.len(), 0);
    std::fs::remove_file(&ballast).unwrap();
    let lines = messages(&wait_for_events(&hub, "logs.app", 2_500).await);
    assert_eq!(lines, (0..2_500).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn invalid_tail_settings_are_reported_with_their_line() {
    for (text, reason) in [
        ("[[source.tail]]\nstream = \"x\"", "missing `paths`"),
        ("[[source.tail]]\npaths = [\"a[\"]", "invalid pattern"),
        ("[[source.tail]]\npaths = \"a\"\nstream = \"hub.x\"", "only the hub publishes"),
        ("[[source.tail]]\npaths = \"a\"\nmultiline = \"(\"", "is not off, indented"),
        ("[[source.tail]]\npaths = \"a\"\nfrom = \"middle\"", "not one of start, end"),
        ("[[source.tail]]\npaths = \"a\"\nlevel = \"x\"", "unknown member \"level\""),
        ("[source.tail]\npaths = \"a\"", "[[source.tail]]"),
        ("[[source.nothing]]\npaths = \"a\"", "unknown table \"nothing\" in source"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f.toml");
        std::fs::write(&file, text).unwrap();
        let stderr = check_config(&file);
        assert!(stderr.contains(reason) && stderr.contains("f.toml:"), "{text}: {stderr}");
    }
}

fn check_config(file: &Path) -> String {
    let output = Command::new(crate::hub::program())
        .args(["config", "check", "--config"])
        .arg(file)
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}
