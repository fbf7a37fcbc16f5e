//! Version, health, readiness and the first metrics.

use crate::hub::Hub;

#[tokio::test]
async fn an_operator_can_ask_what_it_is_and_how_it_is() {
    let hub = Hub::start(&[]).await;
    let (status, version) = hub.get("/version").await;
    assert_eq!((status, version["version"].as_str()), (200, Some(env!("CARGO_PKG_VERSION"))));
    assert_eq!(hub.get("/healthz").await.0, 200);
    let (status, ready) = hub.get("/readyz").await;
    assert_eq!((status, ready["ready"].as_bool()), (200, Some(true)));
}

#[tokio::test]
async fn every_family_is_there_from_the_first_scrape_with_its_known_labels_at_0() {
    let hub = Hub::start(&[]).await;
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
async fn what_clients_counted_is_what_the_metrics_count() {
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
    hub.until_metric("fanfare_deliveries_total", |n| n == 30.0).await;
    assert_eq!(hub.metric("fanfare_events_published_total{type=\"message\"}").await, 10.0);
    assert_eq!(hub.metric("fanfare_sessions").await, 3.0);
    drop(readers);
    hub.until_metric("fanfare_sessions_closed_total{reason=\"client_disconnected\"}", |n| n == 3.0)
        .await;
    assert_eq!(hub.metric("fanfare_sessions").await, 0.0);
}

#[tokio::test]
async fn the_page_is_served_and_what_is_not_there_is_a_problem() {
    let hub = Hub::start(&[]).await;
    for (path, kind) in
        [("/", "text/html"), ("/watch.js", "text/javascript"), ("/watch.css", "text/css")]
    {
        let page = hub.http.get(hub.url(path)).send().await.unwrap();
        assert!(page.headers()["content-type"].to_str().unwrap().starts_with(kind), "{path}");
        assert!(page.headers().contains_key("content-security-policy"));
    }
    let (status, problem) = hub.get("/nothing").await;
    assert_eq!((status, problem["code"].as_str()), (404, Some("not_found")));
    let (status, problem) = hub.get("/publish").await;
    assert_eq!((status, problem["code"].as_str()), (405, Some("method_not_allowed")));
}
