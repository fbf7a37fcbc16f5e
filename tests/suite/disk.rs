//! A full disk: publishes fail with a reason, reads continue, and no acknowledged event is lost.

#[cfg(feature = "chat")]
use crate::chat::{all_events, start_chat};
use crate::hub::{Hub, TEST_TIMEOUT};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A small tmpfs, unmounted on drop.
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    pub fn new(mebibytes: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(mounted.success(), "this test needs root to mount a tmpfs");
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}

/// Publishes until the hub refuses; returns the ids that were acknowledged, and the refusal.
async fn fill_disk(hub: &Hub) -> (Vec<String>, serde_json::Value) {
    let mut ids = Vec::new();
    for n in 0..2_000 {
        let noise: String =
            (0..100_000).map(|_| char::from(rand::random_range(b'a'..=b'z'))).collect();
        let body = json!({ "stream": "s", "data": format!("{n}/{noise}") });
        let (status, response) = hub.try_post("/publish", body.to_string()).await;
        if status != 200 {
            assert_eq!(status, 503, "{response}");
            return (ids, response);
        }
        ids.push(response["id"].as_str().unwrap().to_owned());
    }
    panic!("the disk never filled");
}

/// Publishes to stream `s` again until the hub has removed replaced files of its own and accepts it; returns the id.
async fn publish_once_accepted(hub: &Hub, data: &str) -> String {
    let started = Instant::now();
    loop {
        let body = json!({ "stream": "s", "data": data });
        let (status, response) = hub.try_post("/publish", body.to_string()).await;
        if status == 200 {
            return response["id"].as_str().unwrap().to_owned();
        }
        assert_eq!(response["code"], "disk_full");
        assert!(started.elapsed() < TEST_TIMEOUT, "a publish is never accepted: {response}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn assert_all_events(hub: &Hub, ids: &[String]) {
    let mut reader = hub.subscribe("/streams/s/events?from=start").await;
    for (n, id) in ids.iter().enumerate() {
        let event = reader.next_event().await.unwrap();
        assert_eq!(&event.id, id);
        assert!(event.data.starts_with(&format!("{n}/")));
        reader.bytes.clear();
    }
}

#[tokio::test]
#[ignore = "needs root: mounts a tmpfs"]
async fn publishes_are_refused_below_the_reserve_until_space_is_freed() {
    let disk = SmallDisk::new(256);
    let ballast = disk.path().join("ballast");
    let chunk = vec![0; 1 << 20];
    let write_ballast = |mebibytes: usize| {
        std::fs::write(&ballast, chunk.repeat(mebibytes)).unwrap();
    };
    write_ballast(80);
    let mut hub = Hub::start_in(&disk.path().join("data"), &["--min-free-bytes", "96MiB"]).await;
    hub.publish("other", "x").await;
    let (mut ids, refusal) = fill_disk(&hub).await;
    assert_eq!(refusal["code"], "disk_full");
    assert!(refusal["detail"].as_str().unwrap().contains("min-free-bytes"), "{refusal}");
    assert!(hub.metric("fanfare_publishes_refused_total{reason=\"disk_full\"}").await >= 1.0);
    let (status, ready) = hub.get("/readyz").await;
    assert_eq!((status, &ready["checks"]["disk"]["ok"]), (503, &json!(false)));
    assert_all_events(&hub, &ids).await;
    // An end and a deletion are accepted, because they release readers and space; not while the tables that the
    // hub writes, beside write-ahead files that it cannot remove yet, have used most of the reserve.
    let (started, mut ballast_mebibytes) = (Instant::now(), 80);
    for attempt in 1.. {
        let (status, answer) = hub.try_post("/streams/other/end", "{}").await;
        if status == 200 {
            break;
        }
        assert_eq!(answer["code"], "disk_full");
        assert!(started.elapsed() < TEST_TIMEOUT, "an end is never accepted: {answer}");
        if attempt % 100 == 0 {
            ballast_mebibytes -= 8;
            write_ballast(ballast_mebibytes);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let deleted = hub.http.delete(hub.url("/streams/other")).send().await.unwrap();
    assert_eq!(deleted.status(), 204, "{}", deleted.text().await.unwrap());
    assert_eq!(hub.try_post("/publish", r#"{"stream":"t","data":1}"#).await.0, 503);
    std::fs::remove_file(&ballast).unwrap();
    ids.push(publish_once_accepted(&hub, &format!("{}/again", ids.len())).await);
    assert_all_events(&hub, &ids).await;
    hub.wait_until_ready().await;
    hub.kill();
    hub.restart().await;
    assert_all_events(&hub, &ids).await;
}

#[tokio::test]
#[ignore = "needs root: mounts a tmpfs"]
async fn a_nearly_spent_reserve_is_not_written_to() {
    let disk = SmallDisk::new(256);
    let ballast = disk.path().join("ballast");
    let hub = Hub::start_in(&disk.path().join("data"), &["--min-free-bytes", "96MiB"]).await;
    hub.publish("s", "x").await;
    let leave_free = |bytes: u64| {
        let _ = std::fs::remove_file(&ballast);
        let stat = rustix::fs::statvfs(disk.path()).unwrap();
        let ballast_bytes = usize::try_from(stat.f_bavail * stat.f_frsize - bytes).unwrap();
        std::fs::write(&ballast, vec![0; ballast_bytes]).unwrap();
    };
    leave_free(12 << 20);
    assert_eq!(hub.try_post("/streams/s/end", "").await.1["code"], "disk_full");
    leave_free(60 << 20);
    // The end of an unknown stream would create it.
    assert_eq!(hub.try_post("/streams/new/end", "").await.1["code"], "disk_full");
    assert_eq!(hub.try_post("/streams/s/end", "").await.0, 200);
    assert_eq!(hub.metric("fanfare_journal_poisoned").await, 0.0);
}

/// Text that compresses badly; each event gets a different part of it.
struct Noise(String);

impl Noise {
    fn new() -> Self {
        Self(
            (0..1 << 20).map(|_| char::from(rand::random_range(b'#'..=b'[')).to_string()).collect(),
        )
    }

    fn part(&self, n: usize) -> &str {
        let start = n * 7_919 % 900_000;
        &self.0[start..start + 100_000]
    }
}

/// Free bytes of a disk.
fn free_bytes(disk: &SmallDisk) -> u64 {
    let stat = rustix::fs::statvfs(disk.path()).unwrap();
    stat.f_bavail * stat.f_frsize
}

#[cfg(feature = "chat")]
#[tokio::test]
#[ignore = "needs root: mounts a tmpfs"]
async fn deleting_a_chat_on_a_full_disk_does_not_rewrite_the_journal() {
    // Space for the stored events, the reserve, and the most that their compactions need.
    let disk = SmallDisk::new(512);
    let flags = ["--min-free-bytes", "64MiB", "--chat-kept", "1s"];
    let mut hub = Hub::start_in(&disk.path().join("data"), &flags).await;
    let noise = Noise::new();
    for n in 0..1_900 {
        hub.publish("s", noise.part(n)).await;
    }
    let keys = hub.data.join("stream-keys");
    let holds_keys = || std::fs::read(&keys).unwrap().iter().any(|byte| *byte != 0);
    let chat = start_chat(&hub).await;
    all_events(&hub, &chat).await;
    let started = std::time::Instant::now();
    while holds_keys() {
        assert!(
            started.elapsed() < crate::hub::TEST_TIMEOUT,
            "the chat keeps its key\n{}",
            hub.log()
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    hub.publish("s", "it goes on").await;
    // The events may cause flushes and compactions meanwhile, but a rewrite of the journal must not
    // happen.
    assert_eq!(hub.metric("fanfare_journal_reclaims_total").await, 0.0, "{}", hub.log());
    hub.stop().await;
    hub.restart().await;
    hub.publish("s", "and after a restart").await;
    assert!(!hub.log().contains("failed to reclaim"), "{}", hub.log());
}

#[tokio::test]
#[ignore = "needs root: mounts a tmpfs"]
async fn retention_frees_space_on_a_full_disk() {
    // Slightly more than the 648 MiB that the size limit, the reserve and the overhead need.
    let disk = SmallDisk::new(704);
    let flags = ["--journal-max-bytes", "200MiB", "--min-free-bytes", "192MiB"];
    let hub = Hub::start_in(&disk.path().join("data"), &flags).await;
    let noise = Noise::new();
    let mut refused = 0;
    for n in 0..7_000 {
        let started = std::time::Instant::now();
        let body = json!({ "stream": "s", "data": noise.part(n) }).to_string();
        loop {
            let (status, response) = hub.try_post("/publish", body.clone()).await;
            if status == 200 {
                break;
            }
            refused += 1;
            assert_eq!(response["code"], "disk_full", "{response}");
            assert!(
                started.elapsed() < crate::hub::TEST_TIMEOUT,
                "event {n} stays refused, with {} bytes free\n{}",
                free_bytes(&disk),
                hub.log()
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    eprintln!("refused {refused} times, {} free", free_bytes(&disk));
    assert_eq!(hub.metric("fanfare_journal_poisoned").await, 0.0);
}

#[tokio::test]
#[ignore = "needs root: mounts a tmpfs"]
async fn a_failed_write_poisons_the_journal_until_a_restart_and_loses_nothing() {
    let disk = SmallDisk::new(48);
    let ballast = disk.path().join("ballast");
    let mut hub = Hub::start_with_log_in(disk.path(), &["--min-free-bytes", "0"]).await;
    std::fs::write(&ballast, vec![0; 8 << 20]).unwrap();
    let (mut ids, refusal) = fill_disk(&hub).await;
    assert_eq!(refusal["code"], "journal_poisoned", "{refusal}");
    assert!(refusal["detail"].as_str().unwrap().contains("space"), "{refusal}");
    assert_eq!(hub.metric("fanfare_journal_poisoned").await, 1.0);
    assert_all_events(&hub, &ids).await;
    let (status, ready) = hub.get("/readyz").await;
    assert_eq!((status, &ready["checks"]["journal"]["ok"]), (503, &json!(false)));
    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(hub.try_post("/publish", r#"{"stream":"s","data":1}"#).await.0, 503);
    hub.kill();
    hub.restart().await;
    assert_all_events(&hub, &ids).await;
    ids.push(hub.publish_id("s", &format!("{}/after", ids.len())).await);
    assert_all_events(&hub, &ids).await;
}
