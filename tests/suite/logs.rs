//! The log: a line for each request, no secrets, and sampling of repeated lines.

use crate::credentials::{SECRET, claims_with, file_with_keys, signed_token};
use crate::hub::{Hub, TEST_TIMEOUT};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Returns the JSON log lines with this message.
fn lines(hub: &Hub, message: &str) -> Vec<Value> {
    let log = hub.log();
    let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    entries.filter(|line| line["message"] == message).collect()
}

/// Waits for the log line of the request with this id.
async fn line_of(hub: &Hub, id: &str) -> Value {
    let started = Instant::now();
    loop {
        let found = lines(hub, "request").into_iter().find(|line| line["request_id"] == id);
        if let Some(line) = found {
            return line;
        }
        assert!(started.elapsed() < TEST_TIMEOUT, "no line of {id}\n{}", hub.log());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn send_request(
    hub: &Hub,
    (method, path): (Method, &str),
    id: &str,
    body: &str,
) -> (StatusCode, String) {
    let request = hub.http.request(method, hub.url(path)).header("X-Request-Id", id);
    let response = request.body(body.to_owned()).send().await.unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    (response.status(), id)
}

#[tokio::test]
async fn a_request_is_logged_once_with_its_id_and_outcome() {
    let hub = Hub::start(&["--log-format", "json"]).await;
    let post = |path| (Method::POST, path);
    let (status, id) = send_request(&hub, post("/streams/a/events?type=log-x"), "one.1", "x").await;
    assert_eq!((status, id.as_str()), (StatusCode::OK, "one.1"));
    let line = line_of(&hub, "one.1").await;
    assert_eq!(
        json!([line["level"], line["outcome"], line["status"], line["method"], line["path"]]),
        json!(["INFO", "ok", 200, "POST", "/streams/a/events"])
    );
    assert_eq!(json!([line["events"], line["streams"]]), json!([1, 1]));
    let batch = r#"[{"stream": ["a", "b"], "data": 1}, {"stream": "b", "data": 2}]"#;
    send_request(&hub, post("/publish"), "batch", batch).await;
    let line = line_of(&hub, "batch").await;
    assert_eq!(json!([line["events"], line["streams"]]), json!([2, 2]));
    assert_eq!(line["client"], "127.0.0.1");
    assert!(line["ms"].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
    let (status, _) = send_request(&hub, post("/publish"), "two", "{").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let line = line_of(&hub, "two").await;
    assert_eq!(json!([line["outcome"], line["reason"]]), json!(["refused", "validation_error"]));
    for invalid_id in ["", "a b", &"x".repeat(129), "caf\u{e9}"] {
        let request =
            hub.http.get(hub.url("/version")).header("X-Request-Id", invalid_id.as_bytes());
        let response = request.send().await.unwrap();
        let id = response.headers()["x-request-id"].to_str().unwrap();
        assert!(id.len() == 32 && id != invalid_id, "{id}");
    }
    // Refused before any handler saw it.
    let request = hub.http.get(hub.url("/version")).header("Host", "evil.example");
    let response = request.header("X-Request-Id", "three").send().await.unwrap();
    assert_eq!(response.status(), 421);
    assert_eq!(response.headers()["x-request-id"], "three");
    assert_eq!(line_of(&hub, "three").await["reason"], "misdirected_request");
    let matching = lines(&hub, "request").into_iter().filter(|line| line["request_id"] == "one.1");
    assert_eq!(matching.count(), 1);
}

#[tokio::test]
async fn the_session_id_is_logged_with_the_request_and_with_the_close() {
    let hub = Hub::start(&["--log-format", "json"]).await;
    let last = hub.publish_id("a", "x").await;
    let headers = [("X-Request-Id", "r1"), ("Last-Event-ID", last.as_str())];
    let path = "/events?stream=a&stream=b.*";
    let mut reader = crate::reader::Reader::connect(&hub.address, path, &headers).await.unwrap();
    let session = reader.open().await["session"].as_str().unwrap().to_owned();
    let line = line_of(&hub, "r1").await;
    assert_eq!(
        json!([line["outcome"], line["session"], line["streams"], line["resume"]]),
        json!(["session", session, 2, "resumed"])
    );
    drop(reader);
    hub.wait_for_log("session closed", 1).await;
    let closed = &lines(&hub, "session closed")[0];
    assert_eq!(
        json!([closed["session"], closed["reason"], closed["position"]]),
        json!([session, "client_disconnected", last])
    );
    let limited = Hub::start(&["--log-format", "json", "--max-connections", "1"]).await;
    let mut first = limited.subscribe("/streams/a/events").await;
    first.open().await;
    let headers = [("X-Request-Id", "r2"), ("Accept", "text/event-stream")];
    let path = "/streams/a/events";
    drop(crate::reader::Reader::connect(&limited.address, path, &headers).await.unwrap());
    let line = line_of(&limited, "r2").await;
    assert_eq!(
        json!([line["outcome"], line["reason"], line["status"]]),
        json!(["refused", "max_connections", 200]),
        "a refusal that a browser gets with status 200"
    );
}

#[tokio::test]
async fn no_secret_is_logged_even_at_trace_level() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with_keys(folder.path(), &[("ops", "key-secret-1", "admin = true")]);
    let flags = ["--config", &file, "--jwt-secret", SECRET];
    let flags = [&flags[..], &["--log-format", "json", "--log", "info,fanfare=trace"]].concat();
    let hub = Hub::start(&flags).await;
    let token = signed_token(&claims_with("jti", json!("1")));
    let bearer = format!("Bearer {token}");
    let response = hub.http.post(hub.url("/tickets")).header("Authorization", &bearer);
    let response = response.body(json!({ "streams": ["a.x"] }).to_string()).send().await.unwrap();
    let ticket: Value = response.json().await.unwrap();
    let ticket = ticket["ticket"].as_str().unwrap().to_owned();
    let path = format!("/streams/a.x/events?ticket={ticket}");
    let mut reader = hub.subscribe(&path).await;
    reader.open().await;
    let login = hub.http.post(hub.url("/session")).header("Authorization", &bearer);
    assert_eq!(login.send().await.unwrap().status(), 204);
    let stats = hub.http.get(hub.url("/stats")).header("Authorization", "Bearer key-secret-1");
    assert_eq!(stats.header("X-Request-Id", "last").send().await.unwrap().status(), 200);
    let refused = hub.http.get(hub.url(&format!("/events?stream=a.x&access_token={token}")));
    assert_eq!(refused.header("X-Request-Id", "in-query").send().await.unwrap().status(), 401);
    line_of(&hub, "in-query").await;
    let line = line_of(&hub, "last").await;
    assert_eq!(line["subject"], "key ops");
    let log = hub.log();
    for secret in [token.as_str(), &ticket, "key-secret-1", SECRET] {
        assert!(!log.contains(secret), "{secret} in\n{log}");
    }
}

#[tokio::test]
async fn repeated_log_lines_are_sampled_and_the_others_are_counted() {
    const STORM: usize = 2_000;
    let hub = Hub::start(&["--log-format", "json"]).await;
    for _ in 0..STORM {
        assert_eq!(hub.get("/nothing").await.0, 404);
    }
    let counts = || {
        let is_of_storm = |line: &&Value| line["reason"] == "not_found";
        let (requests, summaries) =
            (lines(&hub, "request"), lines(&hub, "suppressed repeated log lines"));
        let written = requests.iter().filter(is_of_storm).count();
        let suppressed =
            summaries.iter().filter(is_of_storm).map(|line| line["count"].as_u64().unwrap());
        (written, suppressed.sum::<u64>() as usize)
    };
    let started = Instant::now();
    while counts().0 + counts().1 < STORM {
        assert!(started.elapsed() < TEST_TIMEOUT, "{:?}", counts());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (written, suppressed) = counts();
    assert_eq!(written + suppressed, STORM);
    assert!(suppressed > 0, "all {written} were written");
}

#[tokio::test]
async fn the_log_filter_can_be_changed_at_run_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with_keys(folder.path(), &[("ops", "s1", "admin = true"), ("app", "s2", "")]);
    let hub = Hub::start(&["--config", &file, "--log-format", "json"]).await;
    let put = |secret: &'static str, filter: &str| {
        let request = hub.http.put(hub.url("/log-filter")).bearer_auth(secret);
        let request = request.body(json!({ "filter": filter }).to_string());
        async move { request.send().await.unwrap().status().as_u16() }
    };
    let get = |id: &'static str| {
        let request = hub.http.get(hub.url("/log-filter")).bearer_auth("s1");
        let request = request.header("X-Request-Id", id);
        async move { request.send().await.unwrap().json::<Value>().await.unwrap() }
    };
    assert_eq!(get("before").await, json!({ "filter": "info" }));
    assert_eq!(put("s2", "off").await, 403);
    assert_eq!(put("s1", "fanfare=loud").await, 422);
    assert_eq!(put("s1", "off").await, 200);
    assert_eq!(get("silent").await, json!({ "filter": "off" }));
    assert_eq!(put("s1", "info,fanfare=debug").await, 200);
    line_of(&hub, "before").await;
    assert_eq!(hub.get("/healthz").await.0, 200);
    hub.wait_for_log("\"path\":\"/healthz\"", 1).await;
    assert!(!hub.log().contains("\"silent\""));
    hub.reload();
    hub.wait_for_log("reloaded keys", 1).await;
    assert_eq!(get("after").await, json!({ "filter": "info" }), "as configured");
}

