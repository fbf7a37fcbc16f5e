//! Data directories that are copied, backed up and restored.

use crate::credentials::file_with_keys;
use crate::hub::Hub;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

fn run_journal(arguments: &[&str]) -> Output {
    let mut command = Command::new(crate::hub::program());
    command.arg("journal").args(arguments).env_remove("FANFARE_URL").output().unwrap()
}

fn output_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn a_directory_restored_from_a_copy_resets_readers_that_saw_later_events() {
    for is_in_place in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (data, backup) = (folder.path().join("data"), folder.path().join("kept"));
        let mut hub = Hub::start_in(&data, &[]).await;
        for n in 1..=3 {
            hub.publish("s", &format!("old-{n}")).await;
        }
        hub.stop().await;
        copy(&data, &backup);
        hub.restart().await;
        let mut lost_ids = Vec::new();
        for n in 1..=3 {
            lost_ids.push(hub.publish_id("s", &format!("lost-{n}")).await);
        }
        hub.stop().await;
        if is_in_place {
            std::fs::remove_dir_all(data.join("journal")).unwrap();
            copy(&backup.join("."), &data);
        } else {
            std::fs::remove_dir_all(&data).unwrap();
            copy(&backup, &data);
        }
        hub.restart().await;
        for n in 1..=5 {
            let id = hub.publish_id("s", &format!("new-{n}")).await;
            assert!(!lost_ids.contains(&id), "an id names two events");
        }
        let mut reader = hub.resume("/streams/s/events", &lost_ids[2]).await;
        assert_eq!(reader.open().await["resume"], "reset", "in place: {is_in_place}");
        let events = reader.take(8).await;
        assert_eq!(events[3].data, "new-1", "nothing is skipped");
    }
}

#[cfg(feature = "cli")]
#[tokio::test]
async fn a_backup_of_a_running_hub_is_a_snapshot_and_begins_an_epoch_when_restored() {
    let folder = tempfile::tempdir().unwrap();
    let (backup, restored) = (folder.path().join("b.fanfare"), folder.path().join("restored"));
    let hub = Hub::start(&[]).await;
    for n in 0..200 {
        hub.publish(&format!("s{}", n % 3), &n.to_string()).await;
    }
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let publishing = async {
        let mut n = 200;
        while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
            hub.publish("during", &n.to_string()).await;
            n += 1;
        }
    };
    let (url, backup_path) = (hub.url(""), backup.to_str().unwrap().to_owned());
    let run_backup =
        tokio::task::spawn_blocking(move || run_journal(&["backup", &backup_path, "--url", &url]));
    let run_backup = async {
        let output = run_backup.await;
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        output
    };
    let (output, ()) = tokio::join!(run_backup, publishing);
    let output = output.unwrap();
    assert!(output.status.success(), "{}", output_text(&output));
    let (backup, data) = (backup.to_str().unwrap(), restored.to_str().unwrap());
    let output = run_journal(&["restore", backup, "--data-dir", data]);
    assert!(output.status.success(), "{}", output_text(&output));
    let second_restore = run_journal(&["restore", backup, "--data-dir", data]);
    assert!(
        !second_restore.status.success()
            && output_text(&second_restore).contains("holds a journal"),
        "{}",
        output_text(&second_restore)
    );
    let checked = run_journal(&["check", "--data-dir", data]);
    assert!(checked.status.success(), "{}", output_text(&checked));
    let copy = Hub::start_in(&restored, &[]).await;
    let mut reader = copy.subscribe("/events?stream=**&from=start").await;
    let mut original = hub.subscribe("/events?stream=**&from=start").await;
    let published =
        copy.get("/streams/during").await.1["events"].as_u64().unwrap_or_default() as usize;
    for _ in 0..200 + published {
        let (expected, actual) =
            (original.next_event().await.unwrap(), reader.next_event().await.unwrap());
        assert_eq!(
            (expected.id, expected.data),
            (actual.id, actual.data),
            "a prefix of what was published"
        );
    }
    let last = hub.publish_id("s0", "after the backup").await;
    let new = copy.publish_id("s0", "on the copy").await;
    assert_ne!(last[..8], new[..8], "a new epoch");
    let mut reader = copy.resume("/streams/s0/events", &last).await;
    assert_eq!(reader.open().await["resume"], "reset");
}

