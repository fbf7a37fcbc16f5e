//! Sessions, as operators list and close them.

use crate::credentials::{SECRET, claims_with, file_with_keys, signed_token};
use crate::hub::{Hub, TEST_TIMEOUT};
use crate::reader::Reader;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn get(hub: &Hub, path: &str) -> Value {
    let response = hub.http.get(hub.url(path)).bearer_auth("admin").send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.json().await.unwrap()
}

fn ids(list: &Value) -> Vec<String> {
    let sessions = list["sessions"].as_array().unwrap();
    sessions.iter().map(|session| session["id"].as_str().unwrap().to_owned()).collect()
}

async fn hub() -> (Hub, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let keys = [
        ("admin", "admin", "admin = true"),
        ("app", "app", "subscribe = [\"**\"]\npublish = [\"**\"]"),
    ];
    let file = file_with_keys(folder.path(), &keys);
    let flags = ["--config", &file, "--jwt-secret", SECRET, "--trusted-proxy", "127.0.0.1"];
    // The write timeout closes no connection that reads nothing.
    let flags =
        [&flags[..], &["--metrics-listen", "127.0.0.1:0", "--write-timeout", "10m"]].concat();
    (Hub::start(&flags).await, folder)
}

async fn read(hub: &Hub, credential: &str, from: &str, path: &str) -> (Reader, String) {
    let credential = format!("Bearer {credential}");
    let headers = [("Authorization", credential.as_str()), ("X-Forwarded-For", from)];
    let mut reader = Reader::connect(&hub.address, path, &headers).await.unwrap();
    let session = reader.open().await["session"].as_str().unwrap().to_owned();
    (reader, session)
}

async fn publish(hub: &Hub, stream: &str, data: &str) -> String {
    let body = json!({ "stream": stream, "data": data }).to_string();
    let request = hub.http.post(hub.url("/publish")).bearer_auth("app").body(body);
    let receipt: Value = request.send().await.unwrap().json().await.unwrap();
    receipt["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_is_listed_with_its_state() {
    let (hub, _folder) = hub().await;
    let token = signed_token(&claims_with("jti", json!("1")));
    let (mut reader, id) = read(&hub, &token, "192.0.2.7", "/events?stream=a.x&stream=a.y.*").await;
    let last = publish(&hub, "a.x", "1").await;
    reader.take(1).await;
    let started = Instant::now();
    let session = loop {
        let list = get(&hub, "/sessions").await;
        assert_eq!(list["next"], Value::Null);
        let session = list["sessions"][0].clone();
        if session["sent_events"] == 1 {
            break session;
        }
        assert!(started.elapsed() < TEST_TIMEOUT, "{list}");
    };
    assert!(session["since"].as_str().unwrap().starts_with("20"));
    let mut session = session;
    session.as_object_mut().unwrap().remove("since");
    assert_eq!(
        session,
        json!({
            "id": id, "streams": ["a.x", "a.y.*"], "subject": "sub ann", "hub": null, "address": "192.0.2.7",
            "position": last, "state": "live", "lag": 0, "queued_bytes": 0, "sent_events": 1,
            "protocol": "native",
            "resume": "live",
        })
    );
}

#[tokio::test]
async fn a_stalled_session_is_listed_with_its_lag_and_queued_bytes() {
    let (hub, _folder) = hub().await;
    let (reader, id) = read(&hub, "app", "192.0.2.1", "/streams/big/events").await;
    let data = "x".repeat(200_000);
    let started = Instant::now();
    loop {
        publish(&hub, "big", &data).await;
        let list = get(&hub, "/sessions?stream=big").await;
        assert_eq!(ids(&list), [id.as_str()]);
        let session = &list["sessions"][0];
        let is_behind =
            session["queued_bytes"].as_u64() > Some(200_000) && session["lag"].as_u64() > Some(0);
        if is_behind && session["state"] == "live" {
            break;
        }
        assert!(started.elapsed() < TEST_TIMEOUT, "{list}");
    }
    loop {
        publish(&hub, "big", &data).await;
        let session = get(&hub, "/sessions").await["sessions"][0].clone();
        if session["state"] == "catching_up" {
            assert_eq!(session["lag"], Value::Null);
            break;
        }
        assert!(started.elapsed() < TEST_TIMEOUT, "{session}");
    }
    drop(reader);
}

#[tokio::test]
async fn sessions_are_filtered_and_listed_completely_in_pages() {
    let (hub, _folder) = hub().await;
    let mut readers = Vec::new();
    let mut all = BTreeSet::new();
    for n in 0..25 {
        let from = format!("192.0.2.{}", n % 5);
        let path = format!("/streams/s{}/events", n % 3);
        let (reader, id) = read(&hub, "app", &from, &path).await;
        readers.push(reader);
        all.insert(id);
    }
    let ann = signed_token(&claims_with("fanfare", json!({ "subscribe": ["s0", "s1"] })));
    let (_ann, ann_id) = read(&hub, &ann, "192.0.2.99", "/events?stream=s0&stream=s1").await;
    let mut listed = Vec::new();
    let mut path = "/sessions?limit=7&subject=key+app".to_owned();
    loop {
        let list = get(&hub, &path).await;
        let page = ids(&list);
        assert!(page.len() <= 7);
        listed.extend(page);
        let Some(next) = list["next"].as_str() else { break };
        path = format!("/sessions?limit=7&subject=key+app&after={next}");
    }
    assert_eq!(listed.len(), 25, "each session once");
    assert!(listed.is_sorted());
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), all);
    assert_eq!(ids(&get(&hub, "/sessions?subject=sub+ann").await), [ann_id.as_str()]);
    assert_eq!(ids(&get(&hub, "/sessions?address=192.0.2.3").await).len(), 5);
    assert_eq!(ids(&get(&hub, "/sessions?stream=s1").await).len(), 8 + 1);
    assert_eq!(ids(&get(&hub, "/sessions?stream=s1&address=192.0.2.99").await), [ann_id.as_str()]);
    for query in ["limit=0", "limit=1001", "after=x", "address=x", "stream=*", "stream=a&stream=b"]
    {
        let request = hub.http.get(hub.url(&format!("/sessions?{query}"))).bearer_auth("admin");
        assert_eq!(request.send().await.unwrap().status(), 400, "{query}");
    }
    let presence = get(&hub, "/presence/s1").await;
    assert_eq!(
        presence,
        json!({
            "stream": "s1", "sessions": 9, "anonymous": 0, "subject_count": 2, "silent_hubs": [],
            "subjects": [
                { "subject": "key app", "sessions": 8 }, { "subject": "sub ann", "sessions": 1 }
            ],
        })
    );
    assert_eq!(get(&hub, "/presence/nobody").await["sessions"], 0);
}

