//! The Durable Streams protocol at several hubs.

use super::fixture::Cluster;
use crate::durable::{CLOSED, JSON, TEXT, append, create, get, head, producer, send};
use crate::hub::TEST_TIMEOUT;
use std::time::{Duration, Instant};

const FLAGS: [&str; 2] = ["--durable-streams", "on"];

#[tokio::test]
#[ignore = "needs nats-server"]
async fn streams_producers_forks_and_lifetimes_are_those_of_all_hubs() {
    let mut cluster = Cluster::with_flags(&FLAGS).await;
    let [a, b, c] = &cluster.hubs[..] else { panic!("three hubs") };
    // A stream that one hub has created is known to the others at once.
    create(a, "s", &[TEXT], "").await;
    let first = send(b, "POST", "s", &producer("p", "0", "0"), "one").await;
    assert_eq!(first.status, 200);
    let repeated = send(c, "POST", "s", &producer("p", "0", "0"), "one").await;
    assert_eq!(repeated.status, 204, "a write that another hub has applied");
    assert_eq!(send(c, "POST", "s", &producer("p", "0", "1"), "two").await.status, 200);
    assert_eq!(send(a, "PUT", "s", &[TEXT], "").await.status, 200);
    assert_eq!(send(b, "PUT", "s", &[JSON], "").await.status, 409);
    // An offset of one hub is one of the others, even if they are behind.
    let after_first = format!("s?offset={}", first.next_offset());
    let started = Instant::now();
    for hub in [a, b, c] {
        while get(hub, &after_first).await.text() != "two" {
            assert!(started.elapsed() < TEST_TIMEOUT, "a hub is behind");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let fork =
        [("Stream-Forked-From", "/v1/stream/s"), ("Stream-Fork-Offset", first.next_offset())];
    create(b, "f", &fork, "").await;
    append(c, "f", &[TEXT], "!").await;
    append(a, "s", &[CLOSED], "").await;
    create(c, "short", &[TEXT, ("Stream-TTL", "2")], "x").await;
    cluster.hubs[1].kill();
    cluster.hubs[1].restart().await;
    for hub in &cluster.hubs {
        let started = Instant::now();
        loop {
            let (whole, forked) = (get(hub, "s").await, get(hub, "f").await);
            if whole.is_closed() && forked.text() == "one!" {
                assert_eq!(whole.text(), "onetwo");
                break;
            }
            assert!(started.elapsed() < TEST_TIMEOUT, "a hub is behind");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let refused = send(hub, "POST", "s", &producer("p", "0", "2"), "x").await;
        assert_eq!((refused.status, refused.is_closed()), (409, true));
    }
    for hub in &cluster.hubs {
        let started = Instant::now();
        while head(hub, "short").await.status != 404 {
            assert!(started.elapsed() < TEST_TIMEOUT, "a stream is never over");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
