//! Sources of the hubs of a cluster: the monitor, the log, heartbeats and jobs.

use super::common_history;
use super::fixture::Cluster;
#[cfg(feature = "jobs")]
use crate::hub::TEST_TIMEOUT;
use serde_json::{Value, json};
#[cfg(feature = "jobs")]
use std::time::{Duration, Instant};

#[tokio::test]
#[ignore = "needs nats-server"]
async fn each_hub_has_its_own_streams_of_the_monitor_and_the_log() {
    let cluster = Cluster::with_flags(&["--system", "200ms", "--publish-log", "on"]).await;
    for (n, hub) in cluster.hubs.iter().enumerate() {
        let (_, session) = hub.get("/session").await;
        assert_eq!(session["node"], json!(format!("h{n}")), "{session}");
    }
    for n in 0..cluster.hubs.len() {
        for stream in ["system", "hub.stats", "hub.logs"] {
            // Each hub has those of all hubs.
            let path = format!("/streams/{stream}.h{n}/events?from=start");
            let mut reader = cluster.hubs[(n + 1) % 3].subscribe(&path).await;
            reader.open().await;
            reader.take(1).await;
        }
    }
    let (status, answer) = cluster.hubs[0].get("/streams/system").await;
    assert_eq!(status, 404, "{answer}");
    let (status, answer) = cluster.hubs[0].try_post("/streams/system.h1/events", "x").await;
    assert_eq!(status, 403, "only the hub publishes to it: {answer}");
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn the_status_of_a_service_is_reported_once() {
    let flags = ["--heartbeat-late", "2s", "--heartbeat-down", "4s"];
    let cluster = Cluster::with_flags(&flags).await;
    let beat = |source: &str| json!({ "stream": "beats", "type": "heartbeat", "data": { "source": source } });
    let statuses = |events: &[(String, String)], source: &str| -> Vec<Value> {
        let data = events.iter().map(|(_, data)| serde_json::from_str::<Value>(data).unwrap());
        data.filter(|data| data["source"] == source).map(|data| data["status"].clone()).collect()
    };
    cluster.hubs[1].post("/publish", beat("api")).await;
    let events = common_history(&cluster.hubs, "heartbeats", 3).await;
    assert_eq!(statuses(&events, "api"), ["up", "late", "down"]);
    // While another service passes through the same, all hubs have checked the first one again.
    cluster.hubs[2].post("/publish", beat("web")).await;
    let events = common_history(&cluster.hubs, "heartbeats", 6).await;
    assert_eq!(statuses(&events, "web"), ["up", "late", "down"]);
    assert_eq!(statuses(&events, "api"), ["up", "late", "down"]);
}

#[cfg(feature = "jobs")]
#[tokio::test]
#[ignore = "needs nats-server"]
async fn the_start_of_a_hub_ends_only_the_runs_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    std::fs::write(&config, "[job.wait]\ncommand = [\"sleep\", \"600\"]\n").unwrap();
    let mut cluster = Cluster::with_flags(&["--config", config.to_str().unwrap()]).await;
    let mut streams = Vec::new();
    for hub in &cluster.hubs[..2] {
        let (status, run) = hub.try_post("/jobs/wait/runs", "").await;
        assert_eq!(status, 202, "{run}");
        streams.push(run["stream"].as_str().unwrap().to_owned());
    }
    assert!(streams[0].ends_with("-h0") && streams[1].ends_with("-h1"), "{streams:?}");
    common_history(&cluster.hubs, &streams[1], 1).await;
    cluster.hubs[1].kill();
    cluster.hubs[1].restart().await;
    let hub = &cluster.hubs[1];
    let state = |stream: String| async move {
        hub.get(&format!("/streams/{stream}")).await.1["state"].clone()
    };
    let began = Instant::now();
    while state(streams[1].clone()).await != json!("ended") {
        assert!(began.elapsed() < TEST_TIMEOUT, "its own run has no end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(state(streams[0].clone()).await, json!("open"), "that of another hub goes on");
}
