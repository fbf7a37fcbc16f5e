//! Output formats: lines of JSON and of text, and CSV, live and as an export.

use crate::hub::{Hub, TEST_TIMEOUT};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::{Value, json};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::timeout;

/// A response whose lines are read one by one.
struct Lines {
    response: reqwest::Response,
    rest: Vec<u8>,
}

impl Lines {
    async fn get(hub: &Hub, path: &str, accept: &str) -> Self {
        let request = hub.http.get(hub.url(path)).header(ACCEPT, accept);
        Self::of(request).await
    }

    async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self { response, rest: Vec::new() }
    }

    fn kind(&self) -> &str {
        self.response.headers()[CONTENT_TYPE].to_str().unwrap()
    }

    /// The next line; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(index) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line = self.rest.drain(..=index).collect::<Vec<u8>>();
                return Some(String::from_utf8(line[..index].to_vec()).unwrap());
            }
            let chunk =
                timeout(TEST_TIMEOUT, self.response.chunk()).await.expect("a line").unwrap();
            match chunk {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None => {
                    assert!(self.rest.is_empty(), "half a line");
                    return None;
                }
            }
        }
    }

    async fn json(&mut self) -> Value {
        serde_json::from_str(&self.next().await.unwrap()).unwrap()
    }

    async fn all(mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.next().await {
            lines.push(line);
        }
        lines
    }
}

#[tokio::test]
async fn ndjson_lines_contain_complete_events_live_and_from_history() {
    let hub = Hub::start(&[]).await;
    let body = json!({ "stream": ["a", "b"], "type": "x", "data": { "n": 1 } });
    let first = hub.post("/publish", body).await;
    let mut lines = Lines::get(&hub, "/events?stream=a&from=start", "application/x-ndjson").await;
    assert_eq!(lines.kind(), "application/x-ndjson");
    let open = lines.json().await;
    assert_eq!(json!([open["type"], open["data"]["resume"]]), json!(["hub-open", "live"]));
    let line = lines.json().await;
    assert_eq!(
        json!([line["id"], line["stream"], line["type"], line["data"]]),
        json!([first["id"], "a", "x", { "n": 1 }]),
        "only requested streams are named"
    );
    let second = hub.publish("a", "two\nlines").await;
    let line = lines.json().await;
    assert_eq!(json!([line["id"], line["data"]]), json!([second["id"], "two\nlines"]));
    assert_eq!(hub.try_post("/streams/a/end", "").await.0, 200);
    let end = lines.json().await;
    assert_eq!(json!([end["type"], end["data"]["reason"]]), json!(["hub-end", "ended"]));
    assert_eq!(lines.next().await, None);
    // A reader of lines resumes with the id of a line.
    let path = format!("/events?stream=a&last_event_id={}", first["id"].as_str().unwrap());
    let mut resumed = Lines::get(&hub, &format!("{path}&format=ndjson"), "*/*").await;
    assert_eq!(resumed.json().await["data"]["resume"], "resumed");
    assert_eq!(resumed.json().await["id"], second["id"]);
}

#[tokio::test]
async fn text_lines_contain_only_the_data() {
    let hub = Hub::start(&["--heartbeat", "1s"]).await;
    let mut lines = Lines::get(&hub, "/streams/s/events", "text/plain").await;
    assert_eq!(lines.kind(), "text/plain; charset=utf-8");
    // Time for two heartbeats, which must not appear in the text.
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    hub.publish("s", "one\r\ntwo").await;
    assert_eq!(lines.next().await.unwrap(), "one\\r\\ntwo");
    hub.post("/publish", json!({ "stream": "s", "data": { "a": [1, 2] } })).await;
    assert_eq!(lines.next().await.unwrap(), "{\"a\":[1,2]}");
    hub.publish("s", "").await;
    assert_eq!(lines.next().await.unwrap(), "");
    assert_eq!(hub.try_post("/streams/s/end", "").await.0, 200);
    assert_eq!(lines.next().await, None);
}

