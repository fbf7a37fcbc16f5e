//! The Mercure protocol at several hubs.

use super::fixture::Cluster;
use crate::hub::TEST_TIMEOUT;
use crate::mercure::{HUB, ISSUER, URL, all_tokens, publish, send, subscribe_as};
use serde_json::Value;
use std::time::Instant;

const FLAGS: [&str; 12] = [
    "--mercure",
    "both",
    "--mercure-url",
    URL,
    "--jwt-secret",
    crate::credentials::SECRET,
    "--jwt-issuer",
    ISSUER,
    "--anonymous",
    "subscribe",
    "--mercure-subscriptions",
    "on",
];
/// A pattern of the topics of all subscriptions.
const ALL: &str = "/.well-known/mercure/subscriptions/:match_type/:match/:subscriber";

#[tokio::test]
#[ignore = "needs nats-server"]
async fn updates_and_subscriptions_are_those_of_all_hubs() {
    let mut cluster = Cluster::with_flags(&FLAGS).await;
    let token = &all_tokens()[0];
    // An update is published at one hub, read at another one, and resumed at the third.
    let mut reader = subscribe_as(&cluster.hubs[1], token, &[("match", "a")]).await;
    for (n, hub) in [(0, 0), (1, 1), (2, 2)] {
        let (data, id) = (n.to_string(), format!("urn:{n}"));
        let fields = [("topic", "a"), ("data", data.as_str()), ("id", id.as_str())];
        assert_eq!(publish(&cluster.hubs[hub], token, &fields).await.status, 200);
        assert_eq!(reader.next().await.unwrap().data, data);
    }
    for hub in &cluster.hubs {
        let parameters = [("match", "a"), ("last_event_id", "urn:0")];
        let mut resumed = subscribe_as(hub, token, &parameters).await;
        assert_eq!(resumed.headers["mercure-last-event-id"], "urn:0");
        assert_eq!(resumed.next().await.unwrap().data, "1");
    }
    // Each hub lists the subscriptions of all.
    let left = subscribe_as(&cluster.hubs[2], token, &[("match", "left open")]).await;
    let bearer = format!("Bearer {token}");
    for hub in &cluster.hubs {
        let path = format!("{HUB}/subscriptions/exact/left%20open");
        let answer = send(hub, "GET", &path, &[("Authorization", &bearer)], "").await;
        let list: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(list["subscriptions"].as_array().unwrap().len(), 1, "{}", answer.body);
    }
    // Another hub ends those of a hub that is gone, once.
    cluster.hubs[2].kill();
    drop(left);
    let parameters = [("match_urlpattern", ALL), ("last_event_id", "earliest")];
    let mut watch = subscribe_as(&cluster.hubs[0], token, &parameters).await;
    let mut seen = Vec::new();
    let began = Instant::now();
    while seen.len() < 2 {
        assert!(began.elapsed() < TEST_TIMEOUT, "{seen:?}");
        let document = watch.next().await.expect("an update").json();
        if document["match"] == "left open" {
            seen.push(document["active"] == true);
        }
    }
    assert_eq!(seen, [true, false]);
    cluster.hubs[2].restart().await;
    let last = subscribe_as(&cluster.hubs[2], token, &[("match", "last")]).await;
    loop {
        let document = watch.next().await.expect("an update").json();
        assert_ne!(document["match"], "left open", "its end was published once");
        if document["match"] == "last" {
            break;
        }
    }
    drop(last);
}