#[tokio::test]
async fn an_operator_closes_a_session_and_its_client_is_notified() {
    let (hub, _folder) = hub().await;
    let (mut ended, id) = read(&hub, "app", "192.0.2.1", "/streams/s/events").await;
    let (mut other, _) = read(&hub, "app", "192.0.2.1", "/streams/s/events").await;
    let delete = |id: String| {
        let request = hub.http.request(Method::DELETE, hub.url(&format!("/sessions/{id}")));
        let request = request.bearer_auth("admin");
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(delete(id.clone()).await, 204);
    let event = ended.next().await.unwrap();
    assert_eq!(
        (event.name.as_str(), &event.json()["code"]),
        ("hub-error", &json!("closed_by_operator"))
    );
    assert!(ended.retry().is_some());
    assert_eq!(ended.next().await, None);
    let started = Instant::now();
    while delete(id.clone()).await != 404 {
        assert!(started.elapsed() < TEST_TIMEOUT, "the session remains");
    }
    assert_eq!(delete("x".into()).await, 404);
    let text = hub.http.get(hub.url("/metrics")).bearer_auth("admin").send().await.unwrap();
    let text = text.text().await.unwrap();
    assert!(text.contains("fanfare_sessions_closed_total{reason=\"closed_by_operator\"} 1\n"));
    publish(&hub, "s", "on").await;
    assert_eq!(other.take(1).await[0].data, "on");
}

#[tokio::test]
async fn sessions_presence_stats_and_the_log_filter_need_an_admin() {
    let (hub, _folder) = hub().await;
    let id = "00000000-0000-0000-0000-000000000000";
    for (method, path) in [
        (Method::GET, "/sessions".to_owned()),
        (Method::DELETE, format!("/sessions/{id}")),
        (Method::GET, "/presence/s".to_owned()),
        (Method::GET, "/log-filter".to_owned()),
        (Method::PUT, "/log-filter".to_owned()),
        (Method::GET, "/stats".to_owned()),
    ] {
        let request = || hub.http.request(method.clone(), hub.url(&path));
        assert_eq!(request().send().await.unwrap().status(), 401, "{path}");
        assert_eq!(request().bearer_auth("app").send().await.unwrap().status(), 403, "{path}");
    }
}

#[tokio::test]
async fn stats_report_readiness_totals_and_version() {
    let (hub, _folder) = hub().await;
    let (mut reader, _) = read(&hub, "app", "192.0.2.1", "/streams/s/events").await;
    publish(&hub, "s", "12345").await;
    reader.take(1).await;
    let started = Instant::now();
    let stats = loop {
        let stats = get(&hub, "/stats").await;
        if stats["totals"]["deliveries"] == 1 && stats["totals"]["journal_bytes"] != 0 {
            break stats;
        }
        assert!(started.elapsed() < TEST_TIMEOUT, "{stats}");
    };
    assert_eq!(json!([stats["ready"], stats["checks"]["journal"]["ok"]]), json!([true, true]));
    let totals = &stats["totals"];
    assert_eq!(
        json!([totals["sessions"], totals["sessions_opened"], totals["events_published"]]),
        json!([1, 1, 1])
    );
    assert_eq!(json!([totals["published_bytes"], totals["journal_streams"]]), json!([5, 1]));
    assert_eq!(stats["version"], env!("CARGO_PKG_VERSION"));
}

/// Opens a subscriber that reads nothing and has a small receive buffer.
async fn open_stuck_subscriber(hub: &Hub) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = socket.connect(hub.address.parse().unwrap()).await.unwrap();
    let request = format!(
        "GET /streams/s/events HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer app\r\n\r\n",
        hub.address
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// Publishes one event at a time until bytes stay queued, and returns the session.
async fn fill_socket(hub: &Hub) -> Value {
    let started = Instant::now();
    loop {
        publish(hub, "s", &"x".repeat(100_000)).await;
        let queued_session = async || {
            let session = get(hub, "/sessions").await["sessions"][0].clone();
            (session["queued_bytes"].as_u64() > Some(0)).then_some(session)
        };
        // The kernel may still accept the bytes.
        if queued_session().await.is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            if let Some(session) = queued_session().await {
                return session;
            }
        }
        assert!(started.elapsed() < TEST_TIMEOUT, "the socket accepts everything");
    }
}

#[tokio::test]
async fn bytes_queued_for_a_socket_are_reported_with_their_age() {
    let (hub, _folder) = hub().await;
    let mut socket = open_stuck_subscriber(&hub).await;
    let session = fill_socket(&hub).await;
    assert_eq!(session["state"], "live");
    let before = session["lag"].as_u64().unwrap();
    let started = Instant::now();
    while get(&hub, "/sessions").await["sessions"][0]["lag"].as_u64() <= Some(before.max(100)) {
        assert!(started.elapsed() < TEST_TIMEOUT, "the lag does not grow");
    }
    hub.wait_for_metric("fanfare_session_queue_bytes", |bytes| bytes > 0.0).await;
    hub.wait_for_metric("fanfare_undelivered_age_seconds_sum", |seconds| seconds > 0.1).await;
    // After the client has read everything, nothing is queued.
    let mut buffer = vec![0; 1 << 20];
    while get(&hub, "/sessions").await["sessions"][0]["queued_bytes"] != 0 {
        assert!(socket.read(&mut buffer).await.unwrap() > 0);
    }
    assert_eq!(get(&hub, "/sessions").await["sessions"][0]["lag"], 0);
}

/// Returns true if the hub's end of the connection from this port is established.
fn is_established(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let peer = format!("0100007F:{port:04X}");
    table.lines().skip(1).any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        (columns[2], columns[3]) == (peer.as_str(), "01")
    })
}

#[tokio::test]
async fn a_closed_session_that_does_not_end_is_aborted() {
    let (hub, _folder) = hub().await;
    let socket = open_stuck_subscriber(&hub).await;
    let id = fill_socket(&hub).await["id"].as_str().unwrap().to_owned();
    let request = hub.http.delete(hub.url(&format!("/sessions/{id}"))).bearer_auth("admin");
    assert_eq!(request.send().await.unwrap().status(), 204);
    hub.wait_for_metric("fanfare_sessions", |n| n == 0.0).await;
    let closed = "fanfare_sessions_closed_total{reason=\"closed_by_operator\"}";
    assert_eq!(hub.metric(closed).await, 1.0);
    let started = Instant::now();
    while is_established(socket.local_addr().unwrap().port()) {
        assert!(started.elapsed() < TEST_TIMEOUT, "the connection stays open");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
