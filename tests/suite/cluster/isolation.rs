//! Hubs that are cut off from the log, or behind it.

use super::fixture::{Cluster, NODES};
use super::nats::Server;
use super::{common_history, publish_until_acknowledged};
use crate::hub::TEST_TIMEOUT;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_hub_that_is_cut_off_refuses_at_once_and_disconnects_its_subscribers() {
    let mut cluster = Cluster::with_flags(&["--cluster-isolation-timeout", "11s"]).await;
    cluster.hubs[0].publish("a", "first").await;
    cluster.hubs[0].wait_until_ready().await;
    let mut reader = cluster.hubs[0].subscribe("/streams/a/events").await;
    reader.open().await;
    cluster.servers.iter_mut().for_each(Server::kill);
    let hub = &cluster.hubs[0];
    hub.wait_for_metric("fanfare_cluster_unreachable_seconds", |seconds| seconds >= 10.0).await;
    // The reader gets the reason and a time, and can resume elsewhere.
    let left = reader.rest().await.pop().expect("a last event");
    assert_eq!(left.name, "hub-error");
    assert_eq!(left.json()["code"], "isolated", "{left:?}");
    assert!(left.json()["retry_ms"].as_u64().unwrap() > 0, "{left:?}");
    assert_eq!(hub.metric("fanfare_sessions_closed_total{reason=\"isolated\"}").await, 1.0);
    let (status, answer) = hub.get("/readyz").await;
    let reason = answer["checks"]["cluster"]["reason"].as_str().unwrap_or_default().to_owned();
    assert_eq!(status, 503, "{answer}");
    assert!(reason.starts_with("the log has not answered for "), "{answer}");
    // Nothing was on its way, so the first publish is refused as well.
    let (status, answer) = hub.try_post("/streams/a/events", "x").await;
    assert_eq!((status, &answer["code"]), (503, &json!("log_unavailable")), "{answer}");
    let (status, answer) = hub.get("/streams/a/events?refusal=status").await;
    assert_eq!((status, &answer["code"]), (503, &json!("log_unavailable")), "{answer}");
    let refused = "fanfare_subscribers_refused_total{reason=\"isolated\"}";
    assert_eq!(hub.metric(refused).await, 1.0);
    assert_eq!(super::history(hub, "a").await.len(), 1, "history can be read");
    cluster.servers.iter_mut().for_each(Server::start);
    cluster.hubs[0].wait_until_ready().await;
    publish_until_acknowledged(&cluster.hubs[0], "a", "second").await;
    let mut reader = cluster.hubs[0].subscribe("/streams/a/events?last=2").await;
    assert_eq!(reader.take(2).await.len(), 2);
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn an_id_from_a_faster_hub_is_known_to_a_slower_one() {
    let cluster = Cluster::start().await;
    cluster.hubs[0].publish("a", "first").await;
    cluster.hubs[0].publish("b", "other").await;
    common_history(&cluster.hubs, "b", 1).await;
    // The server of a hub stops, so that the hub reads nothing until it has found another one.
    let leader = cluster.leader();
    let slow = (leader + 1) % NODES;
    let fast = (leader + 2) % NODES;
    cluster.servers[slow].freeze();
    let mut ids = Vec::new();
    for event in 0..3 {
        let answer =
            publish_until_acknowledged(&cluster.hubs[fast], "a", &format!("missed {event}")).await;
        ids.push(answer["id"].as_str().unwrap().to_owned());
    }
    let mut reader = cluster.hubs[slow].resume("/streams/a/events", &ids[1]).await;
    assert_eq!(reader.open().await["resume"], "resumed");
    let event = reader.take(1).await.remove(0);
    assert_eq!((event.data.as_str(), &event.id), ("missed 2", &ids[2]));
    cluster.servers[slow].thaw();
    // An id that no hub can have given is not known.
    let epoch = ids[0].split('-').next().unwrap();
    let mut reader =
        cluster.hubs[slow].resume("/streams/a/events", &format!("{epoch}-00ffffffffffffff")).await;
    assert_eq!(reader.open().await["resume"], "reset");
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_hub_is_ready_once_it_has_read_what_it_missed() {
    let mut cluster = Cluster::start().await;
    for hub in &cluster.hubs {
        hub.wait_until_ready().await;
    }
    cluster.hubs[2].kill();
    for event in 0..50 {
        cluster.hubs[event % 2].publish("a", &event.to_string()).await;
    }
    cluster.hubs[2].restart().await;
    let began = Instant::now();
    loop {
        let (status, answer) = cluster.hubs[2].get("/readyz").await;
        if status == 200 {
            break;
        }
        let reason = &answer["checks"]["cluster"]["reason"];
        assert!(
            reason == &Value::Null || reason.as_str().unwrap().contains("more batches"),
            "{answer}"
        );
        assert!(began.elapsed() < TEST_TIMEOUT, "{answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(super::history(&cluster.hubs[2], "a").await.len(), 50);
    assert_eq!(cluster.hubs[2].metric("fanfare_cluster_behind_seconds").await, 0.0);
}
