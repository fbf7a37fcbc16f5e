//! Limits: they are exact, named in refusals, released, and shown by `/stats`.

use crate::credentials::{SECRET, claims_with, file_with_keys, signed_token};
use crate::hub::{Hub, TEST_TIMEOUT};
use crate::reader::Reader;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;

/// Returns the line of a limit in `/stats`.
async fn limit_usage(hub: &Hub, limit: &str, streams: Option<Value>) -> Value {
    let (status, stats) = hub.get("/stats").await;
    assert_eq!(status, 200, "{stats}");
    let lines = stats["limits"].as_array().unwrap();
    let line =
        lines.iter().find(|line| line["limit"] == limit && line.get("streams").cloned() == streams);
    line.unwrap_or_else(|| panic!("no {limit} in {stats}")).clone()
}

async fn connect_from(hub: &Hub, address: &str, path: &str) -> Reader {
    let headers = [("X-Forwarded-For", address)];
    Reader::connect(&hub.address, path, &headers).await.unwrap()
}

/// Returns the limit that a reader was refused by, or `None` if it was admitted.
async fn refused_by(reader: &mut Reader) -> Option<String> {
    let first = reader.next().await.expect("a block");
    match first.name.as_str() {
        "hub-open" => None,
        "hub-error" => {
            assert_eq!(first.json()["code"], "resource_exhausted");
            Some(first.json()["limit"].as_str().unwrap().to_owned())
        }
        _ => panic!("{first:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_concurrent_subscribers_fill_a_limit_of_500_exactly() {
    const CLIENTS: usize = 10_000;
    let hub = Arc::new(Hub::start(&["--max-connections", "500"]).await);
    // With more at a time, a busy machine would not send every request before the hub's timeout.
    let semaphore = Arc::new(Semaphore::new(1_000));
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (hub, semaphore) = (hub.clone(), semaphore.clone());
            tokio::spawn(async move {
                let _permit = semaphore.acquire().await.unwrap();
                let mut reader = hub.subscribe("/streams/s/events").await;
                let refused = refused_by(&mut reader).await;
                (refused, reader)
            })
        })
        .collect();
    let mut admitted = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            (None, reader) => admitted.push(reader),
            (Some(limit), _) => assert_eq!(limit, "max_connections"),
        }
    }
    assert_eq!(admitted.len(), 500);
    let line = limit_usage(&hub, "max_connections", None).await;
    let expected = json!({ "limit": "max_connections", "max": 500, "use": 500, "peak": 500, "refusals": CLIENTS - 500 });
    assert_eq!(line, expected);
    let refused = hub.metric("fanfare_subscribers_refused_total{reason=\"max_connections\"}").await;
    assert_eq!(refused, (CLIENTS - 500) as f64);
    drop(admitted);
    hub.wait_for_metric("fanfare_sessions", |n| n == 0.0).await;
    assert_eq!(limit_usage(&hub, "max_connections", None).await["use"], 0);
}

