//! Version, health, readiness and the first metrics.

use crate::hub::Hub;
#[cfg(feature = "jobs")]
use std::collections::BTreeSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn version_health_and_readiness_are_served() {
    let hub = Hub::start(&[]).await;
    let (status, version) = hub.get("/version").await;
    assert_eq!((status, version["version"].as_str()), (200, Some(env!("CARGO_PKG_VERSION"))));
    assert_eq!(hub.get("/healthz").await.0, 200);
    hub.wait_until_ready().await;
    let (status, ready) = hub.get("/readyz").await;
    assert_eq!((status, ready["ready"].as_bool()), (200, Some(true)));
}

#[cfg(feature = "jobs")]
#[tokio::test]
async fn every_documented_family_is_exported_at_0_from_the_first_scrape() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fanfare.toml");
    std::fs::write(&file, "[job.j]\ncommand = [\"true\"]").unwrap();
    let flags = ["--metrics-streams", "s.*", "--config", file.to_str().unwrap()];
    let hub = Hub::start(&flags).await;
    let metrics = hub.http.get(hub.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let exported: BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let documented = include_str!("../../docs/metrics.md");
    let documented: BTreeSet<&str> =
        documented.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(documented.len() > 60 && exported == documented, "{:?}", &exported ^ &documented);
    for name in [
        "fanfare_sessions",
        "fanfare_sessions_closed_total{reason=\"connection_timeout\"}",
        "fanfare_subscribers_refused_total{reason=\"max_connections\"}",
        "fanfare_publishes_refused_total{reason=\"disk_full\"}",
        "fanfare_sessions_opened_total{resume=\"gap\"}",
        "fanfare_deliveries_total",
        "fanfare_bound_hits_total{bound=\"session_queue\"}",
        "fanfare_bound_hits_total{bound=\"shard_mailbox\"}",
        "fanfare_journal_poisoned",
        "fanfare_draining",
        "fanfare_journal_disk_full",
        "fanfare_fanout_seconds_count",
        "fanfare_undelivered_age_seconds_count",
        "fanfare_limit_refusals_total{limit=\"max_connections\",streams=\"\"}",
    ] {
        assert_eq!(hub.metric(name).await, 0.0, "{name}");
    }
    assert_eq!(
        hub.metric(&format!("fanfare_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")))
            .await,
        1.0
    );
    assert!(hub.metric("process_resident_memory_bytes").await > 0.0);
}

#[tokio::test]
async fn metrics_agree_with_the_counts_of_clients() {
    let hub = Hub::start(&[]).await;
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut reader = hub.subscribe("/streams/s/events").await;
        reader.open().await;
        readers.push(reader);
    }
    for n in 0..10 {
        assert_eq!(hub.publish("s", &n.to_string()).await["subscribers"], 3);
    }
    for reader in &mut readers {
        reader.take(10).await;
    }
    hub.wait_for_metric("fanfare_deliveries_total", |n| n == 30.0).await;
    assert_eq!(hub.metric("fanfare_events_published_total{type=\"message\"}").await, 10.0);
    assert_eq!(hub.metric("fanfare_sessions").await, 3.0);
    drop(readers);
    hub.wait_for_metric("fanfare_sessions_closed_total{reason=\"client_disconnected\"}", |n| {
        n == 3.0
    })
    .await;
    assert_eq!(hub.metric("fanfare_sessions").await, 0.0);
}

#[cfg(feature = "dashboard")]
#[tokio::test]
async fn pages_are_served_and_unknown_paths_get_a_problem() {
    let hub = Hub::start(&[]).await;
    for (path, kind) in
        [("/", "text/html"), ("/fanfare.js", "text/javascript"), ("/docs", "text/html")]
    {
        let page = hub.http.get(hub.url(path)).send().await.unwrap();
        assert!(page.headers()["content-type"].to_str().unwrap().starts_with(kind), "{path}");
        assert!(page.headers().contains_key("content-security-policy"));
        // A cached copy is revalidated without a body.
        let etag = page.headers()["etag"].to_str().unwrap().to_owned();
        let revalidation = hub.http.get(hub.url(path)).header("If-None-Match", etag);
        assert_eq!(revalidation.send().await.unwrap().status(), 304, "{path}");
        let compressed = hub.http.get(hub.url(path)).header("Accept-Encoding", "gzip");
        let compressed = compressed.send().await.unwrap();
        assert_eq!(compressed.headers()["content-encoding"], "gzip", "{path}");
        assert!(
            compressed.bytes().await.unwrap().len() < page.bytes().await.unwrap().len(),
            "{path}"
        );
    }
    let (status, problem) = hub.get("/nothing").await;
    assert_eq!((status, problem["code"].as_str()), (404, Some("not_found")));
    let (status, problem) = hub.get("/publish").await;
    assert_eq!((status, problem["code"].as_str()), (405, Some("method_not_allowed")));
}

