//! `fanfare journal`: inspects a journal that no hub uses.

use crate::hub::Hub;
use serde_json::{Value, json};

/// Runs `fanfare journal` and returns the exit code, the JSON output and the standard error.
fn run_journal(data: &std::path::Path, command: &str) -> (i32, Value, String) {
    let output = std::process::Command::new(crate::hub::program())
        .args(["journal", command, "--json", "--data-dir"])
        .arg(data)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (
        output.status.code().unwrap(),
        serde_json::from_slice(&output.stdout).unwrap_or_default(),
        stderr,
    )
}

#[tokio::test]
async fn journal_check_reads_every_record_and_refuses_a_journal_in_use() {
    let mut hub = Hub::start(&["--max-events", "50"]).await;
    for n in 0..80 {
        let body = json!({ "stream": ["a", "b"], "type": "log", "data": { "level": "info", "message": n.to_string() } });
        hub.post("/publish", body).await;
        hub.publish("c", &n.to_string()).await;
    }
    hub.publish("gone", "x").await;
    assert_eq!(hub.http.delete(hub.url("/streams/gone")).send().await.unwrap().status(), 204);
    hub.post("/streams/c/end", json!({})).await;
    let (code, _, stderr) = run_journal(&hub.data, "check");
    assert!(code == 1 && stderr.contains("in use by fanfare"), "{code}: {stderr}");
    let listed = hub.get("/streams").await.1;
    let before = hub.get("/streams/a").await.1;
    for is_orderly in [true, false] {
        if is_orderly {
            hub.stop().await
        } else {
            hub.kill()
        }
        let (code, report, stderr) = run_journal(&hub.data, "check");
        assert_eq!(
            (code, &report["sound"], &report["wrong"]),
            (0, &json!(true), &json!([])),
            "{stderr}"
        );
        let summaries = |list: &Value| -> Vec<Value> {
            let streams = list["streams"].as_array().unwrap().iter();
            streams.map(|s| json!([s["name"], s["state"], s["events"], s["bytes"]])).collect()
        };
        assert_eq!(summaries(&report), summaries(&listed));
        assert_eq!(report["types"], json!({ "log": 50, "message": 50 }));
        hub.restart().await;
        assert_eq!(hub.get("/streams/a").await.1["last_id"], before["last_id"], "nothing changed");
    }
}

/// Runs `fanfare journal salvage`; returns its status, the written lines and its output.
fn salvage(data: &std::path::Path) -> (i32, Vec<Value>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.ndjson");
    let output = std::process::Command::new(crate::hub::program())
        .args(["journal", "salvage", "--data-dir"])
        .arg(data)
        .arg("--to")
        .arg(&file)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let lines = std::fs::read_to_string(&file).unwrap_or_default();
    let events = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.code().unwrap(), events, String::from_utf8(text).unwrap())
}

/// Returns the number at the beginning of an event's data.
fn number(event: &Value) -> usize {
    let text = event["data"].as_str().unwrap();
    text.split_once('/').unwrap().0.parse().unwrap()
}

/// Damages the end of a table, without which it cannot be opened: a start names it, and the events of
/// the other files are salvaged.
fn assert_unreadable_table_is_named(data: &std::path::Path, table: &std::path::Path) {
    let bytes = std::fs::read(table).unwrap();
    std::fs::write(table, &bytes[..bytes.len() - 20]).unwrap();
    let start = std::process::Command::new(crate::hub::program())
        .args(["--listen", "127.0.0.1:0", "--system", "off", "--data-dir"])
        .arg(data)
        .output()
        .unwrap();
    let start = String::from_utf8(start.stderr).unwrap();
    let name = format!("tables/{}: ", table.file_name().unwrap().to_str().unwrap());
    assert!(start.contains(&name) && start.contains("salvage"), "{start}");
    let (code, events, text) = salvage(data);
    assert!(code == 1 && !events.is_empty(), "{} {text}", events.len());
    std::fs::write(table, bytes).unwrap();
}

#[tokio::test]
async fn journal_check_finds_damage_in_tables_and_write_ahead_files() {
    const EVENTS: usize = 500;
    let mut hub = Hub::start(&["--durability", "os"]).await;
    // More than the write-ahead files hold.
    let noise: String = (0..200_000).map(|_| char::from(rand::random_range(b'!'..=b'~'))).collect();
    for n in 0..EVENTS {
        hub.publish("s", &format!("{n}/{noise}")).await;
    }
    hub.stop().await;
    let files = || -> Vec<std::path::PathBuf> {
        let mut folders = vec![hub.data.join("journal")];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files
    };
    let flip = |path: &std::path::Path, offset: usize| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[offset] ^= 0x40;
        std::fs::write(path, bytes).unwrap();
    };
    assert_eq!(run_journal(&hub.data, "check").0, 0, "no damage yet");
    let is_wal = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "jnl");
    let size = |path: &std::path::PathBuf| path.metadata().unwrap().len() as usize;
    let is_large_table = |path: &std::path::PathBuf| !is_wal(path) && size(path) > 1 << 16;
    let table_number = |path: &std::path::PathBuf| {
        path.file_name().unwrap().to_str().unwrap().parse::<u64>().unwrap_or(u64::MAX)
    };
    let table = files().into_iter().filter(is_large_table).min_by_key(table_number);
    let table = table.expect("a table was written");
    let middle = size(&table) / 2;
    flip(&table, middle);
    let (code, report, stderr) = run_journal(&hub.data, "check");
    assert_eq!(code, 1, "{report} {stderr}");
    let name = table.file_name().unwrap().to_str().unwrap();
    assert!(stderr.contains(&format!("tables/{name}: ")), "names the file: {stderr}");
    assert!(stderr.contains("fanfare journal salvage --data-dir"), "{stderr}");
    // All events are salvaged but those of the damaged block.
    let (code, events, text) = salvage(&hub.data);
    assert!(code == 1 && text.contains(&format!("tables/{name}: keys of the kind e")), "{text}");
    assert!((EVENTS - 20..EVENTS).contains(&events.len()), "{} events", events.len());
    let numbers: Vec<usize> = events.iter().map(number).collect();
    assert!(numbers.is_sorted() && numbers.last() == Some(&(EVENTS - 1)), "{numbers:?}");
    flip(&table, middle);
    assert_eq!(run_journal(&hub.data, "check").0, 0, "the damage is undone");
    let (code, events, text) = salvage(&hub.data);
    assert!(code == 0 && text.contains(&format!("wrote {EVENTS} events")), "{text}");
    assert_eq!(events.iter().map(number).collect::<Vec<_>>(), (0..EVENTS).collect::<Vec<_>>());
    assert_unreadable_table_is_named(&hub.data, &table);
    let wal = files().into_iter().filter(is_wal).max_by_key(size).unwrap();
    let bytes = std::fs::read(&wal).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    flip(&wal, used / 2);
    let (code, report, stderr) = run_journal(&hub.data, "check");
    assert!(
        code == 1
            && report["wrong"][0]
                .as_str()
                .is_some_and(|w| w.contains("the write-ahead file is damaged")),
        "{report} {stderr}"
    );
}
