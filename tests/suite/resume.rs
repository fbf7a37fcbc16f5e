//! Resume after a disconnect: a client misses no event.

use crate::follower::Follower;
use crate::hub::Hub;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

const CLIENTS: usize = 200;
const PUBLISHERS: usize = 8;
const EVENTS: usize = 20_000;
const STREAMS: usize = 5;
const END: &str = "the end";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_reconnect_at_random_get_every_event_once_and_in_order() {
    let hub = Arc::new(Hub::start(&[]).await);
    let address = Arc::new(Mutex::new(hub.address.clone()));
    let followers: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let path = match n % 4 {
                0 => "/events?stream=**".to_owned(),
                1 => format!("/events?stream=s{}&stream=s{}", n % STREAMS, (n + 1) % STREAMS),
                _ => format!("/streams/s{}/events", n % STREAMS),
            };
            let address = address.clone();
            let follower =
                Follower { address, path: path.clone(), drops_within: 400, seed: n as u64 };
            (path, tokio::spawn(follower.until(END)))
        })
        .collect();
    hub.wait_for_metric("fanfare_sessions_opened_total{resume=\"live\"}", |n| n >= CLIENTS as f64)
        .await;
    let publishers: Vec<_> =
        (0..PUBLISHERS).map(|p| tokio::spawn(publish_share(hub.clone(), p))).collect();
    let mut published: Vec<(String, Vec<String>, String)> = Vec::new();
    for publisher in publishers {
        published.extend(publisher.await.unwrap());
    }
    let streams_of_end: Vec<String> = (0..STREAMS).map(|s| format!("s{s}")).collect();
    let end = hub.post("/publish", json!({ "stream": streams_of_end, "data": END })).await;
    published.push((end["id"].as_str().unwrap().to_owned(), streams_of_end, END.to_owned()));
    published.sort();
    let mut connections = 0;
    for (path, follower) in followers {
        let (received, count) = follower.await.unwrap();
        connections += count;
        let expected: Vec<(&str, &str)> = published
            .iter()
            .filter(|(_, streams, _)| {
                path.contains("**") || streams.iter().any(|s| path.contains(s.as_str()))
            })
            .map(|(id, _, data)| (id.as_str(), data.as_str()))
            .collect();
        let received: Vec<(&str, &str)> =
            received.iter().map(|e| (e.id.as_str(), e.data.as_str())).collect();
        let difference =
            received.iter().zip(&expected).position(|(received, expected)| received != expected);
        assert_eq!(
            difference.map(|index| (index, received[index], expected[index])),
            None,
            "{path}"
        );
        assert_eq!(received.len(), expected.len(), "{path}");
    }
    assert!(connections > CLIENTS * 5, "they connected only {connections} times");
}

/// Publishes this publisher's share, every tenth event on two streams, some in batches.
async fn publish_share(hub: Arc<Hub>, publisher: usize) -> Vec<(String, Vec<String>, String)> {
    let mut published = Vec::new();
    let mut n = 0;
    while n < EVENTS / PUBLISHERS {
        let size = if n % 3 == 0 { 40 } else { 1 }.min(EVENTS / PUBLISHERS - n);
        let batch: Vec<(Vec<String>, String)> = (n..n + size)
            .map(|i| {
                let mut streams = vec![format!("s{}", (i + publisher) % STREAMS)];
                if i % 10 == 0 {
                    streams.push(format!("s{}", (i + publisher + 1) % STREAMS));
                }
                (streams, format!("{publisher}/{i}"))
            })
            .collect();
        let body: Vec<_> = batch.iter().map(|(s, d)| json!({ "stream": s, "data": d })).collect();
        let receipts = hub.post("/publish", json!(body)).await;
        for (receipt, (streams, data)) in receipts.as_array().unwrap().iter().zip(batch) {
            published.push((receipt["id"].as_str().unwrap().to_owned(), streams, data));
        }
        n += size;
    }
    published
}