#[tokio::test]
async fn subscriptions_without_follow_export_the_history_in_every_format() {
    const EVENTS: usize = 5_000;
    let hub = Hub::start(&["--recent-bytes", "64KiB"]).await;
    for batch in 0..EVENTS / 1_000 {
        let events: Vec<Value> = (0..1_000)
            .map(|n| json!({ "stream": "s", "data": format!("{}", batch * 1_000 + n) }))
            .collect();
        hub.post("/publish", Value::Array(events)).await;
    }
    let expected: Vec<String> = (0..EVENTS).map(|n| n.to_string()).collect();
    let text = Lines::get(&hub, "/streams/s/events?follow=false&format=text", "*/*").await;
    assert_eq!(text.all().await, expected);
    let path = "/streams/s/events?follow=false&format=ndjson&control=off";
    let json_lines = Lines::get(&hub, path, "*/*").await.all().await;
    let data = |line: &String| serde_json::from_str::<Value>(line).unwrap()["data"].clone();
    let data: Vec<String> =
        json_lines.iter().map(|l| data(l).as_str().unwrap().to_owned()).collect();
    assert_eq!(data, expected);
    let mut events = hub.subscribe("/streams/s/events?follow=false").await;
    events.open().await;
    let rest = events.rest().await;
    assert_eq!(rest.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), expected);
    let last = rest.last().unwrap().id.clone();
    hub.wait_for_metric("fanfare_sessions_closed_total{reason=\"complete\"}", |n| n == 3.0).await;
    // An EventSource that reconnects gets a 204, so that it does not try again.
    let request = hub.http.get(hub.url("/streams/s/events?follow=false"));
    let response = request.header("Last-Event-ID", &last).send().await.unwrap();
    assert_eq!(response.status(), 204);
    assert_eq!(response.headers()["last-event-id"], last, "its position");
    let newest = Lines::get(&hub, "/streams/s/events?follow=false&last=2&format=text", "*/*").await;
    assert_eq!(newest.all().await, expected[EVENTS - 2..]);
    let empty = Lines::get(&hub, "/streams/t/events?follow=false&format=text", "*/*").await;
    assert_eq!(empty.all().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_export_ends_while_events_are_published() {
    let hub = Hub::start(&[]).await;
    hub.publish("s", "before").await;
    for _ in 0..20 {
        let path = "/streams/s/events?follow=false&format=text&last=1";
        let (lines, _) = tokio::join!(
            async { Lines::get(&hub, path, "*/*").await.all().await },
            hub.publish("s", "meanwhile"),
        );
        assert!(!lines.is_empty() && lines.len() <= 2, "{lines:?}");
    }
}

#[tokio::test]
async fn a_subscription_in_a_body_is_equal_to_one_in_a_query() {
    let hub = Hub::start(&[]).await;
    hub.publish("a", "1").await;
    hub.post(
        "/publish",
        json!({ "stream": "b", "type": "log", "data": { "level": "info", "message": "2" } }),
    )
    .await;
    hub.publish("c", "3").await;
    let request = |body: Value| hub.http.post(hub.url("/events")).body(body.to_string());
    let body = json!({ "stream": ["a", "b"], "from": "start", "format": "text", "follow": false });
    let lines = Lines::of(request(body)).await.all().await;
    assert!(
        lines.len() == 2 && lines[0] == "1" && lines[1].contains("\"message\":\"2\""),
        "{lines:?}"
    );
    let body = json!({ "stream": "b", "types": ["log", "metric"], "last": 5, "follow": false });
    let mut events = Lines::of(request(body).header(ACCEPT, "text/event-stream")).await;
    assert_eq!(events.kind(), "text/event-stream");
    assert!(events.next().await.unwrap().starts_with("retry: "));
    for (body, status) in [
        (json!({ "stream": "a", "format": "xml" }), 400),
        (json!({ "stream": ["a", ["b"]] }), 400),
        (json!({ "stream": { "a": 1 } }), 400),
        (json!(["a"]), 400),
        (json!({}), 400),
    ] {
        assert_eq!(request(body.clone()).send().await.unwrap().status(), status, "{body}");
    }
}

#[tokio::test]
async fn the_first_event_sets_the_columns_of_a_table_live_and_from_history() {
    let hub = Hub::start(&["--heartbeat", "1s"]).await;
    // The stream is empty: its first event sets the columns, which then stay.
    let mut live = Lines::get(&hub, "/streams/s/events", "text/csv").await;
    let mut by_query = Lines::get(&hub, "/streams/s/events?format=csv", "*/*").await;
    assert_eq!(live.kind(), "text/csv; charset=utf-8; header=present");
    let event = |data: Value| json!({ "stream": ["s", "t"], "data": data });
    hub.post("/publish", event(json!({ "n": 1, "text": "a, b" }))).await;
    for table in [&mut live, &mut by_query] {
        assert_eq!(table.next().await.unwrap(), "n,text\r");
        assert_eq!(table.next().await.unwrap(), "1,\"a, b\"\r");
    }
    let later_events =
        json!([event(json!({ "text": "c", "n": 2, "m": 0 })), event(json!("no object"))]);
    hub.post("/publish", later_events).await;
    for table in [&mut live, &mut by_query] {
        assert_eq!(table.next().await.unwrap(), "2,c\r");
        assert_eq!(table.next().await.unwrap(), ",\r");
    }
    let path = "/streams/s/events?format=csv&columns=text,m&follow=false";
    let rows = Lines::get(&hub, path, "*/*").await.all().await;
    assert_eq!(rows, ["text,m\r", "\"a, b\",\r", "c,0\r", ",\r"]);
    let body = json!({ "stream": "s", "format": "csv", "columns": ["n"], "envelope": true,
        "last": 1, "follow": false });
    let request = hub.http.post(hub.url("/events")).body(body.to_string());
    let rows = Lines::of(request).await.all().await;
    assert_eq!(rows[0], "id,stream,type,time,n\r");
    assert!(rows[1].contains(",s,message,") && rows[1].ends_with("Z,\r"), "{rows:?}");
    // Without events there are no columns; with named columns there is only their line.
    let empty_path = "/streams/none/events?format=csv&follow=false";
    assert_eq!(Lines::get(&hub, empty_path, "*/*").await.all().await, Vec::<String>::new());
    let with_columns = Lines::get(&hub, &format!("{empty_path}&columns=a"), "*/*").await;
    assert_eq!(with_columns.all().await, ["a\r"]);
    let refused = hub.http.get(hub.url("/streams/s/events?columns=a")).send().await.unwrap();
    assert_eq!(refused.status(), 400, "events have no columns");
    hub.wait_for_metric("fanfare_sessions", |n| n == 2.0).await;
    assert_eq!(hub.try_post("/streams/s/end", "").await.0, 200);
    assert_eq!(live.next().await, None);
}

#[tokio::test]
async fn a_table_of_a_stream_that_ends_without_events_is_empty() {
    let hub = Hub::start(&[]).await;
    let table = Lines::get(&hub, "/streams/s/events?format=csv", "*/*").await;
    assert_eq!(hub.try_post("/streams/s/end", "").await.0, 200);
    assert_eq!(table.all().await, Vec::<String>::new());
}

/// Subscribes and publishes; returns the chunks of the body until `lines` lines were
/// received. `received` counts them.
async fn chunks(
    hub: &Hub,
    path: &str,
    lines: usize,
    received: &AtomicUsize,
    publish: impl Future<Output = ()>,
) -> Vec<String> {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    let address = hub.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut socket = BufReader::new(tokio::net::TcpStream::connect(&address).await.unwrap());
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        socket.read_line(&mut line).await.unwrap();
    }
    let read = async {
        let mut chunks: Vec<String> = Vec::new();
        while chunks.iter().map(|chunk| chunk.lines().count()).sum::<usize>() < lines {
            let mut length = String::new();
            socket.read_line(&mut length).await.unwrap();
            let length = usize::from_str_radix(length.trim(), 16).unwrap();
            let mut chunk = vec![0; length + 2];
            socket.read_exact(&mut chunk).await.unwrap();
            chunk.truncate(length);
            chunks.push(String::from_utf8(chunk).unwrap());
            received.store(chunks.iter().map(|chunk| chunk.lines().count()).sum(), Relaxed);
        }
        chunks
    };
    timeout(TEST_TIMEOUT, async { tokio::join!(read, publish).0 }).await.expect("all lines")
}