/// The hub must not stop if the reader of its log stops reading.
#[tokio::test]
async fn an_unread_log_delays_no_request_and_lost_lines_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(crate::hub::program())
        .args(["--listen", "127.0.0.1:0", "--system", "off", "--publish-log=off"])
        // Lines at this level are not sampled.
        .args(["--log", "trace", "--data-dir"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    let http = crate::hub::http();
    let lost = async || {
        let metrics =
            http.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
        let line = metrics.lines().find(|line| line.starts_with("fanfare_log_lines_lost_total "));
        line.unwrap().rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let started = Instant::now();
    while lost().await == 0.0 {
        let response = http.post(format!("{url}/streams/s/events")).body("x").send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(started.elapsed() < TEST_TIMEOUT, "no line is lost");
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < TEST_TIMEOUT, "the hub waits for its log to be read");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// After SIGCONT, the hub finds requests whose clients have already disconnected.
#[tokio::test]
async fn an_abandoned_request_is_logged_and_counted_in_the_latency() {
    const REQUESTS: usize = 40;
    let hub = Hub::start(&["--log-format", "json"]).await;
    let pid = rustix::process::Pid::from_raw(hub.pid() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    for n in 0..REQUESTS {
        let mut socket = TcpStream::connect(&hub.address).await.unwrap();
        let request = format!(
            "POST /streams/s/events HTTP/1.1\r\nHost: {}\r\nX-Request-Id: up-{n}\r\n\
             Content-Length: 1\r\n\r\nx",
            hub.address
        );
        socket.write_all(request.as_bytes()).await.unwrap();
    }
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    let mut abandoned = 0.0;
    for n in 0..REQUESTS {
        let line = line_of(&hub, &format!("up-{n}")).await;
        match line["outcome"].as_str().unwrap() {
            "abandoned" => {
                assert_eq!(line["status"], Value::Null, "it was not answered: {line}");
                abandoned += 1.0;
            }
            outcome => assert_eq!(outcome, "ok", "{line}"),
        }
    }
    assert!(abandoned > 0.0, "all were answered");
    assert_eq!(hub.metric("fanfare_requests_abandoned_total").await, abandoned);
    assert_eq!(hub.metric("fanfare_publish_seconds_count").await, REQUESTS as f64);
}
