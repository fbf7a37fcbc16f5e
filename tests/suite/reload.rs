//! Reloads of keys, limits and the certificate while the hub runs.

use crate::certificate::Certificate;
use crate::credentials::{READ, file_with_keys, send_with_bearer};
use crate::hub::{Hub, TEST_TIMEOUT};
use crate::reader::Reader;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub const RELOADED: &str = "reloaded keys, limits";

pub async fn reader(hub: &Hub, secret: &str) -> Reader {
    let bearer = format!("Bearer {secret}");
    let headers = [("Authorization", bearer.as_str())];
    let mut reader = Reader::connect(&hub.address, READ, &headers).await.unwrap();
    reader.open().await;
    reader
}

async fn ticket(hub: &Hub, secret: &str) -> String {
    let body = json!({ "streams": ["a.**"] }).to_string();
    let request = hub.http.post(hub.url("/tickets")).bearer_auth(secret).body(body);
    let response: Value = request.send().await.unwrap().json().await.unwrap();
    format!("{READ}?ticket={}", response["ticket"].as_str().unwrap())
}

#[tokio::test]
async fn a_reload_ends_the_sessions_and_tickets_of_removed_and_changed_keys() {
    let folder = tempfile::tempdir().unwrap();
    let grants = "subscribe = [\"a.**\"]";
    let keys = |keys: &[(&str, &str, &str)]| file_with_keys(folder.path(), keys);
    let file = keys(&[
        ("stays", "s", grants),
        ("goes", "g", grants),
        ("less", "l", grants),
        ("new", "o", grants),
    ]);
    let hub = Hub::start(&["--config", &file]).await;
    let mut kept_reader = reader(&hub, "s").await;
    let mut ended = Vec::new();
    let mut tickets = Vec::new();
    for secret in ["g", "l", "o"] {
        ended.push(reader(&hub, secret).await);
        let path = ticket(&hub, secret).await;
        let mut by_ticket = hub.subscribe(&path).await;
        by_ticket.open().await;
        ended.push(by_ticket);
        tickets.push(path);
    }
    let kept_ticket = ticket(&hub, "s").await;
    // `goes` is removed, `less` grants less, `new` has another secret, and `late` is added.
    keys(&[
        ("stays", "s", grants),
        ("less", "l", "subscribe = [\"a.b\"]"),
        ("new", "n", grants),
        ("late", "late", grants),
    ]);
    hub.reload();
    hub.wait_for_log(RELOADED, 1).await;
    for reader in &mut ended {
        let event = reader.next().await.unwrap();
        assert_eq!(
            (event.name.as_str(), &event.json()["code"]),
            ("hub-error", &json!("token_revoked"))
        );
        assert_eq!(reader.next().await, None);
    }
    for path in &tickets {
        assert_eq!(hub.subscribe(path).await.status, 401, "a ticket is as good as its maker");
    }
    for (secret, status) in
        [("s", 200), ("g", 401), ("l", 403), ("o", 401), ("n", 200), ("late", 200)]
    {
        assert_eq!(send_with_bearer(&hub, (Method::GET, READ), secret).await.0, status, "{secret}");
    }
    assert_eq!(hub.subscribe(&kept_ticket).await.status, 200);
    // An invalid file changes nothing and is reported.
    std::fs::write(&file, "[[key]]\nname = 1\n").unwrap();
    hub.reload();
    hub.wait_for_log("failed to reload the configuration", 1).await;
    assert!(hub.log().contains("keys.toml:1"), "{}", hub.log());
    assert_eq!(send_with_bearer(&hub, (Method::GET, READ), "s").await.0, 200);
    // An empty file does not open the hub to anonymous clients.
    std::fs::write(&file, "").unwrap();
    hub.reload();
    hub.wait_for_log("restart it to apply this", 1).await;
    assert_eq!(hub.subscribe(READ).await.status, 401);
    assert_eq!(send_with_bearer(&hub, (Method::GET, READ), "s").await.0, 200);
    keys(&[
        ("stays", "s", "subscribe = [\"a.**\"]\npublish = [\"a.**\"]"),
        ("w", "w", "publish = [\"a.**\"]"),
    ]);
    hub.reload();
    hub.wait_for_log(RELOADED, 2).await;
    let event = kept_reader.next().await.unwrap();
    assert_eq!(event.name, "hub-error", "the grants of its key have changed");
}