#[tokio::test]
async fn a_backup_needs_an_admin_and_a_damaged_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [
        ("ann", "the secret of ann is long", "subscribe = [\"**\"]"),
        ("admin", "the secret of admin is long", "admin = true"),
    ];
    let file = file_with_keys(folder.path(), &keys);
    let secret = |name: &str| format!("the secret of {name} is long");
    let hub = Hub::start(&["--config", &file]).await;
    let get = async |name: &str| {
        let request = hub.http.get(hub.url("/journal/backup")).bearer_auth(secret(name));
        request.send().await.unwrap()
    };
    assert_eq!(get("ann").await.status(), 403);
    let backup_bytes = get("admin").await.bytes().await.unwrap();
    let restore_folder = tempfile::tempdir().unwrap();
    let (backup, data) = (restore_folder.path().join("b"), restore_folder.path().join("data"));
    let restore = |bytes: &[u8]| {
        std::fs::write(&backup, bytes).unwrap();
        let _ = std::fs::remove_dir_all(&data);
        run_journal(&["restore", backup.to_str().unwrap(), "--data-dir", data.to_str().unwrap()])
    };
    assert!(restore(&backup_bytes).status.success());
    for length in [0, 10, backup_bytes.len() / 2, backup_bytes.len() - 1] {
        let output = restore(&backup_bytes[..length]);
        assert!(
            !output.status.success() && output_text(&output).contains("not a complete backup"),
            "{length}"
        );
        assert!(!data.join("journal").exists());
    }
    for offset in [3, backup_bytes.len() / 2, backup_bytes.len() - 2] {
        let mut flipped = backup_bytes.to_vec();
        flipped[offset] ^= 1;
        assert!(!restore(&flipped).status.success(), "byte {offset}");
    }
}

#[tokio::test]
async fn a_table_damaged_while_the_hub_runs_is_reported_by_readyz() {
    let hub = Hub::start(&["--recent-bytes", "1"]).await;
    let started = std::time::Instant::now();
    let ready = hub.get("/readyz").await.1;
    assert_eq!(ready["checks"]["reads"], json!({ "ok": true }));
    // The store decides which events are in tables and not in memory.
    while !hub.log().contains("a file may be damaged") {
        assert!(started.elapsed() < crate::hub::TEST_TIMEOUT, "no damage is found");
        for n in 0..100 {
            hub.publish("s", &format!("{n}/{}", "x".repeat(200_000))).await;
        }
        damage_tables(&hub.data.join("journal/keyspaces/1/tables"));
        let mut reader = hub.subscribe("/streams/s/events?from=start&follow=false").await;
        while reader.next().await.is_some() {}
    }
    hub.wait_for_log("a file may be damaged", 1).await;
    let ready: Value = hub.get("/readyz").await.1;
    assert!(ready["checks"]["reads"]["reason"].is_string(), "{ready}");
    hub.wait_for_metric("fanfare_journal_read_failed", |failed| failed == 1.0).await;
}

/// Changes bytes in every block of each file except the last ones, which index the others and may
/// be cached in memory.
fn damage_tables(folder: &std::path::Path) {
    for table in std::fs::read_dir(folder).unwrap().map(|table| table.unwrap().path()) {
        // The store may have removed it since.
        let Ok(mut bytes) = std::fs::read(&table) else { continue };
        let end = bytes.len() * 9 / 10;
        bytes[..end].iter_mut().step_by(2_000).for_each(|byte| *byte = byte.wrapping_add(0x10));
        let Ok(file) = std::fs::OpenOptions::new().write(true).open(&table) else { continue };
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    }
}

#[cfg(feature = "cli")]
#[tokio::test]
async fn only_the_owner_can_read_secrets_and_backups() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup"));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let mut hub = Hub::start_in(&data, &[]).await;
    let request = hub.http.post(hub.url("/revocations")).json(&json!({ "sub": "ann" }));
    assert!(request.send().await.unwrap().status().is_success());
    hub.publish("s", "one").await;
    let output = run_journal(&["backup", backup.to_str().unwrap(), "--url", &hub.url("")]);
    assert!(output.status.success(), "{}", output_text(&output));
    hub.stop().await;
    assert_eq!(mode(&backup), 0o600);
    assert_eq!(mode(&data), 0o700);
    let files = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.is_file()).collect();
    for secret in ["tickets.key", "revocations", "stream-keys"] {
        assert!(files.iter().any(|path| path.ends_with(secret)), "there is no {secret}");
    }
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}
