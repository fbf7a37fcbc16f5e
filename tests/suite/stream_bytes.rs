//! The bytes of event streams, as real clients need them.

use crate::hub::{Hub, TEST_TIMEOUT};
use crate::reader::Reader;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn every_payload_arrives_as_published() {
    let hub = Hub::start(&[]).await;
    let mut reader = hub.subscribe("/streams/s/events").await;
    reader.open().await;
    let large = "x".repeat(256 * 1024);
    let payloads = [
        "plain",
        "",
        " leading and trailing ",
        "a\nb",
        "\n",
        "\n\n",
        "a\n\n\nb\n",
        ":comment",
        "data: x",
        "id: 7",
        "nul\0nul",
        "line\u{2028}separator\u{2029}",
        "\u{feff}bom",
        "emoji 🎺🎉",
        large.as_str(),
    ];
    for payload in payloads {
        hub.publish("s", payload).await;
        let event = reader.next().await.unwrap();
        assert_eq!((event.name.as_str(), event.data.as_str()), ("message", payload));
    }
    // Every client treats CR as a line end, so that it arrives as LF.
    for (published, received) in [("a\rb", "a\nb"), ("a\r\nb", "a\nb"), ("a\r\r\nb\r", "a\n\nb\n")]
    {
        hub.publish("s", published).await;
        assert_eq!(reader.next().await.unwrap().data, received);
    }
    let text = String::from_utf8(reader.bytes.clone()).unwrap();
    assert!(!text.contains('\r') && !text.starts_with('\u{feff}'));
}

#[tokio::test]
async fn every_block_has_data_and_a_heartbeat_is_one_line() {
    let hub = Hub::start(&["--heartbeat", "1s"]).await;
    let mut reader = hub.subscribe("/streams/s/events").await;
    hub.publish("s", "one").await;
    assert_eq!(reader.next_event().await.unwrap().data, "one");
    while reader.comments() < 2 {
        assert!(reader.read_more().await.unwrap());
    }
    hub.publish("s", "two").await;
    assert_eq!(reader.next_event().await.unwrap().data, "two");
    let text = String::from_utf8(reader.bytes.clone()).unwrap();
    assert!(text.contains("\n\n:\n:\n"), "{text:?}");
    for block in text.split_terminator("\n\n") {
        assert!(!block.is_empty(), "an empty block in {text:?}");
        let has = |field: &str| block.lines().any(|line| line.starts_with(field));
        assert!(has("data:"), "a block without data: {block:?}");
        assert_eq!(has("retry:"), has("event: hub-open"), "{block:?}");
    }
}

#[tokio::test]
async fn the_response_head_disables_caching_and_buffering_by_proxies() {
    let hub = Hub::start(&[]).await;
    let reader = hub.subscribe("/events?stream=s").await;
    let header = |name: &str| reader.headers.get(name).map(String::as_str);
    assert_eq!(reader.status, 200);
    assert_eq!(header("content-type"), Some("text/event-stream"));
    assert_eq!(header("transfer-encoding"), Some("chunked"));
    assert_eq!(header("cache-control"), Some("no-cache, no-transform"));
    assert_eq!(header("x-accel-buffering"), Some("no"));
    assert_eq!(header("x-content-type-options"), Some("nosniff"));
    assert!(header("last-event-id").is_some());
}

#[tokio::test]
async fn an_allowed_origin_may_send_and_read_the_last_event_id() {
    let hub = Hub::start(&["--cors-origin", "https://app.example"]).await;
    let origin = ("Origin", "https://app.example");
    let reader = Reader::connect(&hub.address, "/events?stream=s", &[origin]).await.unwrap();
    let exposed = reader.headers["access-control-expose-headers"].to_lowercase();
    assert!(exposed.contains("last-event-id"), "{exposed}");
    assert_eq!(reader.headers["access-control-allow-origin"], "https://app.example");
    let preflight = hub
        .http
        .request(reqwest::Method::OPTIONS, hub.url("/events"))
        .header("Origin", "https://app.example")
        .header("Access-Control-Request-Method", "GET")
        .header("Access-Control-Request-Headers", "last-event-id")
        .send()
        .await
        .unwrap();
    let allowed =
        preflight.headers()["access-control-allow-headers"].to_str().unwrap().to_lowercase();
    assert!(preflight.status().is_success() && allowed.contains("last-event-id"), "{allowed}");
}