#[tokio::test]
async fn fan_out_is_measured_once_per_batch_and_not_per_session() {
    const READERS: usize = 20;
    let hub = Hub::start(&["--workers", "2"]).await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = hub.subscribe("/streams/s/events").await;
        reader.open().await;
        readers.push(reader);
    }
    for n in 0..10 {
        hub.publish("s", &n.to_string()).await;
        for reader in &mut readers {
            reader.take(1).await;
        }
    }
    hub.wait_for_metric("fanfare_fanout_seconds_count", |n| n >= 10.0).await;
    // Each worker reports once a second, independently of the others.
    let scrape = hub.scrape().await;
    let count = scrape.sample("fanfare_fanout_seconds_count");
    assert!((10.0..=20.0).contains(&count), "{count} for ten batches and two workers");
    assert!(scrape.sample("fanfare_fanout_seconds_sum") > 0.0);
    assert_eq!(scrape.sample("fanfare_fanout_seconds_bucket{le=\"10\"}"), count);
    hub.wait_for_metric("fanfare_deliveries_due_total", |n| n == 10.0 * READERS as f64).await;
    hub.wait_for_metric("fanfare_undelivered_age_seconds_count", |n| n >= 2.0).await;
}

#[tokio::test]
async fn the_age_of_undelivered_events_is_measured() {
    // The session must outlive the test, however slow the machine is.
    let hub = Hub::start(&["--workers", "1", "--write-timeout", "1h"]).await;
    let reader = hub.subscribe("/streams/s/events").await;
    let young_events = "fanfare_undelivered_age_seconds_bucket{le=\"0.5\"}";
    let all_events = "fanfare_undelivered_age_seconds_count";
    let data = "x".repeat(200_000);
    let mut measurements = 0.0;
    // Enough to fill the socket, but not enough to make the session read from history.
    while hub.metric("fanfare_session_queue_bytes").await < 100_000.0 {
        for _ in 0..2 {
            hub.publish("s", &data).await;
        }
        measurements = hub.metric(all_events).await + 2.0;
        hub.wait_for_metric(all_events, |n| n >= measurements).await;
    }
    hub.wait_for_metric(all_events, |n| n >= measurements + 2.0).await;
    let scrape = hub.scrape().await;
    assert!(scrape.sample(young_events) < scrape.sample(all_events), "no event is late");
    assert_eq!(hub.metric("fanfare_sessions_catching_up").await, 0.0);
    drop(reader);
    hub.wait_for_metric("fanfare_session_queue_bytes", |n| n == 0.0).await;
}

#[tokio::test]
async fn a_hub_at_max_connections_is_not_ready_until_a_session_ends() {
    let hub = Hub::start(&["--max-connections", "2"]).await;
    let mut readers = Vec::new();
    for _ in 0..2 {
        hub.wait_until_ready().await;
        let mut reader = hub.subscribe("/streams/s/events").await;
        reader.open().await;
        readers.push(reader);
    }
    let (status, ready) = hub.get("/readyz").await;
    assert_eq!(status, 503);
    let reason = ready["checks"]["sessions"]["reason"].as_str().unwrap();
    assert!(reason.contains("max_connections (2) reached"), "{reason}");
    assert_eq!(hub.metric("fanfare_ready").await, 0.0);
    assert_eq!(hub.metric("fanfare_ready_check{check=\"sessions\"}").await, 0.0);
    assert_eq!(hub.get("/healthz").await.0, 200, "a full hub needs no restart");
    readers.pop();
    hub.wait_for_metric("fanfare_ready", |n| n == 1.0).await;
    hub.wait_until_ready().await;
}

