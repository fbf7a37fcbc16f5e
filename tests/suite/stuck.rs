//! Stuck readers never delay other readers or publishers.

use crate::hub::Hub;
use crate::reader::Reader;
use serde_json::json;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

const LIVE: usize = 100;
const BATCHES: usize = 120;
const PER_BATCH: usize = 100;
const PAYLOAD: usize = 1_000;

/// Opens a subscriber that reads nothing, not even heartbeats, and has a small receive buffer.
async fn open_stuck_subscriber(hub: &Hub) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = socket.connect(hub.address.parse().unwrap()).await.unwrap();
    let request = format!(
        "GET /streams/s/events?heartbeat=1s HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n",
        hub.address
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

async fn publish_batch(hub: &Hub, batch: usize) {
    let events: Vec<_> = (0..PER_BATCH)
        .map(|n| json!({ "stream": "s", "data": format!("{}/{}", batch * PER_BATCH + n, "x".repeat(PAYLOAD)) }))
        .collect();
    hub.post("/publish", json!(events)).await;
}

async fn read_all(mut reader: Reader) {
    for n in 0..BATCHES * PER_BATCH {
        let event = reader.next_event().await.expect("the stream ended early");
        assert!(event.data.starts_with(&format!("{n}/")), "{n}: {}", &event.data[..20]);
        reader.bytes.clear();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_reader_delays_no_other_client_and_is_closed_with_its_reason() {
    let hub = Arc::new(Hub::start(&["--write-timeout", "3s", "--recent-bytes", "4MiB"]).await);
    let stuck = open_stuck_subscriber(&hub).await;
    let mut live = Vec::new();
    for _ in 0..LIVE {
        live.push(tokio::spawn(read_all(hub.subscribe("/streams/s/events").await)));
    }
    hub.wait_for_metric("fanfare_sessions", |n| n == LIVE as f64 + 1.0).await;
    let before = hub.resident_bytes();
    let mut peak = before;
    for batch in 0..BATCHES {
        publish_batch(&hub, batch).await;
        peak = peak.max(hub.resident_bytes());
    }
    for reader in live {
        reader.await.unwrap();
    }
    hub.wait_for_metric("fanfare_sessions_closed_total{reason=\"connection_timeout\"}", |n| {
        n == 1.0
    })
    .await;
    drop(stuck);
    // Each of 100 readers got 12 MB. Memory may grow by the journal's share (memtables, recent
    // events, block cache) and the bounded queues, but not by the stuck reader's unread bytes.
    let growth = (peak - before) / (1024 * 1024);
    assert!(growth < 160, "memory grew by {growth} MiB");
}

/// The socket buffer accepts all bytes, so that the hub queues none, but the client reads none.
#[tokio::test]
async fn a_stuck_reader_whose_socket_takes_everything_is_closed_with_the_same_reason() {
    let hub = Hub::start(&["--write-timeout", "1s"]).await;
    let stuck = open_stuck_subscriber(&hub).await;
    hub.wait_for_metric("fanfare_sessions", |n| n == 1.0).await;
    publish_batch(&hub, 0).await;
    hub.wait_for_metric("fanfare_sessions", |n| n == 0.0).await;
    let reason = "fanfare_sessions_closed_total{reason=\"connection_timeout\"}";
    assert_eq!(hub.metric(reason).await, 1.0, "{}", hub.log());
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_continues_in_time_gets_every_event() {
    let hub = Hub::start(&["--write-timeout", "60s", "--recent-bytes", "1MiB"]).await;
    let mut reader = hub.subscribe("/streams/s/events").await;
    reader.open().await;
    for batch in 0..BATCHES {
        publish_batch(&hub, batch).await;
    }
    hub.wait_for_metric("fanfare_bound_hits_total{bound=\"session_queue\"}", |n| n >= 1.0).await;
    read_all(reader).await;
    assert!(hub.metric("fanfare_events_replayed_total{source=\"disk\"}").await > 0.0);
    assert_eq!(hub.metric("fanfare_sessions_catching_up").await, 0.0);
}
