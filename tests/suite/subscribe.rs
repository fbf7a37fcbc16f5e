//! Subscribing: starting points, filters, heartbeats, bad queries.

use crate::hub::Hub;
use crate::reader::Reader;
use serde_json::json;

#[tokio::test]
async fn a_subscriber_starts_at_the_requested_point() {
    let hub = Hub::start(&[]).await;
    for n in 0..5 {
        let kind = if n % 2 == 0 { "even" } else { "odd" };
        hub.post("/publish", json!({ "stream": format!("s{}", n % 2), "type": kind, "data": n }))
            .await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let all = hub.get("/streams/s1").await.1;
    let time = all["last_time"].as_str().unwrap().replace('+', "%2B");
    for (query, expected) in [
        ("stream=**&from=start", vec!["0", "1", "2", "3", "4"]),
        ("stream=*&last=2", vec!["3", "4"]),
        ("stream=s0&stream=s1&last=3", vec!["2", "3", "4"]),
        ("stream=s0&stream=s1&last=99", vec!["0", "1", "2", "3", "4"]),
        ("stream=s0&last=1", vec!["4"]),
        ("stream=**&types=odd&last=1", vec!["3", "4"]),
        ("stream=s0&stream=s1&types=even&last=2", vec!["2", "4"]),
        ("stream=**&from=10m", vec!["0", "1", "2", "3", "4"]),
        ("stream=**&from=now", vec![]),
        ("stream=**", vec![]),
        ("stream=nobody&from=start", vec![]),
        (&format!("stream=**&from={time}"), vec!["3", "4"]),
    ] {
        let mut reader = hub.subscribe(&format!("/events?{query}")).await;
        let opened = reader.open().await;
        assert_eq!(opened["resume"], "live", "{query}");
        let filter = query.contains("types=odd");
        let expected: Vec<&str> = expected.into_iter().filter(|n| !filter || *n == "3").collect();
        let seen: Vec<String> =
            reader.take(expected.len()).await.into_iter().map(|e| e.data).collect();
        assert_eq!(seen, expected, "{query}");
        // `from` is the position before the first event: a resume from it delivers the same events.
        let from = opened["from"].as_str().unwrap();
        let path = format!(
            "/events?{}",
            query.split("&from=").next().unwrap().split("&last=").next().unwrap()
        );
        let mut resumed = hub.resume(&path, from).await;
        let seen: Vec<String> =
            resumed.take(expected.len()).await.into_iter().map(|e| e.data).collect();
        assert_eq!(seen, expected, "{path} resumed at {from}");
    }
}

#[tokio::test]
async fn types_filter_live_events_too() {
    let hub = Hub::start(&[]).await;
    let mut reader = hub.subscribe("/events?stream=s&types=a,b").await;
    reader.open().await;
    for kind in ["c", "a", "message", "b"] {
        hub.post("/publish", json!({ "stream": "s", "type": kind, "data": kind })).await;
    }
    let seen: Vec<String> = reader.take(2).await.into_iter().map(|e| e.data).collect();
    assert_eq!(seen, ["a", "b"]);
}

#[tokio::test]
async fn selectors_match_streams_created_later() {
    let hub = Hub::start(&[]).await;
    let mut one_part = hub.subscribe("/events?stream=builds.*").await;
    let mut all_parts = hub.subscribe("/events?stream=builds.**&stream=other").await;
    one_part.open().await;
    all_parts.open().await;
    for stream in ["builds", "builds.1", "builds.1.log", "other"] {
        hub.publish(stream, stream).await;
    }
    hub.publish("builds.2", "end").await;
    let seen: Vec<String> = one_part.take(2).await.into_iter().map(|e| e.data).collect();
    assert_eq!(seen, ["builds.1", "end"]);
    let seen: Vec<String> = all_parts.take(4).await.into_iter().map(|e| e.data).collect();
    assert_eq!(seen, ["builds.1", "builds.1.log", "other", "end"]);
}

#[tokio::test]
async fn a_heartbeat_is_a_comment_or_an_event_without_an_id() {
    let hub = Hub::start(&[]).await;
    let mut reader = hub.subscribe("/streams/s/events?heartbeat=1s&heartbeat_as=event").await;
    reader.open().await;
    let position = reader.last_id().to_owned();
    let heartbeat = reader.next().await.unwrap();
    assert_eq!(
        (heartbeat.name.as_str(), heartbeat.json()["source"].as_str()),
        ("heartbeat", Some("fanfare"))
    );
    assert_eq!(reader.last_id(), position);
    let mut with_comments = hub.subscribe("/streams/s/events?heartbeat=1").await;
    with_comments.open().await;
    while with_comments.comments() == 0 {
        assert!(with_comments.read_more().await.unwrap());
    }
}

#[tokio::test]
async fn control_off_sends_only_events_and_retry_with_the_first_block() {
    let hub = Hub::start(&["--max-events", "5"]).await;
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(hub.publish_id("s", &n.to_string()).await);
    }
    let mut reader = hub.resume("/streams/s/events?control=off", &ids[0]).await;
    let first = reader.next().await.unwrap();
    assert_eq!((first.name.as_str(), first.data.as_str()), ("message", "5"));
    assert!(reader.retry().is_some());
    assert!(
        reader.headers["last-event-id"].as_str() > ids[0].as_str(),
        "the header is after the removed events"
    );
    assert!(String::from_utf8_lossy(&reader.bytes).starts_with("retry: "));
    reader.take(4).await;
    hub.post("/streams/s/end", json!({})).await;
    assert_eq!(reader.next().await, None, "no hub-end either");
}

#[tokio::test]
async fn a_malformed_query_is_a_400_that_names_the_parameter() {
    let hub = Hub::start(&[]).await;
    let many = (0..101).map(|n| format!("stream=s{n}")).collect::<Vec<_>>().join("&");
    for (path, field) in [
        ("/events".to_owned(), "stream"),
        ("/events?stream=a*".to_owned(), "stream"),
        (format!("/events?{many}"), "stream"),
        ("/events?stream=a&types=".to_owned(), "types"),
        ("/events?stream=a&from=soon".to_owned(), "from"),
        ("/events?stream=a&heartbeat=5h".to_owned(), "heartbeat"),
        ("/events?stream=%ff".to_owned(), "query"),
        ("/streams/a%20b/events".to_owned(), "stream"),
    ] {
        let mut reader = Reader::connect(&hub.address, &path, &[]).await.unwrap();
        assert_eq!(reader.status, 400, "{path}");
        let problem = reader.body().await;
        let actual = (problem["code"].as_str(), problem["field"].as_str());
        assert_eq!(actual, (Some("validation_error"), Some(field)), "{path}");
    }
    assert!(
        hub.metric("fanfare_subscribers_refused_total{reason=\"validation_error\"}").await >= 7.0
    );
}