#[tokio::test]
async fn a_client_that_disconnects_before_its_first_event_resumes_from_hub_open() {
    let hub = Hub::start(&[]).await;
    let mut reader = hub.subscribe("/streams/s/events").await;
    let opened = reader.open().await;
    assert_eq!(opened["resume"], "live");
    let position = reader.last_id().to_owned();
    assert_eq!(opened["from"], position.as_str());
    assert_eq!(reader.headers["last-event-id"], position);
    drop(reader);
    hub.publish("s", "missed").await;
    let mut reader = hub.resume("/streams/s/events", &position).await;
    let opened = reader.open().await;
    assert_eq!(
        (opened["resume"].as_str(), opened["requested"].as_str()),
        (Some("resumed"), Some(position.as_str()))
    );
    assert_eq!(reader.next().await.unwrap().data, "missed");
}

#[tokio::test]
async fn the_last_event_id_may_be_in_the_query_and_the_header_takes_precedence() {
    let hub = Hub::start(&[]).await;
    let first = hub.publish_id("s", "1").await;
    let second = hub.publish_id("s", "2").await;
    hub.publish("s", "3").await;
    for name in ["last_event_id", "lastEventID", "Last-Event-ID"] {
        let mut reader = hub.subscribe(&format!("/streams/s/events?{name}={first}")).await;
        assert_eq!(reader.open().await["resume"], "resumed", "{name}");
        assert_eq!(reader.next().await.unwrap().data, "2");
    }
    let mut reader = hub.resume(&format!("/streams/s/events?last_event_id={first}"), &second).await;
    assert_eq!(reader.next_event().await.unwrap().data, "3");
}

#[tokio::test]
async fn an_unknown_id_resets_to_the_oldest_kept_event() {
    let hub = Hub::start(&[]).await;
    let first = hub.publish_id("s", "1").await;
    let future = format!("{}-00000000ffffffff", &first[..8]);
    let other_epoch = format!("ffffffff{}", &first[8..]);
    for id in ["rubbish", "", future.as_str(), other_epoch.as_str()] {
        let mut reader = hub.resume("/streams/s/events", id).await;
        let opened = reader.open().await;
        if id.is_empty() {
            assert_eq!(opened["resume"], "live", "an empty id is no id");
            continue;
        }
        assert_eq!(
            (opened["resume"].as_str(), opened["requested"].as_str()),
            (Some("reset"), Some(id))
        );
        assert_eq!(reader.next().await.unwrap().data, "1");
    }
}

#[tokio::test]
async fn a_resume_within_a_batch_delivers_its_rest_once() {
    let hub = Hub::start(&[]).await;
    let batch: Vec<_> = (0..100).map(|n| json!({ "stream": "s", "data": n })).collect();
    let receipts = hub.post("/publish", json!(batch)).await;
    let ids: Vec<&str> =
        receipts.as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    let distinct: HashMap<_, _> = ids.iter().map(|id| (id, ())).collect();
    assert_eq!(distinct.len(), 100);
    let mut reader = hub.resume("/events?stream=**", ids[41]).await;
    let rest: Vec<String> = reader.take(58).await.into_iter().map(|e| e.data).collect();
    assert_eq!(rest, (42..100).map(|n| n.to_string()).collect::<Vec<_>>());
    hub.publish("s", "next").await;
    assert_eq!(reader.next().await.unwrap().data, "next");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_within_a_batch_under_dispatch_delivers_its_rest_once() {
    let hub = Arc::new(Hub::start(&[]).await);
    let publisher = {
        let hub = hub.clone();
        tokio::spawn(async move {
            for batch in 0..100 {
                let events: Vec<_> = (batch * 1000..batch * 1000 + 1000)
                    .map(|n| json!({ "stream": "s", "data": n }))
                    .collect();
                hub.post("/publish", json!(events)).await;
            }
        })
    };
    let mut starts = 0;
    while !publisher.is_finished() {
        // The newest batch is readable shortly before it is dispatched.
        let mut reader = hub.subscribe("/streams/s/events?last=995").await;
        let Some(first) = reader.next_event().await else { continue };
        let first: usize = first.data.parse().unwrap();
        if first < 5 {
            continue;
        }
        assert_eq!(first % 1000, 5, "it starts at `last`");
        for n in 1..1000 {
            if publisher.is_finished() {
                break;
            }
            assert_eq!(reader.next_event().await.unwrap().data, (first + n).to_string());
        }
        starts += 1;
    }
    assert!(starts > 3, "only {starts} starts");
}
