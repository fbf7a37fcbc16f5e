//! Long-polls and Server-Sent Events.

use super::*;
use serde_json::json;

const OPENED: &str = "fanfare_sessions_opened_by_protocol_total{protocol=\"durable-streams\"}";

#[tokio::test]
async fn r15_a_long_poll_waits_for_data_or_the_end() {
    let hub = start().await;
    let tail = create(&hub, "s", &[TEXT], "").await.next_offset().to_owned();
    assert_eq!(get(&hub, "s?live=long-poll").await.status, 400);
    assert_eq!(get(&hub, "s?live=nonsense&offset=-1").await.status, 400);
    for offset in ["-1", &tail] {
        let nothing = get(&hub, &format!("s?live=long-poll&offset={offset}")).await;
        assert_eq!((nothing.status, nothing.next_offset()), (204, tail.as_str()), "{offset}");
        assert!(nothing.is_up_to_date() && !nothing.is_closed());
    }
    append(&hub, "s", &[TEXT], "a").await;
    let data = get(&hub, &format!("s?live=long-poll&offset={tail}")).await;
    assert_eq!((data.status, data.text().as_str()), (200, "a"));
    let polls = hub.metric(OPENED).await;
    let waiting = {
        let url = format!("/v1/stream/s?live=long-poll&offset={}", data.next_offset());
        let request = hub.http.get(hub.url(&url));
        tokio::spawn(async move { request.send().await.unwrap() })
    };
    hub.wait_for_metric(OPENED, |n| n > polls).await;
    append(&hub, "s", &[CLOSED], "").await;
    let closed = waiting.await.unwrap();
    assert_eq!(closed.status(), 204);
    assert_eq!(closed.headers()["stream-closed"], "true");
    let offset = closed.headers()["stream-next-offset"].to_str().unwrap();
    let again = get(&hub, &format!("s?live=long-poll&offset={offset}")).await;
    assert_eq!((again.status, again.is_closed()), (204, true), "at once");
    hub.wait_for_metric("fanfare_sessions", |n| n == 0.0).await;
}

#[tokio::test]
async fn r16_cursors_are_intervals_and_greater_than_those_of_the_client() {
    let hub = start().await;
    create(&hub, "s", &[TEXT], "x").await;
    let cursor = async |query: &str| -> u64 {
        let answer = get(&hub, &format!("s?live=long-poll&offset=-1{query}")).await;
        answer.header("Stream-Cursor").parse().unwrap()
    };
    let (before, first, after) = (interval(), cursor("").await, interval());
    assert!((before..=after).contains(&first));
    assert!(cursor(&format!("&cursor={first}")).await > first);
    let ahead = first + 1_000;
    assert!(cursor(&format!("&cursor={ahead}")).await > ahead);
    assert!(cursor("&cursor=5").await >= first);
    let mut reader = {
        let path = format!("/v1/stream/s?live=sse&offset=-1&cursor={ahead}");
        Reader::connect(&hub.address, &path, &[]).await.unwrap()
    };
    reader.next().await.unwrap();
    let control = reader.next().await.unwrap().json();
    assert!(control["streamCursor"].as_str().unwrap().parse::<u64>().unwrap() > ahead);
}

/// Returns the number of 20-second intervals since 2024-10-09.
fn interval() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    (now.as_secs() - 1_728_432_000) / 20
}

#[tokio::test]
async fn r17_server_sent_events_have_control_after_data_and_end_with_the_stream() {
    let hub = start().await;
    create(&hub, "s", &[JSON], "[1,2]").await;
    assert_eq!(get(&hub, "s?live=sse").await.status, 400);
    let mut reader = follow(&hub, "s", "-1").await;
    assert_eq!(reader.headers.get("content-type").map(String::as_str), Some("text/event-stream"));
    assert!(reader.headers.get("cache-control").map(String::as_str).unwrap().contains("no-cache"));
    assert_eq!(reader.headers.get("content-length").map(String::as_str), None);
    let mut controls = Vec::new();
    for expected in ["[1]", "[2]"] {
        let data = reader.next().await.unwrap();
        assert_eq!((data.name.as_str(), data.data.as_str()), ("data", expected));
        let control = reader.next().await.unwrap();
        assert_eq!(control.name, "control");
        controls.push(control.json());
    }
    assert_eq!(controls[0].get("upToDate"), None);
    assert_eq!(controls[1]["upToDate"], true);
    let offset = controls[1]["streamNextOffset"].as_str().unwrap();
    assert_eq!(offset, head(&hub, "s").await.next_offset());
    let last = append(&hub, "s", &[JSON, CLOSED], "3").await;
    assert_eq!(reader.next().await.unwrap().data, "[3]");
    assert!(reader.next().await.unwrap().json().get("streamClosed").is_none());
    let end = reader.next().await.unwrap().json();
    let expected =
        json!({ "streamNextOffset": last.next_offset(), "upToDate": true, "streamClosed": true });
    assert_eq!(end, expected, "no cursor");
    assert!(reader.next().await.is_none(), "the hub closes the connection");
    let mut late = follow(&hub, "s", last.next_offset()).await;
    assert_eq!(late.next().await.unwrap().json(), expected);
    assert!(late.next().await.is_none());
}

