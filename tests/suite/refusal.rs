//! Refusals, as a stream for EventSource, which gives up otherwise, and as a status for others.

use crate::hub::Hub;
use crate::reader::Reader;
use serde_json::json;

#[tokio::test]
async fn an_eventsource_is_refused_in_a_stream_and_other_clients_with_a_status() {
    let hub = Hub::start(&["--max-connections", "2"]).await;
    let mut readers = Vec::new();
    for _ in 0..2 {
        let mut reader = hub.subscribe("/streams/s/events").await;
        reader.open().await;
        readers.push(reader);
    }
    let mut refused_reader = hub.subscribe("/streams/s/events").await;
    assert_eq!(
        (refused_reader.status, refused_reader.headers["cache-control"].as_str()),
        (200, "no-store")
    );
    let events = refused_reader.rest().await;
    assert_eq!(events.len(), 1);
    let data = events[0].json();
    assert_eq!(
        (events[0].name.as_str(), &data["code"], &data["limit"]),
        ("hub-error", &json!("resource_exhausted"), &json!("max_connections"))
    );
    assert_eq!(data["retry_ms"].as_u64(), refused_reader.retry());
    assert_eq!(events[0].id, "", "a refusal has no event id");
    for (path, accept) in [
        ("/streams/s/events?refusal=status", "text/event-stream"),
        ("/streams/s/events?control=off", "text/event-stream"),
        ("/streams/s/events", "*/*"),
    ] {
        let mut refused = Reader::connect(&hub.address, path, &[("Accept", accept)]).await.unwrap();
        assert_eq!(refused.status, 503, "{path} {accept}");
        assert_eq!(refused.headers["cache-control"], "no-store");
        assert!(refused.headers["retry-after"].parse::<u64>().unwrap() >= 2);
        assert_eq!(refused.body().await["code"], "resource_exhausted");
    }
    assert_eq!(
        hub.metric("fanfare_subscribers_refused_total{reason=\"max_connections\"}").await,
        4.0
    );
    readers.pop();
    hub.wait_for_metric("fanfare_sessions", |n| n == 1.0).await;
    hub.subscribe("/streams/s/events").await.open().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_is_exact_in_a_stampede_and_retries_are_spread() {
    let hub = std::sync::Arc::new(
        Hub::start(&["--max-connections", "50", "--refusal-return-rate", "20"]).await,
    );
    let tasks: Vec<_> = (0..300)
        .map(|_| {
            let hub = hub.clone();
            tokio::spawn(async move {
                let mut reader = hub.subscribe("/streams/s/events").await;
                let first = reader.next().await.unwrap();
                (first.name == "hub-open").then_some(reader).ok_or(first)
            })
        })
        .collect();
    let (mut admitted, mut retries) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            Ok(reader) => admitted.push(reader),
            Err(refusal) => retries.push(refusal.json()["retry_ms"].as_u64().unwrap()),
        }
    }
    assert_eq!((admitted.len(), retries.len()), (50, 250));
    // At 20 per second, 250 clients return within 12.5 seconds.
    assert!(*retries.iter().max().unwrap() > 8_000, "{retries:?}");
    assert_eq!(hub.metric("fanfare_sessions").await, 50.0);
}
