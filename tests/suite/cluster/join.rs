//! Hubs that the log has left behind, which get a snapshot of another one.

use super::fixture::{Cluster, NODES};
use super::{Killed, common_history, failed_start, history, nats, publish_until_acknowledged};
use crate::certificate::Certificate;
use crate::hub::{Hub, TEST_TIMEOUT, program};
use serde_json::json;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SMALL_LOG: [&str; 2] = ["--cluster-log-max-bytes", "64KiB"];

/// Publishes as much as the log keeps, and more.
async fn overflow_log(cluster: &Cluster) {
    for event in 0..20 {
        let data = format!("{event} {}", "x".repeat(10_000));
        publish_until_acknowledged(&cluster.hubs[0], "a", &data).await;
    }
}

/// Returns a cluster whose log keeps little, with a third hub that is stopped since its first event.
async fn with_an_absent_hub() -> Cluster {
    let mut cluster = Cluster::with_flags(&SMALL_LOG).await;
    cluster.hubs[0].publish("a", "first").await;
    common_history(&cluster.hubs, "a", 1).await;
    cluster.hubs[2].kill();
    overflow_log(&cluster).await;
    common_history(&cluster.hubs[..2], "a", 21).await;
    cluster
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn an_empty_and_a_long_absent_hub_get_a_snapshot_and_continue() {
    let mut cluster = with_an_absent_hub().await;
    // A client of the absent hub continues there.
    let last = history(&cluster.hubs[0], "a").await[0].0.clone();
    cluster.hubs[2].restart().await;
    cluster.hubs[2].wait_for_log("got a snapshot", 1).await;
    let mut reader = cluster.hubs[2].resume("/streams/a/events", &last).await;
    assert_eq!(reader.open().await["resume"], "resumed");
    assert_eq!(reader.take(20).await.len(), 20);
    cluster.add_hub(&SMALL_LOG).await;
    cluster.hubs[3].wait_for_log("got a snapshot", 1).await;
    let events = common_history(&cluster.hubs, "a", 21).await;
    assert_eq!(events.len(), 21);
    // Both publish, and a key that was used before is known to them.
    for (hub, data) in [(2, "by the absent"), (3, "by the new")] {
        publish_until_acknowledged(&cluster.hubs[hub], "a", data).await;
    }
    let answer = publish_until_acknowledged(&cluster.hubs[3], "a", "by the absent").await;
    assert_eq!(answer["duplicate"], json!(true), "{answer}");
    assert_eq!(common_history(&cluster.hubs, "a", 23).await.len(), 23);
    // Its journal is sound.
    let hub = &mut cluster.hubs[3];
    hub.stop().await;
    let mut check = Command::new(program());
    let result = check.args(["journal", "check", "--data-dir"]).arg(&hub.data).output().unwrap();
    assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server"]
async fn a_hub_without_a_snapshot_waits_for_one_and_is_not_ready() {
    let mut cluster = with_an_absent_hub().await;
    cluster.hubs[2].keep_address();
    // No other hub is there.
    cluster.hubs[1].stop().await;
    cluster.hubs[0].stop().await;
    let mut hub = cluster.hubs.pop().unwrap();
    let address = hub.address.clone();
    let started = tokio::spawn(async move {
        hub.restart().await;
        hub
    });
    let http = crate::hub::http();
    let url = |path: &str| format!("http://{address}{path}");
    let began = Instant::now();
    // The hub answers with its state.
    let ready = loop {
        if let Ok(response) = http.get(url("/readyz")).send().await {
            let status = response.status().as_u16();
            let ready: serde_json::Value = response.json().await.unwrap();
            if ready.to_string().contains("no other hub of the cluster can send one") {
                break (status, ready);
            }
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "no state");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((ready.0, &ready.1["ready"]), (503, &json!(false)), "{ready:?}");
    assert_eq!(http.get(url("/healthz")).send().await.unwrap().status(), 200);
    assert_eq!(http.head(url("/readyz")).send().await.unwrap().status(), 503);
    let metrics = http.get(url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("fanfare_cluster_snapshot_received_bytes 0"), "{metrics}");
    let refused = http.get(url("/streams/a/events")).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    let stream = http.get(url("/events?stream=a")).header("Accept", "text/event-stream");
    let stream = stream.send().await.unwrap();
    assert_eq!(stream.status(), 200, "an EventSource reconnects");
    let text = stream.text().await.unwrap();
    assert!(text.contains("retry: ") && text.contains("\"code\":\"joining\""), "{text}");
    // Another hub is back, and the waiting one gets its snapshot without a restart.
    cluster.hubs[0].restart().await;
    let hub = started.await.unwrap();
    cluster.hubs.truncate(1);
    cluster.hubs.push(hub);
    assert_eq!(common_history(&cluster.hubs, "a", 21).await.len(), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server"]
async fn an_interrupted_snapshot_is_begun_again_with_another_hub() {
    let flags = ["--cluster-log-max-bytes", "1MiB", "--publish-bytes-per-client", "1GiB"];
    let mut cluster = Cluster::with_flags(&flags).await;
    cluster.hubs[0].publish("a", "first").await;
    common_history(&cluster.hubs, "a", 1).await;
    let mut hub = cluster.hubs.pop().unwrap();
    hub.kill();
    // Enough that a snapshot takes a while.
    for part in 0..150 {
        let data = format!("{part} {}", "x".repeat(200_000));
        publish_until_acknowledged(&cluster.hubs[0], "a", &data).await;
    }
    common_history(&cluster.hubs, "a", 151).await;
    // The receiver is killed while it gets its snapshot.
    hub.keep_address();
    let child = start_without_waiting(&hub);
    sender_of_snapshot(&hub.address).await;
    drop(child);
    // The sender hangs.
    let address = hub.address.clone();
    let restarted = tokio::spawn(async move {
        hub.restart().await;
        hub
    });
    let sender = sender_of_snapshot(&address).await;
    let sender = usize::from(sender == "h1");
    cluster.hubs[sender].freeze();
    let hub = restarted.await.unwrap();
    hub.wait_for_log("does not answer", 1).await;
    hub.wait_for_log("got a snapshot", 1).await;
    cluster.hubs[sender].thaw();
    cluster.hubs.push(hub);
    assert_eq!(common_history(&cluster.hubs, "a", 151).await.len(), 151);
}

/// Waits until a hub gets a snapshot, and returns the name of the hub that sends it.
async fn sender_of_snapshot(address: &str) -> String {
    let (http, began) = (crate::hub::http(), Instant::now());
    loop {
        let answer = http.get(format!("http://{address}/readyz")).send().await;
        if let Ok(answer) = answer {
            let text = answer.text().await.unwrap_or_default();
            let sender = text.split("getting a snapshot of hub \\\"").nth(1);
            if let Some(sender) = sender.filter(|_| !text.contains(": 0 bytes")) {
                return sender.split('\\').next().unwrap().to_owned();
            }
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "no snapshot");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn the_store_of_another_log_is_not_replaced_by_a_snapshot() {
    let mut cluster = with_an_absent_hub().await;
    let hub = cluster.hubs.pop().unwrap();
    // The others begin again, with another log.
    for hub in &mut cluster.hubs {
        hub.stop().await;
        std::fs::remove_dir_all(&hub.data).unwrap();
    }
    nats::request(&cluster.addresses[0], "$JS.API.STREAM.DELETE.fanfare", "");
    for hub in &mut cluster.hubs {
        hub.restart().await;
    }
    overflow_log(&cluster).await;
    let error = failed_start(&hub, &hub.flags).await;
    assert!(error.contains("is not a copy of this cluster's log"), "{error}");
    // Its event is still there.
    let events = hub.data.join("events");
    let mut command = Command::new(program());
    command.args(["journal", "salvage", "--to"]).arg(&events).arg("--data-dir").arg(&hub.data);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let events = std::fs::read_to_string(events).unwrap_or_default();
    assert!(events.contains("first"), "{output:?}");
}

/// Waits until fewer than `count` consumers have waited for messages for longer than a request lasts.
async fn wait_for_fewer_readers(address: &str, count: usize) {
    let began = Instant::now();
    loop {
        let (window, mut names) = (Instant::now(), BTreeSet::new());
        while window.elapsed() < Duration::from_secs(3) {
            names.extend(nats::waiting_consumers(address, "fanfare"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if names.len() < count {
            return;
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "{names:?}");
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_running_hub_that_the_log_leaves_behind_names_the_gap_and_gets_a_snapshot_at_its_start() {
    let mut cluster = Cluster::with_flags(&SMALL_LOG).await;
    cluster.hubs[0].publish("a", "first").await;
    common_history(&cluster.hubs, "a", 1).await;
    cluster.hubs[2].freeze();
    // Messages on their way to it would be read later.
    wait_for_fewer_readers(&cluster.addresses[0], NODES).await;
    overflow_log(&cluster).await;
    let last = history(&cluster.hubs[0], "a").await.pop().unwrap().1;
    cluster.hubs[2].thaw();
    let hub = &mut cluster.hubs[2];
    hub.wait_for_log("the log continues with message", 1).await;
    let (status, answer) = hub.try_post("/streams/a/events", "x").await;
    assert_eq!((status, &answer["code"]), (503, &json!("journal_poisoned")), "{answer}");
    assert!(history(hub, "a").await.iter().all(|(_, data)| *data != last), "nothing after the gap");
    hub.stop().await;
    hub.restart().await;
    hub.wait_for_log("got a snapshot", 1).await;
    assert_eq!(common_history(&cluster.hubs, "a", 21).await.len(), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server"]
async fn a_hub_with_tls_gets_a_snapshot() {
    let mut cluster = with_an_absent_hub().await;
    let certificate = Certificate::make("localhost");
    let mut hub = cluster.hubs.pop().unwrap();
    hub.flags.extend(certificate.flags().map(str::to_owned));
    hub.restart().await;
    hub.wait_for_log("got a snapshot", 1).await;
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_replacement_that_a_kill_has_interrupted_is_finished_by_the_next_start() {
    let mut cluster = Cluster::start().await;
    cluster.hubs[0].publish("a", "x").await;
    common_history(&cluster.hubs, "a", 1).await;
    cluster.stop_hubs().await;
    // The moment between the two renames. Without its journal, the hub would create a new log.
    nats::request(&cluster.addresses[0], "$JS.API.STREAM.DELETE.fanfare", "");
    let hub = &mut cluster.hubs[2];
    std::fs::rename(hub.data.join("journal"), hub.data.join("journal.new")).unwrap();
    std::fs::create_dir(hub.data.join("journal.replaced")).unwrap();
    std::fs::remove_file(hub.data.join("HEAD")).unwrap();
    let error = failed_start(hub, &hub.flags).await;
    assert!(error.contains("stream fanfare does not exist"), "{error}");
    assert!(hub.data.join("journal").exists() && !hub.data.join("journal.replaced").exists());
}

fn start_without_waiting(hub: &Hub) -> Killed {
    let mut command = Command::new(program());
    command.args(["--listen", &hub.address, "--data-dir"]).arg(&hub.data).args(&hub.flags);
    Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}
