//! A log that is not what it was, and hubs that are not what they were.

use super::fixture::{Cluster, NODES};
use super::recover::with_lost_messages;
use super::{common_history, failed_start, history, nats, publish_until_acknowledged};
use crate::clock::libfaketime;
use crate::hub::{Hub, TEST_TIMEOUT};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

const SUBJECT: &str = "fanfare.log";

/// Returns a message of the log.
fn message(cluster: &Cluster, number: u64) -> Vec<u8> {
    let query = json!({ "seq": number }).to_string();
    let answer = nats::request(&cluster.addresses[0], "$JS.API.STREAM.MSG.GET.fanfare", &query);
    BASE64_STANDARD.decode(answer["message"]["data"].as_str().unwrap()).unwrap()
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_log_that_has_lost_messages_is_detected_before_others_with_their_numbers_are_served() {
    let (mut cluster, before) = with_lost_messages().await;
    let mut reader = cluster.hubs[0].subscribe("/streams/a/events").await;
    reader.open().await;
    for hub in &cluster.hubs {
        let (status, answer) = hub.try_post("/streams/a/events", "x").await;
        assert_eq!((status, &answer["code"]), (503, &json!("log_unavailable")), "{answer}");
    }
    // A new hub cannot know, and publishes under the same numbers.
    cluster.add_hub(&[]).await;
    publish_others(&cluster.hubs[3], 20).await;
    cluster.hubs[3].wait_for_metric("fanfare_cluster_differs", |differs| differs == 1.0).await;
    for hub in &cluster.hubs[..NODES] {
        hub.wait_for_log("of the log is not the one that this hub has applied", 1).await;
        let (status, answer) = hub.try_post("/streams/a/events", "x").await;
        assert_eq!((status, &answer["code"]), (503, &json!("journal_poisoned")), "{answer}");
        assert_eq!(history(hub, "a").await, before);
    }
    cluster.hubs[0].terminate();
    assert_eq!(reader.rest().await.iter().filter(|event| event.data.contains("other")).count(), 0);
}

/// Publishes at a hub until the others have told it that they have applied another log.
pub async fn publish_others(hub: &Hub, events: usize) {
    for event in 0..events {
        let body = json!({ "stream": "a", "data": format!("other {event}") });
        let (status, answer) = hub.try_post("/publish", body.to_string()).await;
        if status == 503 {
            assert_eq!(answer["code"], "log_unavailable", "{answer}");
            return;
        }
        assert_eq!(status, 200, "{answer}");
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_hub_whose_directory_was_rolled_back_reads_the_rest_from_the_log() {
    let mut cluster = Cluster::start().await;
    for event in 0..5 {
        cluster.hubs[2].publish("a", &format!("before {event}")).await;
    }
    // As it is on the disk of a machine that loses power.
    let copy = cluster.folder.path().join("copy");
    super::recover::copy(&cluster.hubs[2].data, &copy);
    for event in 0..10 {
        cluster.hubs[2].publish("a", &format!("later {event}")).await;
    }
    let before = common_history(&cluster.hubs, "a", 15).await;
    cluster.hubs[2].kill();
    std::fs::remove_dir_all(&cluster.hubs[2].data).unwrap();
    std::fs::rename(&copy, &cluster.hubs[2].data).unwrap();
    cluster.hubs[2].restart().await;
    assert_eq!(common_history(&cluster.hubs, "a", 15).await, before, "with the same ids");
    // A client that has seen the newest event continues there.
    let mut reader = cluster.hubs[2].resume("/streams/a/events", &before[14].0).await;
    assert_eq!(reader.open().await["resume"], "resumed");
    publish_until_acknowledged(&cluster.hubs[2], "a", "after").await;
    assert_eq!(reader.take(1).await[0].data, "after");
    assert_eq!(common_history(&cluster.hubs, "a", 16).await.len(), 16);
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_stream_that_was_created_again_is_detected() {
    let mut cluster = Cluster::start().await;
    for event in 0..5 {
        cluster.hubs[0].publish("a", &event.to_string()).await;
    }
    let before = common_history(&cluster.hubs, "a", 5).await;
    cluster.hubs[2].stop().await;
    let deleted = nats::request(&cluster.addresses[0], "$JS.API.STREAM.DELETE.fanfare", "");
    assert_eq!(deleted["success"], true, "{deleted}");
    // A hub with an empty directory creates it, one that has applied messages does not.
    cluster.add_hub(&[]).await;
    publish_others(&cluster.hubs[3], 8).await;
    for hub in &cluster.hubs[..2] {
        hub.wait_for_log("stream fanfare was deleted and created again", 1).await;
        assert_eq!(history(hub, "a").await, before);
    }
    let hub = &mut cluster.hubs[2];
    let error = failed_start(hub, &hub.flags).await;
    assert!(error.contains("is not a copy of this cluster's log"), "{error}");
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_batch_that_is_appended_again_is_published_once() {
    let cluster = Cluster::start().await;
    cluster.hubs[0].publish("a", "first").await;
    cluster.hubs[0].publish("a", "second").await;
    // As after the time in which the server knows the id of the message.
    for number in [1, 2] {
        let data = message(&cluster, number);
        let answer =
            nats::append(&cluster.addresses[0], SUBJECT, &format!("again {number}"), &data);
        assert_eq!(answer["seq"], json!(number + 2), "{answer}");
    }
    cluster.hubs[0].publish("a", "third").await;
    let events = common_history(&cluster.hubs, "a", 3).await;
    let data: Vec<_> = events.iter().map(|(_, data)| data.as_str()).collect();
    assert_eq!(data, ["first", "second", "third"]);
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_batch_of_a_newer_version_stops_a_hub_and_names_both_versions() {
    let cluster = Cluster::start().await;
    cluster.hubs[0].publish("a", "first").await;
    let mut data = message(&cluster, 1);
    // A version that no hub has yet.
    data[0] = 9;
    nats::append(&cluster.addresses[0], SUBJECT, "newer", &data);
    let hub = &cluster.hubs[1];
    let version = env!("CARGO_PKG_VERSION");
    let text =
        format!("hub version {version} wrote the batch in format 9; this is version {version}");
    hub.wait_for_log(&text, 1).await;
    let (status, answer) = hub.try_post("/streams/a/events", "x").await;
    assert_eq!((status, &answer["code"]), (503, &json!("journal_poisoned")), "{answer}");
    assert_eq!(history(hub, "a").await.len(), 1);
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_batch_that_the_log_has_lost_stops_the_hubs_that_lack_it() {
    let cluster = Cluster::start().await;
    cluster.hubs[0].publish("a", "first").await;
    // The ticket is behind the format, the version and the epoch; the third batch has no second one.
    let mut data = message(&cluster, 1);
    let ticket = 1 + 1 + env!("CARGO_PKG_VERSION").len() + 4;
    assert_eq!(data[ticket..ticket + 8], 1u64.to_be_bytes());
    data[ticket..ticket + 8].copy_from_slice(&3u64.to_be_bytes());
    nats::append(&cluster.addresses[0], SUBJECT, "third", &data);
    for hub in &cluster.hubs {
        let text = "message 2 of the log is batch 3 of hub h0, and a batch before it is missing";
        hub.wait_for_log(text, 1).await;
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn all_hubs_remove_a_stream_that_retention_has_emptied_at_one_of_them() {
    let mut cluster = Cluster::start().await;
    cluster.hubs[0].publish("a", "x").await;
    cluster.hubs[0].publish("b", "x").await;
    common_history(&cluster.hubs, "b", 1).await;
    assert_eq!(streams(&cluster.hubs[1]).await, [json!("a"), json!("b")]);
    // Only one of them has a limit on the age.
    cluster.hubs[2].flags.extend(["--max-age".to_owned(), "1s".to_owned()]);
    cluster.hubs[2].stop().await;
    cluster.hubs[2].restart().await;
    for hub in &cluster.hubs {
        let began = Instant::now();
        while !streams(hub).await.is_empty() {
            assert!(began.elapsed() < TEST_TIMEOUT, "{}", hub.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let (status, answer) = cluster.hubs[0].get("/streams/a").await;
    assert_eq!(status, 404, "{answer}");
}

async fn streams(hub: &Hub) -> Vec<Value> {
    let (status, answer) = hub.get("/streams").await;
    assert_eq!(status, 200, "{answer}");
    let streams = answer["streams"].as_array().unwrap().iter();
    streams.map(|stream| stream["name"].clone()).collect()
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_hub_with_a_wrong_clock_uses_the_time_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    let rule = "max-age = \"1h\"\n[[retention]]\nstreams = \"short\"\nmax-age = \"1s\"\n";
    std::fs::write(&config, rule).unwrap();
    let mut cluster = Cluster::with_flags(&["--config", config.to_str().unwrap()]).await;
    cluster.hubs[0].publish("a", "first").await;
    let hub = &mut cluster.hubs[1];
    hub.stop().await;
    let variables = [("LD_PRELOAD", libfaketime()), ("FAKETIME", "+2h".to_owned())];
    hub.variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
    hub.restart().await;
    hub.publish("a", "ahead").await;
    cluster.hubs[0].publish("a", "after").await;
    // Retention removes what is old, and nothing that only seems so.
    cluster.hubs[1].publish("short", "x").await;
    let began = Instant::now();
    for hub in &cluster.hubs {
        while hub.get("/streams/short").await.0 != 404 {
            assert!(began.elapsed() < TEST_TIMEOUT, "{}", hub.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let events = common_history(&cluster.hubs, "a", 3).await;
    assert_eq!(events.len(), 3);
    let output = Command::new("date").args(["-u", "-d", "+1 hour", "+%FT%TZ"]).output().unwrap();
    let in_an_hour = String::from_utf8(output.stdout).unwrap();
    for hub in &cluster.hubs {
        let path = "/streams/a/events?from=start&follow=false&control=off&envelope=true";
        for event in hub.subscribe(path).await.rest().await {
            let time = event.json()["time"].as_str().unwrap().to_owned();
            assert!(time < in_an_hour, "{time}");
        }
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn all_hubs_judge_a_batch_by_the_limits_of_the_hub_that_proposed_it() {
    let mut cluster = Cluster::start().await;
    let hub = &mut cluster.hubs[2];
    hub.flags.extend(["--max-streams".to_owned(), "2".to_owned()]);
    hub.stop().await;
    hub.restart().await;
    for stream in ["a", "b", "c"] {
        cluster.hubs[0].publish(stream, "x").await;
    }
    // The hub with the lower limit has them, too, and adds no further one.
    common_history(&cluster.hubs, "c", 1).await;
    let (status, answer) = cluster.hubs[2].try_post("/streams/d/events", "x").await;
    assert_eq!((status, &answer["limit"]), (503, &json!("max_streams")), "{answer}");
    cluster.hubs[2].publish("a", "to an existing one").await;
    cluster.hubs[1].publish("e", "x").await;
    common_history(&cluster.hubs, "e", 1).await;
    for hub in &cluster.hubs {
        assert_eq!(streams(hub).await, ["a", "b", "c", "e"].map(|stream| json!(stream)));
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_hub_of_a_cluster_does_not_start_without_it() {
    let mut cluster = Cluster::start().await;
    cluster.hubs[0].publish("a", "x").await;
    common_history(&cluster.hubs, "a", 1).await;
    let hub = &mut cluster.hubs[1];
    hub.stop().await;
    let error = failed_start(hub, &[]).await;
    assert!(
        error.contains("belongs to a hub of a cluster; start it with --cluster-nats"),
        "{error}"
    );
    hub.restart().await;
    publish_until_acknowledged(hub, "a", "y").await;
}
