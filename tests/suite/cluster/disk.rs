//! Full disks of a hub and of a server.

use super::faults::{Clients, wait_for_progress};
use super::fixture::Cluster;
use super::{common_history, history, publish_until_acknowledged};
use crate::disk::SmallDisk;
use crate::hub::{Hub, TEST_TIMEOUT};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Moves a directory to a disk, and returns its new path.
fn move_to(disk: &SmallDisk, folder: &Path) -> PathBuf {
    let status = Command::new("cp").arg("-a").arg(folder).arg(disk.path()).status().unwrap();
    assert!(status.success());
    std::fs::remove_dir_all(folder).unwrap();
    disk.path().join(folder.file_name().unwrap())
}

/// Fills a disk, as another program may do, with a file whose path is returned.
fn fill(disk: &SmallDisk) -> PathBuf {
    let file = disk.path().join("filler");
    let mut fill = Command::new("dd");
    fill.args(["if=/dev/zero", "bs=64k", "status=none"]).arg(format!("of={}", file.display()));
    assert!(!fill.stderr(Stdio::null()).status().unwrap().success(), "the disk has room");
    file
}

async fn reason_of(hub: &Hub) -> String {
    let (_, ready) = hub.get("/readyz").await;
    ready["checks"]["cluster"]["reason"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
#[ignore = "needs root: mounts a tmpfs; and nats-server"]
async fn a_hub_whose_disk_is_full_stops_applying_and_continues_once_there_is_room() {
    let flags = ["--min-free-bytes", "40MiB", "--cluster-isolation-timeout", "2s"];
    let mut cluster = Cluster::with_flags(&flags).await;
    let disk = SmallDisk::new(256);
    cluster.hubs[2].stop().await;
    cluster.hubs[2].data = move_to(&disk, &cluster.hubs[2].data);
    cluster.hubs[2].restart().await;
    let mut reader = cluster.hubs[2].subscribe("/streams/a/events").await;
    reader.open().await;
    publish_until_acknowledged(&cluster.hubs[0], "a", "before").await;
    common_history(&cluster.hubs, "a", 1).await;
    let filler = fill(&disk);
    let began = Instant::now();
    while !reason_of(&cluster.hubs[2]).await.contains("the disk is nearly full") {
        assert!(began.elapsed() < TEST_TIMEOUT, "the hub has not noticed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (status, answer) = cluster.hubs[2].try_post("/streams/a/events", "x").await;
    assert_eq!((status, answer["code"].as_str()), (503, Some("disk_full")), "{answer}");
    for event in 0..10 {
        publish_until_acknowledged(&cluster.hubs[event % 2], "a", &format!("{event}")).await;
    }
    let events = reader.rest().await;
    assert_eq!(events.last().expect("a last event").json()["code"], "isolated", "{events:?}");
    assert_eq!(history(&cluster.hubs[2], "a").await.len(), 1, "it applies no others");
    assert_eq!(cluster.hubs[2].metric("fanfare_journal_poisoned").await, 0.0);
    std::fs::remove_file(filler).unwrap();
    assert_eq!(common_history(&cluster.hubs, "a", 11).await.len(), 11);
    cluster.hubs[2].wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: mounts a tmpfs; and nats-server"]
async fn a_server_whose_disk_is_full_loses_nothing() {
    let mut cluster = Cluster::start().await;
    cluster.hubs.iter_mut().for_each(Hub::keep_address);
    let server = cluster.leader();
    let disk = SmallDisk::new(256);
    cluster.servers[server].kill();
    let store = move_to(&disk, &cluster.store(server));
    for (name, value) in &mut cluster.servers[server].variables {
        if *name == "NATS_STORE" {
            *value = store.display().to_string();
        }
    }
    cluster.servers[server].start();
    let addresses = cluster.hubs.iter().map(|hub| hub.address.clone()).collect();
    let clients = Clients::start(addresses, &mut rand::rng());
    wait_for_progress(&clients.load, &cluster, "the start").await;
    let filler = fill(&disk);
    let began = Instant::now();
    while !std::fs::read_to_string(&cluster.servers[server].log)
        .unwrap()
        .contains("no space left on device")
    {
        assert!(began.elapsed() < TEST_TIMEOUT, "the server has not noticed");
        wait_for_progress(&clients.load, &cluster, "the disk is full").await;
    }
    wait_for_progress(&clients.load, &cluster, "the server has noticed").await;
    std::fs::remove_file(filler).unwrap();
    cluster.servers[server].kill();
    cluster.servers[server].start();
    let began = Instant::now();
    loop {
        let (_, state) = cluster.hubs[0].get("/cluster").await;
        if state["log"]["stale_servers"] == Value::Array(Vec::new()) {
            break;
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "{state}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    clients.finish(&cluster).await;
}
