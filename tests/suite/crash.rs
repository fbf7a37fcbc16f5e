//! Crashes and damage: acknowledged events survive, and losses are reported.

use crate::follower::Follower;
use crate::hub::{Hub, is_full_run};
use rand::Rng;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const END: &str = "the end";

async fn assert_kills_lose_nothing(durability: &str) {
    let kills = if is_full_run() { 20 } else { 5 };
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::start_in(&folder.path().join("data"), &["--durability", durability]).await;
    let address = Arc::new(Mutex::new(hub.address.clone()));
    let stop = Arc::new(AtomicBool::new(false));
    let counter = Arc::new(AtomicU64::new(0));
    // Connected before anything is published: a client that first connects later starts at "now"
    // and does not get earlier events.
    let followers: Vec<_> = (0..10)
        .map(|n| {
            let path = "/events?stream=**".to_owned();
            let follower = Follower {
                address: address.clone(),
                path,
                drops_within: 50 * (n % 2),
                seed: n as u64,
            };
            tokio::spawn(follower.until(END))
        })
        .collect();
    hub.wait_for_metric("fanfare_sessions_opened_total{resume=\"live\"}", |n| n >= 10.0).await;
    let publishers: Vec<_> = (0..4)
        .map(|_| tokio::spawn(publish_until(address.clone(), stop.clone(), counter.clone())))
        .collect();
    for _ in 0..kills {
        let pause = rand::rng().random_range(50..600);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        hub.kill();
        hub.restart().await;
        *address.lock().unwrap() = hub.address.clone();
    }
    // However slow the machine is, and although some requests fail with each kill.
    let started = std::time::Instant::now();
    let enough = counter.load(Ordering::Relaxed).max(100) + 300;
    while counter.load(Ordering::Relaxed) < enough {
        assert!(started.elapsed() < crate::hub::TEST_TIMEOUT, "publishing does not go on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged: BTreeMap<String, String> = BTreeMap::new();
    for publisher in publishers {
        for (id, data) in publisher.await.unwrap() {
            let previous = acknowledged.insert(id.clone(), data);
            assert_eq!(previous, None, "the id {id} was given out twice");
        }
    }
    assert!(acknowledged.len() > 100, "only {} events", acknowledged.len());
    hub.publish("s0", END).await;
    let mut reader = hub.subscribe("/events?stream=**&from=start").await;
    let mut stored = BTreeMap::new();
    loop {
        let event = reader.next_event().await.unwrap();
        if event.data == END {
            break;
        }
        assert_eq!(stored.insert(event.id.clone(), event.data), None, "{} comes twice", event.id);
    }
    for (id, data) in &acknowledged {
        assert_eq!(stored.get(id), Some(data), "acknowledged event {id} is lost");
    }
    for follower in followers {
        let (events, _) = follower.await.unwrap();
        let ids: BTreeSet<&str> = events.iter().map(|e| e.id.as_str()).collect();
        assert_eq!(ids.len(), events.len(), "an event came twice");
        assert!(events.windows(2).all(|pair| pair[0].id < pair[1].id), "out of order");
        for (id, data) in &stored {
            assert!(ids.contains(id.as_str()), "a follower missed {id} {data}");
        }
        assert_eq!(ids.len(), stored.len() + 1, "a follower saw an event that was not kept");
    }
}

/// Publishes events one by one, with keys, so that a publish without an answer can be repeated.
async fn publish_until(
    address: Arc<Mutex<String>>,
    stop: Arc<AtomicBool>,
    counter: Arc<AtomicU64>,
) -> Vec<(String, String)> {
    let http = crate::hub::http();
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let n = counter.fetch_add(1, Ordering::Relaxed);
        let event = json!({ "stream": format!("s{}", n % 5), "data": format!("e{n}"), "key": format!("k{n}") });
        loop {
            let url = format!("http://{}/publish", address.lock().unwrap());
            let result = http.post(url).body(event.to_string()).send().await;
            let Ok(response) = result else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            assert_eq!(response.status(), 200);
            let Ok(receipt) = response.json::<serde_json::Value>().await else { continue };
            acknowledged.push((receipt["id"].as_str().unwrap().to_owned(), format!("e{n}")));
            break;
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_kills_in_sync_mode_lose_no_acknowledged_event() {
    assert_kills_lose_nothing("sync").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_kills_in_os_mode_lose_no_acknowledged_event() {
    assert_kills_lose_nothing("os").await;
}

/// Returns the names of the copies of damaged files.
fn damaged_copies(hub: &Hub) -> Vec<String> {
    let names = std::fs::read_dir(&hub.data).unwrap();
    let names = names.map(|f| f.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("damaged-")).collect()
}

/// The newest write-ahead file of the hub's journal.
fn wal_path(hub: &Hub) -> std::path::PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(hub.data.join("journal"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "jnl"))
        .collect();
    files.sort();
    files.pop().expect("a write-ahead file")
}

#[tokio::test]
async fn a_torn_write_loses_no_acknowledged_event() {
    let mut hub = Hub::start(&[]).await;
    for n in 0..50 {
        hub.publish("s", &n.to_string()).await;
    }
    hub.kill();
    // A write that the kill interrupts leaves the head of a batch without its end.
    let path = wal_path(&hub);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(used_bytes(&bytes));
    bytes.extend_from_within(0..40);
    std::fs::write(&path, bytes).unwrap();
    hub.restart().await;
    let mut reader = hub.subscribe("/streams/s/events?from=start").await;
    let events = reader.take(50).await;
    assert_eq!(events.last().unwrap().data, "49");
    assert_eq!(hub.metric("fanfare_journal_loss_found").await, 0.0);
    hub.wait_for_log("removed an unfinished write", 1).await;
    assert!(damaged_copies(&hub).is_empty(), "a torn write is not copied");
    assert_eq!(hub.publish("s", "50").await["duplicate"], false);
    assert_eq!(reader.next().await.unwrap().data, "50");
}

#[cfg(feature = "cli")]
#[tokio::test]
async fn damage_in_the_middle_is_reported_with_its_position_until_acknowledged() {
    let mut hub = Hub::start(&[]).await;
    let mut ids = Vec::new();
    for n in 0..200 {
        ids.push(hub.publish_id("s", &format!("event {n}")).await);
    }
    hub.kill();
    let path = wal_path(&hub);
    let mut bytes = std::fs::read(&path).unwrap();
    let needle = b"event 100";
    let offset = bytes.windows(needle.len()).position(|w| w == needle).expect("event 100");
    bytes[offset] ^= 0x40;
    std::fs::write(&path, bytes).unwrap();
    hub.restart().await;
    hub.wait_for_log("is damaged", 1).await;
    let log = hub.log();
    let line = log.lines().find(|line| line.contains("is damaged")).expect("it is logged");
    assert!(line.contains(&format!("{} from byte ", path.display())), "{line}");
    assert!(line.contains(&ids[199]), "the last committed id is named: {line}");
    assert_eq!(hub.metric("fanfare_journal_loss_found").await, 1.0);
    let copies = damaged_copies(&hub);
    assert!(copies.len() == 1 && line.contains(&copies[0]), "{copies:?}");
    let (status, ready) = hub.get("/readyz").await;
    assert_eq!(status, 200);
    assert!(ready["checks"]["loss"]["reason"].as_str().unwrap().contains("lost"), "{ready}");
    // A kept id resumes, a lost one gets a reset, and no id is assigned again.
    let mut kept_reader = hub.resume("/streams/s/events", &ids[50]).await;
    assert_eq!(kept_reader.open().await["resume"], "resumed");
    assert_eq!(kept_reader.next().await.unwrap().data, "event 51");
    let mut lost_reader = hub.resume("/streams/s/events", &ids[199]).await;
    assert_eq!(lost_reader.open().await["resume"], "reset");
    assert_eq!(lost_reader.next().await.unwrap().data, "event 0");
    let new = hub.publish_id("s", "new").await;
    assert!(!ids.contains(&new) && new[..8] != ids[0][..8], "a new epoch begins: {new}");
    assert!(line.contains(&ids[99]), "the last kept id is named: {line}");
    assert_eq!(id_before_last(&hub).await, ids[99]);
    // The loss is reported until it is acknowledged, across clean and unclean restarts.
    hub.stop().await;
    hub.restart().await;
    assert_eq!(hub.metric("fanfare_journal_loss_found").await, 1.0);
    hub.kill();
    hub.restart().await;
    let reason = hub.get("/readyz").await.1["checks"]["loss"]["reason"].clone();
    assert!(reason.as_str().is_some_and(|reason| reason.contains(&ids[99])), "{reason}");
    assert_eq!(damaged_copies(&hub), copies, "one copy of the damage");
    let output = std::process::Command::new(crate::hub::program())
        .args(["journal", "acknowledge-loss", "--url", &hub.url("")])
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && stdout.contains("acknowledged 1 losses"), "{stdout}");
    assert_eq!(hub.metric("fanfare_journal_loss_found").await, 0.0);
    hub.kill();
    hub.restart().await;
    assert_eq!(hub.get("/readyz").await.1["checks"]["loss"]["reason"], serde_json::Value::Null);
}

/// Returns the number of bytes of a write-ahead file that are in use.
fn used_bytes(wal: &[u8]) -> usize {
    wal.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

#[tokio::test]
async fn damage_to_the_last_batches_is_reported_even_if_head_is_older() {
    for (bytes_from_end, case) in [(20, "the last batch"), (400, "an earlier one")] {
        let mut hub = Hub::start(&[]).await;
        let mut ids = vec![hub.publish_id("s", "0").await];
        let head_file = hub.data.join("HEAD");
        let old_head = std::fs::read(&head_file).unwrap();
        for n in 1..6 {
            ids.push(hub.publish_id("s", &n.to_string()).await);
        }
        hub.kill();
        // As after a power loss: `HEAD` is as it was last synced.
        std::fs::write(&head_file, old_head).unwrap();
        let path = wal_path(&hub);
        let mut bytes = std::fs::read(&path).unwrap();
        let offset = used_bytes(&bytes) - bytes_from_end;
        bytes[offset] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        hub.restart().await;
        assert_eq!(hub.metric("fanfare_journal_loss_found").await, 1.0, "{case}: {}", hub.log());
        assert_eq!(damaged_copies(&hub).len(), 1, "{case}");
        let new = hub.publish_id("s", "new").await;
        assert_ne!(new[..8], ids[0][..8], "{case}: a new epoch");
        let mut first = hub.resume("/streams/s/events", &ids[0]).await;
        assert_eq!(first.open().await["resume"], "resumed", "{case}: a kept id resumes");
        let mut last = hub.resume("/streams/s/events", &ids[5]).await;
        assert_eq!(last.open().await["resume"], "reset", "{case}");
    }
}

#[tokio::test]
async fn an_unclean_stop_begins_a_new_epoch_and_rewrites_the_write_ahead_files() {
    for durability in ["sync", "os"] {
        let mut hub = Hub::start(&["--durability", durability]).await;
        let id = hub.publish_id("s", "1").await;
        let before =
            std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(wal_path(&hub)).unwrap());
        hub.kill();
        // A missing `HEAD` does not hide that the stop was unclean.
        std::fs::remove_file(hub.data.join("HEAD")).unwrap();
        hub.restart().await;
        let after =
            std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(wal_path(&hub)).unwrap());
        assert_ne!(before, after, "{durability}: pages of a failed sync would stay unwritten");
        assert_ne!(hub.publish_id("s", "2").await[..8], id[..8], "{durability}: a new epoch");
        let mut reader = hub.resume("/streams/s/events", &id).await;
        assert_eq!(reader.open().await["resume"], "resumed");
        assert_eq!(reader.next().await.unwrap().data, "2");
    }
}

#[tokio::test]
async fn a_hub_starts_after_an_interrupted_creation_of_its_journal() {
    let complete_hub = Hub::start(&[]).await;
    let complete_journal = complete_hub.data.join("journal");
    for (case, version) in [("no version", None), ("half a version", Some(&b"FJ"[..]))] {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("data/journal");
        std::fs::create_dir_all(journal.join("keyspaces")).unwrap();
        std::fs::copy(complete_journal.join("0.jnl"), journal.join("0.jnl")).unwrap();
        if let Some(version) = version {
            std::fs::write(journal.join("version"), version).unwrap();
        }
        std::fs::create_dir_all(folder.path().join("data/journal.new/keyspaces")).unwrap();
        let hub = Hub::start_in(&folder.path().join("data"), &[]).await;
        hub.publish("s", case).await;
        assert!(!hub.data.join("journal.new").exists());
    }
}

/// Returns the id of the last event before the one that was published after the damage.
#[cfg(feature = "cli")]
async fn id_before_last(hub: &Hub) -> String {
    let mut reader = hub.subscribe("/streams/s/events?last=2").await;
    let events = reader.take(2).await;
    assert_eq!(events[1].data, "new");
    events[0].id.clone()
}

#[tokio::test]
async fn a_hub_in_memory_leaves_no_file_and_begins_a_new_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("none");
    let mut hub = Hub::start_in(&data, &["--durability", "memory"]).await;
    let id = hub.publish_id("s", "1").await;
    let mut reader = hub.subscribe("/streams/s/events?from=start").await;
    assert_eq!(reader.next_event().await.unwrap().data, "1");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "memory touches no data directory");
    hub.kill();
    hub.restart().await;
    let mut reader = hub.resume("/streams/s/events", &id).await;
    assert_eq!(reader.open().await["resume"], "reset");
}

#[tokio::test]
async fn an_orderly_stop_keeps_epoch_events_and_keys() {
    for durability in ["sync", "os"] {
        let mut hub = Hub::start(&["--durability", durability]).await;
        let event = json!({ "stream": "s", "data": "1", "key": "k" });
        let first = hub.post("/publish", event.clone()).await;
        hub.stop().await;
        hub.restart().await;
        let repeated = hub.post("/publish", event).await;
        assert_eq!((&repeated["id"], &repeated["duplicate"]), (&first["id"], &json!(true)));
        let next = hub.publish_id("s", "2").await;
        assert_eq!(
            next[..8],
            first["id"].as_str().unwrap()[..8],
            "{durability}: the epoch continues"
        );
    }
}
