//! A stream that is read and written by this protocol and by the hub's own.

use super::*;
use serde_json::json;

#[tokio::test]
async fn a_stream_is_the_same_for_both_protocols() {
    let mut hub = start().await;
    create(&hub, "s", &[JSON], "").await;
    let mut own = hub.subscribe("/streams/s/events").await;
    let mut follower = follow(&hub, "s", "-1").await;
    assert_eq!(follower.next().await.unwrap().json()["upToDate"], true);
    append(&hub, "s", &[JSON], r#"[{"n":1},"text"]"#).await;
    hub.publish("s", "line").await;
    hub.post("/publish", json!({ "stream": ["s", "other"], "data": { "n": 2 } })).await;
    for (data, message) in [
        (r#"{"n":1}"#, r#"[{"n":1}]"#),
        (r#""text""#, r#"["text"]"#),
        ("line", r#"["line"]"#),
        (r#"{"n":2}"#, r#"[{"n":2}]"#),
    ] {
        assert_eq!(own.next_event().await.unwrap().data, data);
        assert_eq!(follower.next().await.unwrap().data, message);
        follower.next().await.unwrap();
    }
    let all = r#"[{"n":1},"text","line",{"n":2}]"#;
    assert_eq!(get(&hub, "s").await.text(), all);
    assert_eq!(get(&hub, "other").await.text(), r#"[{"n":2}]"#);
    // The last event of one stream is up to date, although another one of its streams has more.
    hub.publish("s", "more").await;
    let mut of_other = follow(&hub, "other", "-1").await;
    assert_eq!(of_other.next().await.unwrap().data, r#"[{"n":2}]"#);
    assert_eq!(of_other.next().await.unwrap().json()["upToDate"], true);
    let all = r#"[{"n":1},"text","line",{"n":2},"more"]"#;
    let described = hub.get("/streams/s").await.1;
    assert_eq!((&described["events"], &described["state"]), (&json!(5), &json!("open")));
    let lines = hub.http.get(hub.url("/streams/s/events?from=start&follow=false&format=ndjson"));
    let lines = lines.send().await.unwrap().text().await.unwrap();
    assert_eq!(lines.lines().filter(|line| line.contains("\"message\"")).count(), 5, "{lines}");
    // An id of one protocol is the offset of the other, apart from its form.
    hub.kill();
    hub.restart().await;
    assert_eq!(get(&hub, "s").await.text(), all);
    hub.post("/streams/s/end", json!({})).await;
    assert!(get(&hub, "s").await.is_closed());
    assert_eq!(send(&hub, "POST", "s", &[JSON], "5").await.status, 409);
}

#[tokio::test]
async fn bytes_are_published_by_both_protocols_and_are_base64_in_text_formats() {
    let hub = start().await;
    create(&hub, "b", &[BYTES], "").await;
    let mut own = hub.subscribe("/streams/b/events").await;
    let mut enveloped = hub.subscribe("/streams/b/events?envelope=true").await;
    assert_eq!(send(&hub, "POST", "b", &[BYTES], vec![0, 255]).await.status, 204);
    let publish = |body: serde_json::Value| hub.try_post("/publish", body.to_string());
    let event = json!({ "stream": "b", "data": "AP8=", "encoding": "base64" });
    assert_eq!(publish(event).await.0, 200);
    assert_eq!(get(&hub, "b").await.body, [0, 255, 0, 255]);
    for _ in 0..2 {
        assert_eq!(own.next_event().await.unwrap().data, "AP8=");
        let envelope = enveloped.next_event().await.unwrap().json();
        assert_eq!((&envelope["data"], &envelope["encoding"]), (&json!("AP8="), &json!("base64")));
    }
    let raw = String::from_utf8(own.bytes.clone()).unwrap();
    assert!(raw.contains("\nencoding: base64\ndata: AP8=\n\n"), "{raw}");
    for (body, field) in [
        (json!({ "stream": "b", "data": "AP8", "encoding": "base64" }), "data"),
        (json!({ "stream": "b", "data": 1, "encoding": "base64" }), "data"),
        (json!({ "stream": "b", "data": "AP8=", "encoding": "hex" }), "encoding"),
        (json!({ "stream": "b", "type": "log", "data": "AP8=", "encoding": "base64" }), "encoding"),
    ] {
        let (status, problem) = publish(body.clone()).await;
        assert_eq!((status, problem["field"].as_str()), (422, Some(field)), "{body}");
    }
    // Text that is no UTF-8 stays as it is.
    create(&hub, "t", &[TEXT], "").await;
    assert_eq!(send(&hub, "POST", "t", &[TEXT], vec![b'a', 255]).await.status, 204);
    assert_eq!(get(&hub, "t").await.body, [b'a', 255]);
    let mut follower = follow(&hub, "t", "-1").await;
    assert_eq!(follower.next().await.unwrap().data, "a\u{fffd}", "and is no base64 in a text");
    let lines = hub.http.get(hub.url("/streams/b/events?from=start&follow=false&format=ndjson"));
    let lines = lines.send().await.unwrap().text().await.unwrap();
    let line: serde_json::Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    assert_eq!(line["encoding"], "base64", "{lines}");
}

#[tokio::test]
async fn sessions_drains_and_limits_hold_for_readers_of_this_protocol() {
    let hub = start_with(&["--max-connections-per-stream", "1"]).await;
    create(&hub, "s", &[TEXT], "").await;
    let mut reader = follow(&hub, "s", "now").await;
    reader.next().await.unwrap();
    let sessions = hub.get("/sessions").await.1;
    assert_eq!(sessions["sessions"][0]["protocol"], "durable-streams", "{sessions}");
    for live in ["sse", "long-poll"] {
        let refused = get(&hub, &format!("s?offset=now&live={live}")).await;
        assert_eq!(refused.status, 503, "{live}");
        assert!(!refused.header("Retry-After").is_empty());
        assert_eq!(refused.json()["limit"], "max_connections_per_stream");
    }
    hub.terminate();
    assert!(reader.next().await.is_none(), "a drain closes the connection");
}