#[tokio::test]
async fn events_carry_their_type_and_an_envelope_names_their_streams() {
    let hub = Hub::start(&[]).await;
    let mut plain = hub.subscribe("/streams/a/events").await;
    let mut both = hub.subscribe("/events?stream=a&stream=b&envelope=true").await;
    plain.open().await;
    both.open().await;
    let event =
        json!({"stream": ["a", "b"], "type": "metric", "data": {"name": "n", "value": 1.50}});
    let body = event.to_string().replace("1.5", "1.50");
    assert_eq!(hub.try_post("/publish", body).await.0, 200);
    let event = plain.next().await.unwrap();
    assert_eq!(event.name, "metric");
    assert!(event.data.contains("1.50") && event.data.contains("timestamp"), "{event:?}");
    let enveloped = both.next().await.unwrap();
    let envelope = enveloped.json();
    assert_eq!(enveloped.name, "metric");
    assert_eq!(envelope["stream"], json!(["a", "b"]));
    assert_eq!(envelope["type"], "metric");
    assert_eq!(envelope["data"]["name"], "n");
    assert!(envelope["time"].as_str().unwrap().ends_with('Z'));
    hub.publish("b", "once").await;
    assert_eq!(both.next().await.unwrap().json()["data"], "once", "no event comes twice");
}

#[tokio::test]
async fn events_as_messages_have_their_type_only_in_the_envelope() {
    let hub = Hub::start(&[]).await;
    let path = "/events?stream=a&as=message";
    let mut reader = hub.subscribe(path).await;
    reader.open().await;
    hub.post("/publish", json!({"stream": "a", "type": "note", "data": [1]})).await;
    hub.publish("a", "text").await;
    hub.post("/streams/a/end", json!({})).await;
    let events = reader.rest().await;
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["message", "message", "hub-end"]);
    let types: Vec<serde_json::Value> =
        events[..2].iter().map(|event| event.json()["type"].clone()).collect();
    assert_eq!(types, [json!("note"), json!("message")]);
    assert_eq!(
        (&events[0].json()["stream"], &events[0].json()["data"]),
        (&json!("a"), &json!([1]))
    );
    for query in ["as=message&format=ndjson", "as=messages"] {
        let (status, problem) = hub.get(&format!("/events?stream=a&{query}")).await;
        assert_eq!((status, &problem["field"]), (400, &json!("as")), "{query}: {problem}");
    }
}

/// Reads until `text` ends with `end`.
async fn read_until(socket: &mut TcpStream, text: &mut String, end: &str) {
    let mut buffer = [0; 4096];
    while !text.ends_with(end) {
        let count =
            tokio::time::timeout(TEST_TIMEOUT, socket.read(&mut buffer)).await.unwrap().unwrap();
        assert!(count > 0, "closed after {text}");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
}

#[tokio::test]
async fn a_connection_serves_requests_before_it_becomes_a_stream_and_ends_with_it() {
    let hub = Hub::start(&[]).await;
    let mut socket = TcpStream::connect(&hub.address).await.unwrap();
    let mut text = String::new();
    for _ in 0..2 {
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        read_until(&mut socket, &mut text, "ok\n").await;
        text.clear();
    }
    let request = "GET /streams/s/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut socket, &mut text, "}\n\n\r\n").await;
    text.clear();
    for n in 0..3 {
        hub.post("/publish", json!({ "stream": "s", "data": n })).await;
        read_until(&mut socket, &mut text, &format!("data: {n}\n\n\r\n")).await;
    }
    // A further request gets no answer, because the stream owns the connection.
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    hub.post("/streams/s/end", json!(null)).await;
    read_until(&mut socket, &mut text, "\r\n0\r\n\r\n").await;
    assert_eq!(text.matches("data: ").count(), 4, "{text}");
    let mut rest = Vec::new();
    assert_eq!(socket.read_to_end(&mut rest).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn streams_are_served_even_if_they_cannot_take_over_the_socket() {
    let hub = Hub::start(&[]).await;
    for (version, headers) in
        [("1.0", ""), ("1.1", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n")]
    {
        let mut socket = TcpStream::connect(&hub.address).await.unwrap();
        let request =
            format!("GET /streams/s/events HTTP/{version}\r\nHost: localhost\r\n{headers}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        read_until(&mut socket, &mut text, "}\n\n\r\n").await;
        for n in 0..3 {
            hub.post("/publish", json!({ "stream": "s", "data": n })).await;
            read_until(&mut socket, &mut text, &format!("data: {n}\n\n\r\n")).await;
        }
        assert_eq!(text.matches("\ndata: ").count(), 4, "{text}");
    }
}
