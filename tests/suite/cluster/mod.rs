//! Several hubs on one replicated log, with real NATS servers.

#[cfg(feature = "bench")]
mod bench;
mod connection;
mod credentials;
mod disk;
mod drain;
#[cfg(feature = "durable-streams")]
mod durable;
mod faults;
mod fixture;
mod isolation;
mod join;
mod jwt;
mod limits;
mod log_faults;
#[cfg(feature = "mercure")]
mod mercure;
mod nats;
mod network;
mod partitions;
mod peers;
mod recover;
mod sources;
mod upgrade;

use crate::hub::{Hub, TEST_TIMEOUT, program};
use fixture::{Cluster, NODES};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Returns id and data of all stored events of a stream.
async fn history(hub: &Hub, stream: &str) -> Vec<(String, String)> {
    let path = format!("/streams/{stream}/events?from=start&follow=false&control=off");
    let events = hub.subscribe(&path).await.rest().await;
    events.into_iter().map(|event| (event.id, event.data)).collect()
}

/// Waits until all hubs have the same events of a stream, at least `count`, and returns them.
async fn common_history(hubs: &[Hub], stream: &str, count: usize) -> Vec<(String, String)> {
    let began = Instant::now();
    loop {
        let mut histories = Vec::new();
        for hub in hubs {
            histories.push(history(hub, stream).await);
        }
        if histories[0].len() >= count && histories.windows(2).all(|pair| pair[0] == pair[1]) {
            return histories.remove(0);
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "{histories:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Starts a hub that must exit with 1, with these flags, and returns its errors.
async fn failed_start(hub: &Hub, flags: &[String]) -> String {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(program());
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(&hub.data).args(flags);
    command.stdout(Stdio::null()).stderr(log.reopen().unwrap());
    let mut child = Killed(command.spawn().unwrap());
    let began = Instant::now();
    loop {
        let error = || std::fs::read_to_string(log.path()).unwrap();
        if let Some(status) = child.0.try_wait().unwrap() {
            assert_eq!(status.code(), Some(1), "{}", error());
            return error();
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "it does not exit: {}", error());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A process that is killed when this is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Publishes with a key, and repeats it until it is acknowledged.
async fn publish_until_acknowledged(hub: &Hub, stream: &str, data: &str) -> Value {
    let began = Instant::now();
    loop {
        let key = &data[..data.len().min(100)];
        let body = json!({ "stream": stream, "data": data, "key": key });
        let (status, answer) = hub.try_post("/publish", body.to_string()).await;
        match status {
            200 => return answer,
            503 => assert!(began.elapsed() < TEST_TIMEOUT, "{answer}"),
            _ => panic!("{status} {answer}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn three_hubs_have_one_history_and_a_client_resumes_on_any_of_them() {
    let mut cluster = Cluster::start().await;
    let mut readers = Vec::new();
    for hub in &cluster.hubs {
        let mut reader = hub.subscribe("/streams/a/events").await;
        reader.open().await;
        readers.push(reader);
    }
    let publishers = cluster.hubs.iter().enumerate().map(|(n, hub)| async move {
        for event in 0..50 {
            hub.publish("a", &format!("{n} {event}")).await;
        }
    });
    futures_util::future::join_all(publishers).await;
    let mut live = Vec::new();
    for reader in &mut readers {
        let events = reader.take(150).await.into_iter();
        live.push(events.map(|event| (event.id, event.data)).collect::<Vec<_>>());
    }
    assert!(live.windows(2).all(|pair| pair[0] == pair[1]), "{live:?}");
    for n in 0..NODES {
        let of_hub = live[0].iter().filter(|(_, data)| data.starts_with(&format!("{n} ")));
        let numbers: Vec<_> = of_hub.map(|(_, data)| data[2..].parse::<u32>().unwrap()).collect();
        assert_eq!(numbers, (0..50).collect::<Vec<_>>(), "of hub {n}");
    }
    // A client goes on at another hub.
    let mut reader = cluster.hubs[1].resume("/streams/a/events", &live[0][69].0).await;
    assert_eq!(reader.open().await["resume"], "resumed");
    let rest = reader.take(80).await.into_iter().map(|event| (event.id, event.data));
    assert_eq!(rest.collect::<Vec<_>>(), live[0][70..]);
    // An idempotency key holds at all of them.
    let first = publish_until_acknowledged(&cluster.hubs[0], "a", "once").await;
    let second = publish_until_acknowledged(&cluster.hubs[2], "a", "once").await;
    assert_eq!(json!([second["id"], second["duplicate"]]), json!([first["id"], true]));
    // A hub that was killed gets what it has missed.
    cluster.hubs[2].kill();
    for event in 0..10 {
        cluster.hubs[event % 2].publish("a", &format!("missed {event}")).await;
    }
    cluster.hubs[2].restart().await;
    let events = common_history(&cluster.hubs, "a", 161).await;
    assert_eq!(events.len(), 161);
    assert_eq!(events[..150], live[0], "ids stay over a restart");
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn publishes_continue_when_the_leader_of_the_log_is_killed() {
    let mut cluster = Cluster::start().await;
    for event in 0..20 {
        publish_until_acknowledged(&cluster.hubs[event % NODES], "a", &event.to_string()).await;
    }
    let leader = cluster.leader();
    cluster.servers[leader].kill();
    for event in 20..40 {
        publish_until_acknowledged(&cluster.hubs[event % NODES], "a", &event.to_string()).await;
    }
    cluster.servers[leader].start();
    let events = common_history(&cluster.hubs, "a", 40).await;
    let numbers: Vec<_> = events.iter().map(|(_, data)| data.parse::<u32>().unwrap()).collect();
    assert_eq!(numbers, (0..40).collect::<Vec<_>>(), "each once, in order");
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn without_a_quorum_publishes_are_refused_and_readers_stay() {
    let mut cluster = Cluster::start().await;
    let hub = &cluster.hubs[0];
    hub.publish("a", "before").await;
    let mut reader = hub.subscribe("/streams/a/events").await;
    reader.open().await;
    cluster.servers[1].kill();
    cluster.servers[2].kill();
    // The first is on its way to the log; a later one is refused at once.
    let hub = &cluster.hubs[0];
    let body = |data: &str| json!({ "stream": "a", "data": data, "key": data }).to_string();
    let (status, answer) = hub.try_post("/publish", body("unconfirmed")).await;
    assert_eq!((status, &answer["code"]), (503, &json!("unconfirmed")), "{answer}");
    let (status, answer) = hub.try_post("/publish", body("refused")).await;
    assert_eq!((status, &answer["code"]), (503, &json!("log_unavailable")), "{answer}");
    let refused = "fanfare_publishes_refused_total{reason=\"log_unavailable\"}";
    assert_eq!(hub.metric(refused).await, 1.0);
    assert_eq!(history(hub, "a").await.len(), 1, "history can be read");
    cluster.servers[1].start();
    cluster.servers[2].start();
    publish_until_acknowledged(hub, "a", "unconfirmed").await;
    publish_until_acknowledged(hub, "a", "after").await;
    let data: Vec<_> = reader.take(2).await.into_iter().map(|event| event.data).collect();
    assert_eq!(data, ["unconfirmed", "after"], "the reader was not disconnected");
    assert_eq!(common_history(&cluster.hubs, "a", 3).await.len(), 3);
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_publish_that_no_message_holds_is_refused_and_delays_no_other() {
    let flags = ["--max-body-bytes", "16MiB", "--publish-bytes-per-client", "1GiB"];
    let cluster = Cluster::with_flags(&flags).await;
    let event = json!({ "stream": "a", "data": "x".repeat(250_000) });
    let body = Value::from(vec![event; 40]).to_string();
    let (status, answer) = cluster.hubs[0].try_post("/publish", body).await;
    assert_eq!((status, &answer["code"]), (413, &json!("payload_too_large")), "{answer}");
    cluster.hubs[0].publish("a", "small").await;
    assert_eq!(common_history(&cluster.hubs, "a", 1).await.len(), 1);
}