#[tokio::test]
async fn flush_options_combine_events_into_fewer_writes() {
    const EVENTS: usize = 60;
    let hub = Hub::start(&[]).await;
    let received = AtomicUsize::new(0);
    let text = |n: usize| format!("{n:0>99}");
    let publish = || async {
        hub.wait_for_metric("fanfare_sessions", |n| n >= 1.0).await;
        for n in 0..EVENTS {
            hub.publish("s", &text(n)).await;
        }
    };
    let expected: String = (0..EVENTS).map(|n| text(n) + "\n").collect();
    // Writes of 1,000 bytes, and of the rest when the time is over.
    let path = "/streams/s/events?format=text&flush_bytes=1000&flush_ms=2000";
    let buffered = chunks(&hub, path, EVENTS, &received, publish()).await;
    assert_eq!(buffered.concat(), expected);
    assert!(buffered.len() <= EVENTS / 3, "{} writes", buffered.len());
    // Without these options no event waits for another one.
    hub.wait_for_metric("fanfare_sessions", |n| n == 0.0).await;
    received.store(0, Relaxed);
    let one_by_one = async {
        hub.wait_for_metric("fanfare_sessions", |n| n >= 1.0).await;
        for n in 0..EVENTS {
            hub.publish("s", &text(n)).await;
            while received.load(Relaxed) <= n {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let path = "/streams/s/events?format=text";
    let unbuffered = chunks(&hub, path, EVENTS, &received, one_by_one).await;
    assert_eq!((unbuffered.concat(), unbuffered.len()), (expected, EVENTS));
    // A single event is written when the time is over.
    hub.wait_for_metric("fanfare_sessions", |n| n == 0.0).await;
    let publish_one = async {
        hub.wait_for_metric("fanfare_sessions", |n| n >= 1.0).await;
        hub.publish("s", "alone").await;
    };
    let path = "/streams/s/events?format=text&flush_ms=50";
    assert_eq!(chunks(&hub, path, 1, &received, publish_one).await, ["alone\n"]);
}

#[tokio::test]
async fn a_table_without_named_columns_has_at_most_256() {
    let hub = Hub::start(&[]).await;
    let members: serde_json::Map<_, _> = (0..1_000).map(|n| (format!("m{n}"), json!(n))).collect();
    hub.post("/publish", json!({ "stream": "s", "data": members })).await;
    let path = hub.url("/streams/s/events?format=csv&from=start&follow=false");
    let table = hub.http.get(path).send().await.unwrap().text().await.unwrap();
    for line in table.lines() {
        assert_eq!(line.split(',').count(), 256, "{line}");
    }
    assert_eq!(table.lines().count(), 2);
}

#[tokio::test]
async fn the_number_of_last_events_is_limited() {
    let hub = Hub::start(&[]).await;
    hub.publish("s", "1").await;
    let get =
        async |last: &str| hub.get(&format!("/streams/s/events?last={last}&follow=false")).await;
    assert_eq!(get("10000").await.0, 200);
    for last in ["10001", "18446744073709551615"] {
        let (status, refused) = get(last).await;
        assert_eq!((status, &refused["field"]), (400, &json!("last")), "{last}: {refused}");
    }
}

/// Formulas are escaped as in OWASP, "CSV Injection": a string or a column name that begins with
/// `=`, `+`, `-`, `@`, a tab or a carriage return gets an apostrophe as prefix. Numbers of JSON are
/// unchanged.
#[tokio::test]
async fn formulas_in_tables_are_escaped_on_request() {
    let hub = Hub::start(&[]).await;
    let event = |data: Value| json!({ "stream": "s", "type": "=type()", "data": data });
    hub.post("/publish", event(json!({ "=cmd|x": "=1+1", "n": -5, "text": "+1, \"x\"" }))).await;
    hub.post("/publish", event(json!({ "=cmd|x": "@sum", "n": "-5", "text": "\t=1" }))).await;
    hub.post("/publish", event(json!({ "=cmd|x": "a=b", "n": 1.5, "text": "\r=1" }))).await;
    let path = "/streams/s/events?format=csv&follow=false";
    let plain = Lines::get(&hub, path, "*/*").await.all().await;
    assert_eq!(plain[..2], ["=cmd|x,n,text\r", "=1+1,-5,\"+1, \"\"x\"\"\"\r"]);
    let escaped = Lines::get(&hub, &format!("{path}&escape_formulas=true"), "*/*").await;
    let expected = [
        "'=cmd|x,n,text\r",
        "'=1+1,-5,\"'+1, \"\"x\"\"\"\r",
        "'@sum,'-5,'\t=1\r",
        "a=b,1.5,\"'\r=1\"\r",
    ];
    assert_eq!(escaped.all().await, expected);
    let body = json!({ "stream": "s", "format": "csv", "columns": ["n"], "envelope": true,
        "escape_formulas": true, "last": 1, "follow": false });
    let request = hub.http.post(hub.url("/events")).body(body.to_string());
    let rows = Lines::of(request).await.all().await;
    assert!(rows[1].contains(",s,'=type(),"), "{rows:?}");
    let response = hub.http.get(hub.url(&format!("{path}&escape_formulas=yes"))).send().await;
    assert_eq!(response.unwrap().status(), 400);
}