#[tokio::test]
async fn session_limits_are_named_in_a_form_that_the_client_understands() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    let rule = "[[limit]]\nstreams = \"few.**\"\nmax-connections-per-stream = 1\n\
                max-connections = 2\n";
    std::fs::write(&file, rule).unwrap();
    let hub = Hub::start(&[
        "--config",
        file.to_str().unwrap(),
        "--max-connections",
        "6",
        "--max-connections-per-client",
        "2",
        "--max-connections-per-stream",
        "3",
        "--trusted-proxy",
        "127.0.0.1",
    ])
    .await;
    let mut readers = Vec::new();
    for (address, path, refusal) in [
        ("192.0.2.1", "/streams/a/events", None),
        ("192.0.2.1", "/streams/a/events", None),
        ("192.0.2.1", "/streams/b/events", Some("max_connections_per_client")),
        ("6.6.6.6, 192.0.2.1", "/streams/b/events", Some("max_connections_per_client")),
        ("192.0.2.2", "/events?stream=a&stream=b", None),
        ("192.0.2.3", "/streams/a/events", Some("max_connections_per_stream")),
        ("192.0.2.3", "/events?stream=few.1", None),
        ("192.0.2.4", "/events?stream=few.1", Some("max_connections_per_stream")),
        ("192.0.2.4", "/events?stream=few.2", None),
        ("192.0.2.5", "/events?stream=few.3", Some("max_connections")),
        ("2001:db8::1", "/events?stream=c", None),
        ("192.0.2.6", "/events?stream=d", Some("max_connections")),
    ] {
        let mut reader = connect_from(&hub, address, path).await;
        assert_eq!(refused_by(&mut reader).await.as_deref(), refusal, "{address} {path}");
        if refusal.is_none() {
            readers.push(reader);
        }
    }
    for (address, path, status, limit) in [
        ("192.0.2.1", "/streams/b/events", 503, "max_connections"),
        ("192.0.2.9", "/events?stream=d", 503, "max_connections"),
    ] {
        let headers = [("X-Forwarded-For", address), ("Accept", "*/*")];
        let mut refused = Reader::connect(&hub.address, path, &headers).await.unwrap();
        assert_eq!((refused.status, refused.body().await["limit"].as_str()), (status, Some(limit)));
    }
    readers.pop();
    hub.wait_for_metric("fanfare_sessions", |n| n == 5.0).await;
    let headers = [("X-Forwarded-For", "192.0.2.1"), ("Accept", "*/*")];
    let mut refused = Reader::connect(&hub.address, "/streams/b/events", &headers).await.unwrap();
    assert_eq!(refused.status, 429, "the limit is per client");
    assert!(refused.headers["retry-after"].parse::<u64>().unwrap() >= 1);
    assert_eq!(refused.body().await["limit"], "max_connections_per_client");
    let line = limit_usage(&hub, "max_connections_per_stream", Some(json!(["few.**"]))).await;
    assert_eq!((&line["max"], &line["use"], &line["refusals"]), (&json!(1), &json!(1), &json!(1)));
    let line = limit_usage(&hub, "max_connections_per_client", None).await;
    assert_eq!((&line["max"], &line["use"], &line["refusals"]), (&json!(2), &json!(2), &json!(3)));
}

#[tokio::test]
async fn local_clients_are_bound_by_configured_limits_and_not_by_defaults() {
    let hub = Hub::start(&["--max-connections-per-client", "1"]).await;
    let mut first = hub.subscribe("/streams/a/events").await;
    assert_eq!(refused_by(&mut first).await, None);
    let mut second = hub.subscribe("/streams/a/events").await;
    let refused = refused_by(&mut second).await;
    assert_eq!(refused.as_deref(), Some("max_connections_per_client"));
    // The hub ignores `X-Forwarded-For` from a peer that is not a trusted proxy.
    let mut untrusted = connect_from(&hub, "192.0.2.1", "/streams/a/events").await;
    assert_eq!(refused_by(&mut untrusted).await.as_deref(), Some("max_connections_per_client"));
    let hub = Hub::start(&["--max-connections", "2000"]).await;
    let mut readers = Vec::new();
    for _ in 0..1_100 {
        readers.push(hub.subscribe("/streams/a/events").await);
    }
    for reader in &mut readers {
        assert_eq!(refused_by(reader).await, None, "the default of 1,000");
    }
}

#[tokio::test]
async fn a_subject_limit_spans_its_tokens_tickets_and_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with_keys(folder.path(), &[("ann", "k", "subscribe = [\"a.**\"]")]);
    let hub = Hub::start(&[
        "--config",
        &file,
        "--jwt-secret",
        SECRET,
        "--max-connections-per-subject",
        "2",
        "--trusted-proxy",
        "127.0.0.1",
    ])
    .await;
    let bearer = format!("Bearer {}", signed_token(&claims_with("jti", json!("1"))));
    let second_bearer = format!("Bearer {}", signed_token(&claims_with("jti", json!("2"))));
    let response = hub.http.post(hub.url("/tickets")).header("Authorization", &bearer);
    let response = response.body(json!({ "streams": ["a.x"] }).to_string()).send().await.unwrap();
    let ticket: Value = response.json().await.unwrap();
    let by_ticket = format!("/streams/a.x/events?ticket={}", ticket["ticket"].as_str().unwrap());
    let connect = |client: &'static str, path: String, credential: Option<String>| {
        let address = hub.address.clone();
        async move {
            let mut headers: Vec<(&str, &str)> =
                credential.iter().map(|text| ("Authorization", text.as_str())).collect();
            headers.push(("X-Forwarded-For", client));
            Reader::connect(&address, &path, &headers).await.unwrap()
        }
    };
    let path = "/streams/a.x/events".to_owned();
    let mut first = connect("192.0.2.1", path.clone(), Some(bearer)).await;
    let mut second = connect("192.0.2.2", by_ticket, None).await;
    let mut third = connect("192.0.2.3", path.clone(), Some(second_bearer)).await;
    assert_eq!(refused_by(&mut first).await, None);
    assert_eq!(refused_by(&mut second).await, None);
    let refused = refused_by(&mut third).await;
    assert_eq!(refused.as_deref(), Some("max_connections_per_subject"));
    let mut key = connect("192.0.2.1", path, Some("Bearer k".into())).await;
    assert_eq!(refused_by(&mut key).await, None, "a key with the name of a sub");
}

