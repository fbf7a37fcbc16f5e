//! SIGTERM: every reader is notified, every publish in flight is answered, nothing is lost.

use crate::hub::Hub;
use crate::reader::Reader;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const READERS: usize = 500;
const PUBLISHERS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_notifies_every_reader_answers_every_publish_and_exits_with_0() {
    let mut hub = Hub::start(&["--drain", "4s"]).await;
    let mut readers = Vec::new();
    for n in 0..READERS {
        let mut reader = hub.subscribe(&format!("/streams/s{}/events", n % 5)).await;
        reader.open().await;
        readers.push(tokio::spawn(async move {
            let events = reader.rest().await;
            let last_event = events.last().expect("a last event").clone();
            (last_event, reader.retry(), reader.last_id().to_owned(), events.len() - 1)
        }));
    }
    let draining = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|p| {
            let (http, url, draining) = (hub.http.clone(), hub.url("/publish"), draining.clone());
            tokio::spawn(async move {
                let (mut acknowledged, mut refused) = (Vec::new(), 0);
                for n in 0.. {
                    let body =
                        json!({ "stream": format!("s{}", n % 5), "data": format!("{p}/{n}") });
                    let Ok(response) = http.post(&url).body(body.to_string()).send().await else {
                        // The listener is gone: the hub has drained.
                        assert!(draining.load(Ordering::Relaxed), "a publish was not answered");
                        break;
                    };
                    match response.status().as_u16() {
                        200 => {
                            let receipt: serde_json::Value = response.json().await.unwrap();
                            acknowledged.push(receipt["id"].as_str().unwrap().to_owned());
                        }
                        503 => {
                            assert!(draining.load(Ordering::Relaxed));
                            assert!(response.headers().contains_key("retry-after"));
                            let problem: serde_json::Value = response.json().await.unwrap();
                            assert_eq!(problem["code"], "draining");
                            refused += 1;
                            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                        }
                        other => panic!("status {other}"),
                    }
                }
                (acknowledged, refused)
            })
        })
        .collect();
    hub.wait_for_metric("fanfare_events_published_total{type=\"message\"}", |n| n > 500.0).await;
    draining.store(true, Ordering::Relaxed);
    hub.terminate();
    // The listener stays open for a while: readiness fails, and new readers get an error at once.
    let mut late_reader = loop {
        let reader = hub.subscribe("/streams/s0/events").await;
        if !reader.headers.contains_key("last-event-id") {
            break reader;
        }
    };
    let events = late_reader.rest().await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].name.as_str(), &events[0].json()["code"]),
        ("hub-error", &json!("draining"))
    );
    assert_eq!(hub.get("/readyz").await.0, 503);
    let status = Reader::connect(&hub.address, "/streams/s0/events", &[("Accept", "*/*")])
        .await
        .unwrap()
        .status;
    assert_eq!(status, 503);
    let mut retries = std::collections::BTreeSet::new();
    for reader in readers {
        let (last_event, retry, last_id, _) = reader.await.unwrap();
        assert_eq!(
            (last_event.name.as_str(), &last_event.json()["code"]),
            ("hub-error", &json!("draining"))
        );
        assert_eq!(last_event.json()["retry_ms"].as_u64(), retry);
        assert!(!last_id.is_empty());
        retries.insert(retry.unwrap());
    }
    assert!(retries.len() > 50, "reconnection times are spread");
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    for publisher in publishers {
        let (ids, count) = publisher.await.unwrap();
        acknowledged.extend(ids);
        refused += count;
    }
    assert!(hub.wait_for_exit().await.success());
    assert!(refused > 0, "later publishes are refused");
    // All acknowledged events are stored.
    hub.restart().await;
    let mut reader = hub.subscribe("/events?stream=**&from=start").await;
    acknowledged.sort();
    let stored: Vec<String> =
        reader.take(acknowledged.len()).await.into_iter().map(|e| e.id).collect();
    assert_eq!(stored, acknowledged);
}

#[tokio::test]
async fn a_silent_connection_does_not_prevent_a_stop() {
    let mut hub = Hub::start(&["--drain", "1s"]).await;
    hub.publish("s", "1").await;
    let _silent = tokio::net::TcpStream::connect(&hub.address).await.unwrap();
    hub.stop().await;
}

/// A format without control events shows by its connection that data is missing: HTTP/1.1 omits the
/// last chunk, and HTTP/1.0, where a close ends the body, resets the connection.
#[tokio::test]
async fn an_interrupted_export_does_not_end_like_a_complete_one() {
    for version in ["1.1", "1.0"] {
        let hub = Hub::start(&["--drain", "2s"]).await;
        for _ in 0..60 {
            let events: Vec<_> =
                (0..100).map(|_| json!({ "stream": "s", "data": "x".repeat(2_000) })).collect();
            hub.post("/publish", json!(events)).await;
        }
        let mut socket = TcpStream::connect(&hub.address).await.unwrap();
        let request = format!(
            "GET /streams/s/events?follow=false&from=start&format=text HTTP/{version}\r\nHost: {}\r\n\r\n",
            hub.address
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        hub.wait_for_metric("fanfare_sessions", |sessions| sessions == 1.0).await;
        hub.terminate();
        let (mut read, mut buffer) = (Vec::new(), vec![0; 32 * 1024]);
        let error_kind = loop {
            match socket.read(&mut buffer).await {
                Ok(0) => break None,
                Ok(count) => read.extend_from_slice(&buffer[..count]),
                Err(error) => break Some(error.kind()),
            }
            // Too slow to finish before the drain.
            tokio::time::sleep(std::time::Duration::from_millis(15)).await;
        };
        assert!(read.len() < 12_000_000, "the export was not interrupted");
        match version {
            "1.0" => assert_eq!(error_kind, Some(std::io::ErrorKind::ConnectionReset)),
            _ => assert!(!read.ends_with(b"0\r\n\r\n"), "it ends as complete"),
        }
    }
}

#[tokio::test]
async fn an_orderly_stop_logs_no_warning() {
    let mut hub = Hub::start(&[]).await;
    hub.publish("s", "1").await;
    let mut reader = hub.subscribe("/streams/s/events").await;
    reader.open().await;
    drop(reader);
    hub.stop().await;
    let log = hub.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}
