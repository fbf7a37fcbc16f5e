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

#[tokio::test]
async fn journal_check_finds_damage_in_tables_and_write_ahead_files() {
    let mut hub = Hub::start(&["--durability", "os"]).await;
    for n in 0..300 {
        hub.publish("s", &format!("{n}/{}", "x".repeat(200_000))).await;
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
    let table = files().into_iter().filter(|path| !is_wal(path)).max_by_key(size).unwrap();
    assert!(size(&table) > 1 << 16, "a table was written: {table:?}");
    let middle = size(&table) / 2;
    flip(&table, middle);
    let (code, report, stderr) = run_journal(&hub.data, "check");
    assert_eq!(code, 1, "{report} {stderr}");
    flip(&table, middle);
    assert_eq!(run_journal(&hub.data, "check").0, 0, "the damage is undone");
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