#[tokio::test]
async fn r17_a_stream_of_events_is_closed_after_its_time() {
    let hub = start_with(&["--durable-streams-sse", "1s"]).await;
    create(&hub, "s", &[TEXT], "x").await;
    let mut reader = follow(&hub, "s", "now").await;
    assert_eq!(reader.next().await.unwrap().name, "control");
    assert!(reader.next().await.is_none());
    assert!(hub.metric("fanfare_sessions_closed_total{reason=\"lifetime\"}").await >= 1.0);
}

#[tokio::test]
async fn r12_a_reader_that_retention_overtakes_is_disconnected_and_skips_nothing() {
    let hub = start_with(&["--max-events", "3", "--recent-bytes", "1MiB"]).await;
    create(&hub, "s", &[TEXT], "").await;
    let mut reader = follow(&hub, "s", "-1").await;
    let total = 300;
    for n in 0..total {
        append(&hub, "s", &[TEXT], &format!("{n} {}", "x".repeat(100_000))).await;
    }
    let (mut next, mut offset) = (0, String::new());
    while let Some(event) = reader.next().await {
        reader.bytes.clear();
        if event.name == "data" {
            assert_eq!(event.data.split(' ').next().unwrap(), next.to_string());
            next += 1;
        } else {
            offset = event.json()["streamNextOffset"].as_str().unwrap().to_owned();
        }
    }
    assert!(next < total, "the reader was never overtaken");
    assert_eq!(get(&hub, &format!("s?offset={offset}")).await.status, 410);
    assert!(hub.metric("fanfare_sessions_closed_total{reason=\"overtaken\"}").await >= 1.0);
}

#[tokio::test]
async fn r18_lines_are_spelled_so_that_no_client_eats_a_space() {
    let hub = start().await;
    create(&hub, "s", &[TEXT], " a\n  b\r\nc").await;
    let mut reader = follow(&hub, "s", "-1").await;
    assert_eq!(reader.next().await.unwrap().data, " a\n  b\nc");
    reader.next().await.unwrap();
    let raw = String::from_utf8(reader.bytes.clone()).unwrap();
    assert!(raw.contains("event: data\ndata:  a\ndata:   b\ndata:c\n\n"), "{raw}");
    assert!(raw.contains("event: control\ndata:{\"streamNextOffset\""), "{raw}");
    // No line of data can pass for another event.
    append(&hub, "s", &[TEXT], "x\n\nevent: control\ndata: {}").await;
    assert_eq!(reader.next().await.unwrap().data, "x\n\nevent: control\ndata: {}");
}

#[tokio::test]
async fn r19_bytes_are_base64_and_text_is_not() {
    let hub = start_with(&["--cors-origin", "https://app.example"]).await;
    let bytes = [0, 255, 10, 13];
    for kind in ["application/octet-stream", "image/png", "application/x-protobuf"] {
        let stream = kind.replace('/', ".");
        create(&hub, &stream, &[("Content-Type", kind)], "").await;
        let headers = [("Content-Type", kind)];
        assert_eq!(send(&hub, "POST", &stream, &headers, bytes.to_vec()).await.status, 204);
        assert_eq!(get(&hub, &stream).await.body, bytes);
        let mut reader = follow(&hub, &stream, "-1").await;
        assert_eq!(
            reader.headers.get("stream-sse-data-encoding").map(String::as_str),
            Some("base64")
        );
        assert_eq!(reader.next().await.unwrap().data, "AP8KDQ==");
    }
    for kind in ["text/html", "application/json; charset=utf-8"] {
        let stream = kind.replace(['/', ' '], ".");
        create(&hub, &stream, &[("Content-Type", kind)], "1").await;
        let reader = follow(&hub, &stream, "-1").await;
        assert_eq!(reader.headers.get("stream-sse-data-encoding").map(String::as_str), None);
    }
    let read = send(&hub, "GET", "image.png", &[("Origin", "https://app.example")], "").await;
    let exposed = read.header("access-control-expose-headers").to_lowercase();
    assert!(exposed.contains("stream-sse-data-encoding"), "{exposed}");
}