#[tokio::test]
async fn changed_settings_that_need_a_restart_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    let rule = |age: &str| format!("[[retention]]\nstreams = [\"a\"]\nmax-age = \"{age}\"\n");
    std::fs::write(&file, format!("retry = \"3s\"\nmax-events = 10\n{}", rule("1h"))).unwrap();
    let hub = Hub::start(&["--config", file.to_str().unwrap()]).await;
    // Applied, or the same on other lines.
    std::fs::write(
        &file,
        format!("\nmax-streams = 9\nretry = \"3s\"\nmax-events = 10\n{}", rule("1h")),
    )
    .unwrap();
    hub.reload();
    hub.wait_for_log(RELOADED, 1).await;
    assert!(!hub.log().contains("require a restart"), "{}", hub.log());
    std::fs::write(&file, format!("heartbeat = \"9s\"\nretry = \"4s\"\n{}", rule("2h"))).unwrap();
    hub.reload();
    hub.wait_for_log("require a restart", 1).await;
    let changed = "settings=\"heartbeat, max-events, retention, retry\"";
    assert!(hub.log().contains(changed), "{}", hub.log());
}

#[tokio::test]
async fn lowered_limits_refuse_new_sessions_and_close_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    std::fs::write(&file, "max-connections = 10\nmax-streams = 10").unwrap();
    let hub = Hub::start(&["--config", file.to_str().unwrap()]).await;
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut reader = hub.subscribe("/streams/a/events").await;
        reader.open().await;
        readers.push(reader);
    }
    hub.publish("a", "before").await;
    std::fs::write(&file, "max-connections = 2\nmax-streams = 1\npublish-events-per-client = 1\n")
        .unwrap();
    hub.reload();
    hub.wait_for_log(RELOADED, 1).await;
    assert_eq!(hub.subscribe("/streams/a/events").await.next().await.unwrap().name, "hub-error");
    let (status, problem) = hub.try_post("/streams/b/events", "x").await;
    assert_eq!((status, &problem["limit"]), (503, &json!("max_streams")));
    hub.publish("a", "after").await;
    for reader in &mut readers {
        let data: Vec<String> = reader.take(2).await.into_iter().map(|event| event.data).collect();
        assert_eq!(data, ["before", "after"]);
    }
    readers.truncate(1);
    hub.wait_for_metric("fanfare_sessions", |n| n == 1.0).await;
    assert_eq!(hub.subscribe("/streams/a/events").await.next().await.unwrap().name, "hub-open");
    let (_, stats) = hub.get("/stats").await;
    let rate = stats["limits"].as_array().unwrap().iter();
    let rate = rate.clone().find(|line| line["limit"] == "publish_events_per_client").unwrap();
    assert_eq!(rate["max"], 1);
    assert!(rate["peak"].as_u64() >= Some(1), "a new rate applies: {rate}");
}

/// Returns `Some` if the hub serves the certificate `trusted`.
async fn served_name(hub: &Hub, trusted: &Certificate) -> Option<()> {
    trusted.try_connect(&hub.address).await.ok().map(drop)
}

#[tokio::test]
#[ignore = "needs openssl"]
async fn a_changed_certificate_is_loaded_and_connections_stay_open() {
    let certificate = Certificate::make("first");
    let first = Certificate::make("kept");
    let copy = |from: &Path, to: &Path| {
        std::fs::copy(from, to).unwrap();
    };
    copy(&certificate.path(), &first.path());
    let flags = [&certificate.flags()[..], &["--metrics-listen", "127.0.0.1:0"]].concat();
    let hub = Hub::start(&flags).await;
    let mut connection = first.connect(&hub.address).await;
    certificate.renew("second");
    let started = Instant::now();
    while served_name(&hub, &certificate).await.is_none() {
        assert!(started.elapsed() < TEST_TIMEOUT, "the new one is not loaded\n{}", hub.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(served_name(&hub, &first).await.is_none());
    // Half of a pair changes nothing and is reported.
    let next_certificate = Certificate::make("third");
    copy(&next_certificate.path(), &certificate.path());
    hub.reload();
    hub.wait_for_log("failed to reload the certificate; the last one stays in use", 1).await;
    connection.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut response = [0; 9];
    connection.read_exact(&mut response).await.unwrap();
    assert_eq!(response[3], 4, "the old connection gets SETTINGS");
    copy(&next_certificate.folder().join("key.pem"), &certificate.folder().join("key.pem"));
    let started = Instant::now();
    while served_name(&hub, &next_certificate).await.is_none() {
        assert!(started.elapsed() < TEST_TIMEOUT, "the whole pair is not loaded\n{}", hub.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
