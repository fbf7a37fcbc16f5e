//! Sessions are distributed over worker threads, which do not affect each other.

use crate::hub::Hub;

#[tokio::test]
async fn readers_on_every_worker_get_the_same_events() {
    for workers in ["1", "4"] {
        let hub = Hub::start(&["--workers", workers]).await;
        let mut readers = Vec::new();
        for _ in 0..16 {
            let mut reader = hub.subscribe("/streams/s/events").await;
            reader.open().await;
            readers.push(reader);
        }
        for n in 0..50 {
            assert_eq!(hub.publish("s", &n.to_string()).await["subscribers"], 16);
        }
        for reader in &mut readers {
            let seen: Vec<String> = reader.take(50).await.into_iter().map(|e| e.data).collect();
            assert_eq!(seen, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn sessions_of_dropped_connections_are_released() {
    let hub = Hub::start(&[]).await;
    for round in 0..20 {
        let mut readers = Vec::new();
        for _ in 0..20 {
            readers.push(hub.subscribe(&format!("/events?stream=s{round}&stream=x.*")).await);
        }
        hub.publish(&format!("s{round}"), "x").await;
        drop(readers);
    }
    hub.wait_for_metric("fanfare_sessions", |n| n == 0.0).await;
    assert_eq!(hub.publish("s3", "x").await["subscribers"], 0);
    assert_eq!(hub.metric("fanfare_sessions_opened_total{resume=\"live\"}").await, 400.0);
}