#[tokio::test]
async fn max_streams_is_exact_and_a_batch_beyond_it_creates_no_stream() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    std::fs::write(&file, "[[limit]]\nstreams = \"few.**\"\nmax-streams = 2\n").unwrap();
    let mut hub = Hub::start(&["--config", file.to_str().unwrap(), "--max-streams", "5"]).await;
    let event = |stream: &str| json!({ "stream": stream, "data": 1 });
    let batch = json!([event("few.1"), event("a"), event("few.2"), event("few.3")]);
    let (status, problem) = hub.try_post("/publish", batch.to_string()).await;
    assert_eq!((status, &problem["limit"]), (503, &json!("max_streams")), "{problem}");
    let (_, listed) = hub.get("/streams").await;
    assert_eq!(listed["streams"], json!([]), "all or nothing");
    for stream in ["few.1", "few.2", "a", "b"] {
        hub.publish(stream, "x").await;
    }
    let posts = (0..40).map(|n| {
        let body = json!({ "stream": [format!("n.{}", n % 8), "a"], "data": n }).to_string();
        let request = hub.http.post(hub.url("/publish")).body(body);
        async move { request.send().await.unwrap().status().as_u16() }
    });
    let statuses = futures_util::future::join_all(posts).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 5, "one of eight streams");
    assert_eq!(hub.try_post("/publish", event("few.3").to_string()).await.0, 503);
    hub.publish("few.1", "what is there takes more").await;
    let line = limit_usage(&hub, "max_streams", None).await;
    assert_eq!((&line["max"], &line["use"], &line["peak"]), (&json!(5), &json!(5), &json!(5)));
    let line = limit_usage(&hub, "max_streams", Some(json!(["few.**"]))).await;
    assert_eq!((&line["use"], line["refusals"].as_u64() >= Some(1)), (&json!(2), true));
    let refused = hub.metric("fanfare_publishes_refused_total{reason=\"max_streams\"}").await;
    assert!(refused >= 36.0, "{refused}");
    hub.kill();
    hub.restart().await;
    assert_eq!(
        hub.try_post("/publish", event("c").to_string()).await.0,
        503,
        "also after a restart"
    );
    let deleted = hub.http.delete(hub.url("/streams/b")).send().await.unwrap();
    assert_eq!(deleted.status(), 204);
    hub.publish("c", "there is room again").await;
}

#[tokio::test]
async fn a_publisher_beyond_its_rate_gets_retry_after_and_others_continue() {
    let hub =
        Hub::start(&["--publish-events-per-client", "1", "--trusted-proxy", "127.0.0.0/8"]).await;
    let batch = |count: usize| json!(vec![json!({ "stream": "a", "data": 1 }); count]).to_string();
    let post = |address: &str, body: String| {
        hub.http.post(hub.url("/publish")).header("X-Forwarded-For", address).body(body).send()
    };
    assert_eq!(post("192.0.2.1", batch(4096)).await.unwrap().status(), 200, "one whole batch");
    let refused = post("192.0.2.1", batch(60)).await.unwrap();
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((30..=61).contains(&wait), "{wait}");
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["limit"], "publish_events_per_client");
    assert_eq!(post("192.0.2.2", batch(60)).await.unwrap().status(), 200);
    let reason = "fanfare_publishes_refused_total{reason=\"publish_events_per_client\"}";
    assert_eq!(hub.metric(reason).await, 1.0);
    let line = limit_usage(&hub, "publish_events_per_client", None).await;
    assert_eq!((&line["max"], &line["refusals"]), (&json!(1), &json!(1)));
    assert!(line["peak"].as_u64() >= Some(4096), "{line}");
}

