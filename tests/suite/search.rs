//! Search of stored events.

use crate::credentials::file_with_keys;
use crate::hub::{Hub, TEST_TIMEOUT};
use serde_json::{Value, json};
use std::time::Instant;

/// Runs a search; returns the matches and the data of `hub-done`.
async fn search(hub: &Hub, query: &str) -> (Vec<Value>, Value) {
    let response = hub.http.get(hub.url(query)).send().await.unwrap();
    assert_eq!(response.status(), 200, "{query}");
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    parse(&response.text().await.unwrap())
}

fn parse(text: &str) -> (Vec<Value>, Value) {
    let mut lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut done = lines.pop().unwrap();
    assert_eq!(done["type"], "hub-done", "{done}");
    lines.retain(|line| line["type"] != "hub-progress");
    (lines, done["data"].take())
}

fn data(matches: &[Value]) -> Vec<&Value> {
    matches.iter().map(|line| &line["data"]).collect()
}

#[tokio::test]
async fn a_search_finds_matching_events_in_order_and_says_when_it_is_complete() {
    let mut hub = Hub::start(&["--recent-bytes", "64KiB"]).await;
    let levels = ["debug", "info", "warn", "error"];
    let event = |n: usize| {
        let stream = if n.is_multiple_of(2) { "api.eu" } else { "api.us" };
        let data = json!({ "level": levels[n % 4], "message": format!("request {n}"), "order": n });
        json!({ "stream": stream, "type": "log", "data": data })
    };
    for batch in 0..10 {
        let events: Vec<Value> = (0..1_000).map(|n| event(batch * 1_000 + n)).collect();
        hub.post("/publish", json!(events)).await;
    }
    hub.publish("other", "request 7777").await;
    let (matches, done) = search(&hub, "/search?stream=api.*&q=order=7777").await;
    assert_eq!(data(&matches)[0]["order"], 7777);
    assert_eq!((&matches[0]["stream"], &matches[0]["type"]), (&json!("api.us"), &json!("log")));
    assert_eq!((&done["scanned"], &done["matched"]), (&json!(10_000), &json!(1)));
    assert_eq!(done["complete"], true);
    let (matches, _) = search(&hub, "/search?stream=**&q=7777").await;
    assert_eq!(matches.len(), 2, "all streams");
    let query = "/streams/api.us/search?q=level%3E%3Dwarn%20order%3C100%20-order%3D3";
    let (matches, done) = search(&hub, query).await;
    let orders: Vec<u64> = matches.iter().map(|m| m["data"]["order"].as_u64().unwrap()).collect();
    assert_eq!(orders, (7..100).step_by(4).collect::<Vec<u64>>());
    assert_eq!(done["scanned"], 5_000);
    // A search that reached its limit continues, also after a restart.
    let limited = "/search?stream=api.*&q=level%3Derror&limit=1000";
    let (mut all, done) = search(&hub, limited).await;
    assert_eq!((all.len(), &done["complete"]), (1_000, &json!(false)));
    hub.kill();
    hub.restart().await;
    let next = done["next"].as_str().unwrap();
    let (rest, _) = search(
        &hub,
        &format!("{limited}&last_event_id={next}&limit=10000").replace("&limit=1000&", "&"),
    )
    .await;
    all.extend(rest);
    let orders: Vec<u64> = all.iter().map(|m| m["data"]["order"].as_u64().unwrap()).collect();
    assert_eq!(orders, (3..10_000).step_by(4).collect::<Vec<u64>>(), "nothing twice or missing");
    let completed = hub.metric("fanfare_searches_total{outcome=\"complete\"}").await;
    assert_eq!(completed, 1.0);
}

#[tokio::test]
async fn a_search_sees_only_what_is_granted_and_names_a_wrong_parameter() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [
        ("some", "s", "subscribe = [\"a.**\"]"),
        ("all", "all", "subscribe = [\"**\"]\npublish = [\"**\"]"),
    ];
    let file = file_with_keys(folder.path(), &keys);
    let hub = Hub::start(&["--config", &file]).await;
    let body = json!([
        { "stream": ["a.x", "secret"], "data": "both" },
        { "stream": "secret", "data": "both, hidden" },
    ]);
    let publish = hub.http.post(hub.url("/publish")).bearer_auth("all").body(body.to_string());
    assert_eq!(publish.send().await.unwrap().status(), 200);
    let get = async |query: &str, secret: &str| {
        let response = hub.http.get(hub.url(query)).bearer_auth(secret).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (_, text) = get("/search?stream=**&q=both", "s").await;
    let (matches, _) = parse(&text);
    assert_eq!((matches.len(), &matches[0]["stream"]), (1, &json!("a.x")), "{text}");
    assert_eq!(parse(&get("/search?stream=**&q=both", "all").await.1).0.len(), 2);
    assert!(parse(&get("/search?stream=**&q=stream%3Dsecret", "s").await.1).0.is_empty());
    assert_eq!(get("/streams/secret/search?q=both", "s").await.0, 403);
    assert_eq!(hub.get("/search?stream=**&q=both").await.0, 401);
    for (query, field) in [
        ("stream=a.x&q=/(/", "q"),
        ("stream=a.x&q=%22open", "q"),
        ("q=x", "stream"),
        ("stream=a.x&q=x&limit=0", "limit"),
        ("stream=a.x&q=x&from=later", "from"),
        ("stream=a.x&q=x&last_event_id=x", "last_event_id"),
        ("stream=a.x&q=x&q=y", "q"),
    ] {
        let (status, text) = get(&format!("/search?{query}"), "all").await;
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, &problem["field"]), (400, &json!(field)), "{query}: {text}");
    }
}

#[tokio::test]
async fn searches_are_limited_and_end_with_their_clients() {
    let hub = Hub::start(&["--publish-bytes-per-client", "1GiB"]).await;
    let large = "x".repeat(200_000);
    for _ in 0..8 {
        let events = (0..20).map(|n| json!({ "stream": "s", "data": format!("{n}{large}") }));
        hub.post("/publish", json!(events.collect::<Vec<_>>())).await;
    }
    // Their clients read only the head, so that the searches wait for them.
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let response = hub.http.get(hub.url("/streams/s/search?q=x")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        waiting.push(response);
    }
    let (status, problem) = hub.get("/streams/s/search?q=x").await;
    assert_eq!((status, &problem["code"]), (503, &json!("resource_exhausted")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("4 searches are running"));
    let refused = hub.metric("fanfare_requests_refused_total{reason=\"max_searches\"}").await;
    assert_eq!(refused, 1.0);
    drop(waiting);
    let cancelled = "fanfare_searches_total{outcome=\"cancelled\"}";
    hub.wait_for_metric(cancelled, |count| count == 4.0).await;
    let started = Instant::now();
    while hub.get("/streams/s/search?q=nothing").await.0 != 200 {
        assert!(started.elapsed() < TEST_TIMEOUT, "the searches still run");
    }
}
