//! Connections that end in every possible way: the counts return to zero.

use crate::credentials::{SECRET, claims_with, in_seconds, signed_token};
use crate::hub::{Hub, TEST_TIMEOUT};
use crate::reader::Reader;
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Number of connections that are opened and ended.
const CLIENTS: usize = 10_000;
const PATH: &str = "/events?stream=a.x&stream=a.*&heartbeat=1";

/// Subscribes and reads the start of the status line.
async fn subscribe(hub: &Hub, token: &str) -> TcpStream {
    let mut socket = TcpStream::connect(&hub.address).await.unwrap();
    let head = format!(
        "GET {PATH} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\
         Authorization: Bearer {token}\r\n\r\n",
        hub.address
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut status_line = [0; 15];
    socket.read_exact(&mut status_line).await.unwrap();
    assert_eq!(&status_line, b"HTTP/1.1 200 OK");
    socket
}

/// Opens a connection and ends it in one of six ways.
async fn open_and_end(hub: &Hub, token: &str, way: usize) {
    match way % 6 {
        // An orderly close.
        0 => drop(subscribe(hub, token).await),
        // A reset.
        1 => {
            let socket = subscribe(hub, token).await;
            socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        }
        // A half-close.
        2 => {
            let mut socket = subscribe(hub, token).await;
            socket.shutdown().await.unwrap();
            let mut rest = Vec::new();
            let read_to_end = tokio::time::timeout(TEST_TIMEOUT, socket.read_to_end(&mut rest));
            let _ = read_to_end.await.expect("the hub keeps a half-closed connection");
        }
        // A close before the answer.
        3 => {
            let mut socket = TcpStream::connect(&hub.address).await.unwrap();
            let head =
                format!("GET {PATH} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\r\n");
            socket.write_all(head.as_bytes()).await.unwrap();
        }
        // A close within the request head.
        4 => {
            let mut socket = TcpStream::connect(&hub.address).await.unwrap();
            socket.write_all(b"GET /events?stream=a.x HTTP/1.1\r\nHos").await.unwrap();
        }
        // A reset before the answer.
        _ => {
            let mut socket = TcpStream::connect(&hub.address).await.unwrap();
            let head =
                format!("GET {PATH} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\r\n");
            socket.write_all(head.as_bytes()).await.unwrap();
            socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
}

/// Returns the current use of each connection limit.
async fn connection_counts(hub: &Hub, admin: &str) -> Vec<(String, u64)> {
    let response = hub.http.get(hub.url("/stats")).bearer_auth(admin).send().await.unwrap();
    let stats: Value = response.json().await.unwrap();
    let limits = stats["limits"].as_array().unwrap().iter();
    limits
        .filter(|limit| limit["limit"].as_str().unwrap().starts_with("max_connections"))
        .map(|limit| (limit["limit"].as_str().unwrap().to_owned(), limit["use"].as_u64().unwrap()))
        .collect()
}

async fn wait_for_no_use(hub: &Hub, admin: &str) {
    wait_for_use(hub, admin, 0).await;
}

/// Waits until every connection limit has this use.
async fn wait_for_use(hub: &Hub, admin: &str, expected: u64) {
    let started = Instant::now();
    loop {
        let counts = connection_counts(hub, admin).await;
        assert_eq!(counts.len(), 4, "{counts:?}");
        if counts.iter().all(|(_, count)| *count == expected) {
            return;
        }
        assert!(started.elapsed() < TEST_TIMEOUT, "{counts:?} stays\n{}", hub.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Opens readers in separate processes and kills them.
async fn kill_readers(hub: &Hub, token: &str) {
    let mut curls: Vec<_> = (0..20)
        .map(|_| {
            Command::new("curl")
                .args(["-sN", "-H", &format!("Authorization: Bearer {token}"), &hub.url(PATH)])
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    hub.wait_for_metric("fanfare_sessions", |n| n == 20.0).await;
    for curl in &mut curls {
        curl.kill().unwrap();
        curl.wait().unwrap();
    }
}

/// Opens readers that do not read, and publishes until the hub closes them.
async fn close_stuck_readers(hub: &Hub, token: &str, admin: &str) {
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let socket = subscribe(hub, token).await;
        socket2::SockRef::from(&socket).set_recv_buffer_size(4096).unwrap();
        sockets.push(socket);
    }
    let body = "x".repeat(200_000);
    for _ in 0..100 {
        let post = hub.http.post(hub.url("/streams/a.x/events")).bearer_auth(admin);
        assert_eq!(post.body(body.clone()).send().await.unwrap().status(), 200);
    }
    wait_for_no_use(hub, admin).await;
}

/// Opens readers whose credential expires or is then revoked.
async fn revoke_and_expire_readers(hub: &Hub, admin: &str) -> Vec<Reader> {
    let mut readers = Vec::new();
    for n in 0..40 {
        let claims = claims_with("exp", json!(in_seconds(if n % 2 == 0 { 600 } else { 3 })));
        let bearer = format!("Bearer {}", signed_token(&claims));
        let headers = [("Authorization", bearer.as_str())];
        readers.push(Reader::connect(&hub.address, PATH, &headers).await.unwrap());
    }
    let request = hub.http.post(hub.url("/revocations")).bearer_auth(admin);
    let response = request.body(json!({ "jti": "none" }).to_string()).send().await.unwrap();
    assert_eq!(response.status(), 200, "it revokes another token");
    wait_for_use(hub, admin, 20).await;
    let request = hub.http.post(hub.url("/revocations")).bearer_auth(admin);
    let response = request.body(json!({ "sub": "ann" }).to_string()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    readers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs curl"]
async fn ten_thousand_connections_end_in_every_way_and_none_stays_counted() {
    let hub = Hub::start(&[
        "--jwt-secret",
        SECRET,
        "--anonymous",
        "metrics",
        "--max-connections",
        "400",
        "--max-connections-per-client",
        "1000",
        "--max-connections-per-subject",
        "1000",
        "--max-connections-per-stream",
        "1000",
        "--write-timeout",
        "2s",
        "--drain",
        "15s",
    ])
    .await;
    let mut hub = Arc::new(hub);
    let grants = json!({ "subscribe": ["**"], "publish": ["**"], "admin": true });
    let admin = json!({ "exp": in_seconds(600), "sub": "root", "fanfare": grants });
    let admin = signed_token(&admin);
    let token = signed_token(&claims_with("sub", json!("churn")));
    let workers = (0..50).map(|worker| {
        let (hub, token) = (hub.clone(), token.clone());
        tokio::spawn(async move {
            for n in 0..CLIENTS / 50 {
                open_and_end(&hub, &token, worker + n).await;
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    wait_for_no_use(&hub, &admin).await;

    kill_readers(&hub, &token).await;
    wait_for_no_use(&hub, &admin).await;

    close_stuck_readers(&hub, &token, &admin).await;
    wait_for_no_use(&hub, &admin).await;
    let mut readers = revoke_and_expire_readers(&hub, &admin).await;
    wait_for_no_use(&hub, &admin).await;
    for reader in &mut readers {
        let last = reader.rest().await.pop().unwrap();
        assert_eq!(last.name, "hub-error", "expected an error: {last:?}");
    }

    // A drain: the process exits successfully only after all readers have left.
    for _ in 0..40 {
        readers.push(
            Reader::connect(&hub.address, PATH, &[("Authorization", &format!("Bearer {token}"))])
                .await
                .unwrap(),
        );
    }
    let hub = Arc::get_mut(&mut hub).expect("the only reference");
    hub.terminate();
    assert!(hub.wait_for_exit().await.success());
    assert!(hub.log().contains("all subscribers have left"), "{}", hub.log());
}