#[tokio::test]
async fn the_oldest_event_metric_is_the_time_of_the_oldest_kept_event() {
    let hub = Hub::start(&["--max-events", "3"]).await;
    let oldest = "fanfare_journal_oldest_event_timestamp_seconds";
    assert_eq!(hub.metric(oldest).await, 0.0);
    let mut published = Vec::new();
    for n in 0..6 {
        hub.publish("s", &n.to_string()).await;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        published.push(now.as_secs_f64());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // The oldest kept event is the fourth, published between the third's answer and its own.
    hub.wait_for_metric(oldest, |time| time > published[2] - 0.001 && time <= published[3]).await;
    assert!(hub.metric("fanfare_journal_disk_free_bytes").await > 0.0);
    assert!(hub.metric("fanfare_journal_disk_bytes").await > 0.0);
    assert_eq!(hub.metric("fanfare_journal_syncs_total").await, 6.0);
}

#[tokio::test]
async fn only_configured_stream_patterns_have_separate_metrics() {
    let hub = Hub::start(&["--metrics-streams", "a.*", "--metrics-streams", "b"]).await;
    let mut reader = hub.subscribe("/events?stream=a.*&stream=c").await;
    reader.open().await;
    hub.post("/publish", serde_json::json!({ "stream": ["a.x", "a.y"], "data": 1 })).await;
    hub.publish("b", "2").await;
    hub.publish("c", "3").await;
    let metric_name = |family: &str, pattern: &str| format!("{family}{{streams=\"{pattern}\"}}");
    for (pattern, events, deliveries) in [("a.*", 1.0, 1.0), ("b", 1.0, 0.0)] {
        let events_metric = metric_name("fanfare_stream_events_published_total", pattern);
        hub.wait_for_metric(&events_metric, |n| n == events).await;
        hub.wait_for_metric(&metric_name("fanfare_stream_deliveries_total", pattern), |n| {
            n == deliveries
        })
        .await;
    }
    let text = hub.http.get(hub.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(!text.contains("a.x") && !text.contains("\"c\""));
}

#[tokio::test]
async fn a_batch_is_measured_once_for_any_number_of_interests() {
    let hub = Hub::start(&["--workers", "1"]).await;
    let mut readers = Vec::new();
    for path in ["/streams/s/events", "/events?stream=*", "/events?stream=s&stream=t"] {
        let mut reader = hub.subscribe(path).await;
        reader.open().await;
        readers.push(reader);
    }
    for n in 0..10 {
        hub.publish("s", &n.to_string()).await;
        for reader in &mut readers {
            reader.take(1).await;
        }
    }
    // A worker may report between the last write and its measurement.
    hub.wait_for_metric("fanfare_fanout_seconds_count", |n| n >= 10.0).await;
    hub.wait_for_metric("fanfare_deliveries_total", |n| n == 30.0).await;
    assert_eq!(hub.metric("fanfare_fanout_seconds_count").await, 10.0);
}

#[tokio::test]
async fn malformed_requests_and_invalid_subscription_bodies_are_counted() {
    let hub = Hub::start(&[]).await;
    let mut socket = tokio::net::TcpStream::connect(&hub.address).await.unwrap();
    socket.write_all(b"NO REQUEST\r\n\r\n").await.unwrap();
    let mut response = Vec::new();
    socket.read_to_end(&mut response).await.unwrap();
    assert!(response.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&response));
    hub.wait_for_metric("fanfare_connections_refused_total{reason=\"http1\"}", |n| n == 1.0).await;
    for body in ["{", "[]", "{\"stream\": 7}"] {
        assert!(hub.try_post("/events", body).await.0 >= 400);
    }
    let refused = "fanfare_subscribers_refused_total{reason=\"validation_error\"}";
    assert_eq!(hub.metric(refused).await, 3.0);
}

#[tokio::test]
async fn health_and_readiness_answer_head_requests() {
    let hub = Hub::start(&["--metrics-listen", "127.0.0.1:0"]).await;
    for address in [&hub.address, hub.metrics.as_ref().unwrap()] {
        for path in ["/healthz", "/readyz"] {
            let response = hub.http.head(format!("http://{address}{path}")).send().await.unwrap();
            assert_eq!(response.status(), 200, "{address}{path}");
            assert!(response.bytes().await.unwrap().is_empty());
        }
    }
}