#[tokio::test]
async fn limits_on_selectors_and_memory_are_enforced_and_shown() {
    let hub = Hub::start(&["--max-selectors", "2"]).await;
    hub.subscribe("/events?stream=a&stream=b").await.open().await;
    let (status, problem) = hub.get("/events?stream=a&stream=b&stream=c").await;
    assert_eq!((status, &problem["limit"]), (422, &json!("max_selectors")));
    let line = limit_usage(&hub, "max_selectors", None).await;
    assert_eq!((&line["peak"], &line["refusals"]), (&json!(2), &json!(1)));
    assert_eq!(
        hub.metric("fanfare_subscribers_refused_total{reason=\"max_selectors\"}").await,
        1.0
    );
    let line = limit_usage(&hub, "memory_budget", None).await;
    let resident = hub.resident_bytes();
    assert!(line["use"].as_u64().unwrap().abs_diff(resident) < resident / 2, "{line}");
}

#[tokio::test]
async fn a_hub_near_its_memory_budget_refuses_publishers_and_subscribers() {
    let hub = Hub::start(&["--memory-budget", "120MiB"]).await;
    let mut reader = hub.subscribe("/streams/a/events").await;
    reader.open().await;
    // Recent events fill the budget: 64 MiB of them, in addition to the hub's other memory.
    let started = Instant::now();
    // Small events, so that publishes are refused at 90 % before connections are at 95 %.
    let body = "x".repeat(30 * 1024);
    let mut published = 0;
    let refused = loop {
        let (status, response) = hub.try_post("/streams/fill/events", body.clone()).await;
        if status != 200 {
            break response;
        }
        published += 1;
        assert!(
            started.elapsed() < TEST_TIMEOUT && published < 20_000,
            "it accepts {published} events"
        );
    };
    assert_eq!(refused["limit"], "memory_budget", "{refused}");
    let mut refused_reader = hub.subscribe("/streams/a/events").await;
    assert_eq!(refused_by(&mut refused_reader).await.as_deref(), Some("memory_budget"));
    assert!(hub.resident_bytes() < 120 << 20, "{}", hub.resident_bytes());
    let line = limit_usage(&hub, "memory_budget", None).await;
    assert!(line["refusals"].as_u64() >= Some(2) && line["peak"].as_u64() > Some(100 << 20));
    assert_eq!(
        hub.metric("fanfare_subscribers_refused_total{reason=\"memory_budget\"}").await,
        1.0
    );
}

#[tokio::test]
async fn a_subject_beyond_its_rate_is_refused_and_others_continue() {
    let hub = Hub::start(&["--jwt-secret", SECRET, "--publish-events-per-subject", "1"]).await;
    let batch =
        |count: usize| json!(vec![json!({ "stream": "a.x", "data": 1 }); count]).to_string();
    let post = |sub: &str, count| {
        let token = signed_token(&claims_with("sub", json!(sub)));
        hub.http.post(hub.url("/publish")).bearer_auth(token).body(batch(count)).send()
    };
    assert_eq!(post("ann", 4096).await.unwrap().status(), 200);
    let refused = post("ann", 10).await.unwrap();
    assert_eq!(refused.status(), 429);
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["limit"], "publish_events_per_subject");
    assert_eq!(post("bob", 10).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_hub_short_of_file_descriptors_stops_accepting_and_keeps_serving() {
    // 512 file descriptors are reserved for the journal and the rest of the process.
    let hub = Hub::with_max_open_files(700, &["--workers", "2"]).await;
    let mut reader = hub.subscribe("/streams/a/events").await;
    reader.open().await;
    let mut sockets = Vec::new();
    for _ in 0..400 {
        sockets.push(tokio::net::TcpStream::connect(&hub.address).await.unwrap());
    }
    let files = || std::fs::read_dir(format!("/proc/{}/fd", hub.pid())).unwrap().count();
    let started = Instant::now();
    while files() < 188 {
        assert!(started.elapsed() < TEST_TIMEOUT, "only {} files", files());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // Silent connections are closed, and then the next ones are accepted.
    hub.publish("a", "it goes on").await;
    assert_eq!(reader.next_event().await.unwrap().data, "it goes on");
    assert!(files() < 700, "{}", files());
    assert!(!hub.log().contains("Too many open files"), "{}", hub.log());
}
