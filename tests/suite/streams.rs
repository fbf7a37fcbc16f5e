//! Streams: listing, ending, deleting.

use crate::credentials::{SECRET, claims_with, send_with_bearer, signed_token};
use crate::hub::Hub;
use crate::reader::Reader;
use reqwest::Method;
use serde_json::json;

async fn status(hub: &Hub, path: &str, last_id: Option<&str>) -> u16 {
    let header = last_id.map(|id| ("Last-Event-ID", id));
    Reader::connect(&hub.address, path, header.as_slice()).await.unwrap().status
}

#[tokio::test]
async fn streams_are_listed_in_order_with_their_details() {
    let hub = Hub::start(&[]).await;
    for name in ["b", "a.1", "a.3", "a.2", "c"] {
        hub.publish(name, "x").await;
    }
    let _waiting = hub.subscribe("/events?stream=a.4&stream=b").await;
    let names = |list: &serde_json::Value| -> Vec<String> {
        list["streams"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = hub.get("/streams").await.1;
    assert_eq!(names(&all), ["a.1", "a.2", "a.3", "a.4", "b", "c"]);
    assert_eq!(all["next"], json!(null));
    let b = &all["streams"][4];
    assert_eq!(
        (&b["state"], &b["subscribers"], &b["events"]),
        (&json!("open"), &json!(1), &json!(1))
    );
    assert_eq!(b["first_id"], b["last_id"]);
    let page = hub.get("/streams?prefix=a.&limit=2").await.1;
    assert_eq!((names(&page), &page["next"]), (vec!["a.1".into(), "a.2".into()], &json!("a.2")));
    let page = hub.get("/streams?prefix=a.&limit=2&after=a.2").await.1;
    assert_eq!((names(&page), &page["next"]), (vec!["a.3".into(), "a.4".into()], &json!(null)));
    assert_eq!(hub.get("/streams?limit=0").await.0, 400);
    assert_eq!(hub.get("/streams/b").await.1, *b);
    assert_eq!(hub.get("/streams/nobody").await.0, 404);
    assert_eq!(hub.get("/streams/a.4").await.1["events"], 0);
}

#[tokio::test]
async fn an_ended_stream_notifies_its_readers_and_refuses_publishes_and_readers() {
    let mut hub = Hub::start(&[]).await;
    let mut single = hub.subscribe("/streams/a/events").await;
    let mut wildcard = hub.subscribe("/events?stream=*").await;
    let mut both = hub.subscribe("/events?stream=a&stream=b").await;
    for reader in [&mut single, &mut wildcard, &mut both] {
        reader.open().await;
    }
    let last = hub.publish_id("a", "last").await;
    let end = hub.post("/streams/a/end", json!({})).await;
    let end_id = end["id"].as_str().unwrap().to_owned();
    assert_eq!((&end["state"], &end["subscribers"]), (&json!("ended"), &json!(3)));
    assert_eq!(
        hub.post("/streams/a/end", json!({})).await["id"],
        end_id.as_str(),
        "ending is idempotent"
    );
    for reader in [&mut single, &mut wildcard, &mut both] {
        assert_eq!(reader.next().await.unwrap().data, "last");
        let event = reader.next().await.unwrap();
        assert_eq!(
            (event.name.as_str(), event.json()),
            ("hub-end", json!({ "stream": "a", "reason": "ended" }))
        );
        assert_eq!(event.id, end_id);
    }
    assert_eq!(single.next().await, None, "every stream it names has ended");
    let (code, problem) = hub.try_post("/publish", r#"{"stream":["b","a"],"data":1}"#).await;
    assert_eq!((code, &problem["field"]), (409, &json!("stream")));
    assert_eq!(hub.get("/streams/a").await.1["state"], "ended");
    for _ in 0..2 {
        for path in [
            "/streams/a/events",
            "/events?stream=a&last=0",
            "/events?stream=a&types=log&from=start",
        ] {
            assert_eq!(status(&hub, path, None).await, 204, "{path}");
        }
        assert_eq!(status(&hub, "/streams/a/events", Some(&end_id)).await, 204);
        assert_eq!(status(&hub, "/streams/a/events", Some(&last)).await, 204);
        assert_eq!(status(&hub, "/events?stream=a&stream=b", None).await, 200);
        let mut late_reader = hub.subscribe("/streams/a/events?from=start").await;
        let rest = late_reader.rest().await;
        let names: Vec<&str> = rest.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["hub-open", "message", "hub-end"]);
        hub.publish("b", "on").await;
        for reader in [&mut wildcard, &mut both] {
            assert_eq!(reader.next().await.unwrap().data, "on", "readers of other streams stay");
        }
        hub.kill();
        hub.restart().await;
        wildcard = hub.subscribe("/events?stream=*").await;
        both = hub.subscribe("/events?stream=a&stream=b").await;
        wildcard.open().await;
        both.open().await;
    }
}

#[tokio::test]
async fn a_connection_closes_once_every_stream_it_names_has_ended() {
    let hub = Hub::start(&[]).await;
    let mut both = hub.subscribe("/events?stream=a&stream=b").await;
    both.open().await;
    hub.publish("a", "1").await;
    hub.post("/streams/b/end", json!({})).await;
    hub.publish("a", "2").await;
    hub.post("/streams/a/end", json!({})).await;
    let names: Vec<String> = both.rest().await.into_iter().map(|e| e.name).collect();
    assert_eq!(names, ["message", "hub-end", "message", "hub-end"]);
}

#[tokio::test]
async fn deleting_a_stream_ends_its_readers_drops_its_history_and_frees_its_name() {
    let mut hub = Hub::start(&[]).await;
    let mut reader = hub.subscribe("/streams/a/events").await;
    let mut wildcard = hub.subscribe("/events?stream=**").await;
    reader.open().await;
    wildcard.open().await;
    let old = hub.publish_id("a", "old").await;
    hub.post("/publish", json!({ "stream": ["a", "b"], "data": "shared", "key": "k" })).await;
    let deleted = hub.http.delete(hub.url("/streams/a")).send().await.unwrap();
    assert_eq!(deleted.status(), 204);
    assert_eq!(hub.http.delete(hub.url("/streams/a")).send().await.unwrap().status(), 404);
    let rest = reader.rest().await;
    let end = rest.last().unwrap();
    assert_eq!((end.name.as_str(), end.json()["reason"].as_str()), ("hub-end", Some("deleted")));
    assert_eq!(wildcard.take(2).await.len(), 2);
    assert_eq!(wildcard.next().await.unwrap().name, "hub-end");
    assert_eq!(hub.get("/streams/a").await.0, 404);
    assert_eq!(
        status(&hub, "/streams/a/events", Some(&end.id)).await,
        204,
        "a reader that saw the end"
    );
    for _ in 0..2 {
        // A reader that was disconnected gets the gap and the end.
        let mut resumed = hub.resume("/streams/a/events", &old).await;
        let events = resumed.rest().await;
        let names: Vec<&str> = events.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(
            (names, events[0].json()["resume"].as_str()),
            (vec!["hub-open", "hub-end"], Some("gap"))
        );
        let mut shared = hub.subscribe("/streams/b/events?from=start").await;
        assert_eq!(
            shared.next_event().await.unwrap().data,
            "shared",
            "the other stream keeps its event"
        );
        hub.kill();
        hub.restart().await;
    }
    let receipt = hub.post("/publish", json!({ "stream": "a", "data": "new", "key": "k" })).await;
    assert_eq!(receipt["duplicate"], false, "the deletion removes its keys");
    let mut reader = hub.subscribe("/streams/a/events?from=start").await;
    assert_eq!(reader.next_event().await.unwrap().data, "new");
    let mut wildcard = hub.subscribe("/events?stream=**&from=start").await;
    let seen: Vec<String> = wildcard.take(2).await.into_iter().map(|e| e.data).collect();
    assert_eq!(seen, ["shared", "new"]);
}

#[tokio::test]
async fn deleting_a_stream_that_only_has_readers_ends_them() {
    let hub = Hub::start(&[]).await;
    let mut reader = hub.subscribe("/streams/a/events").await;
    reader.open().await;
    assert_eq!(hub.http.delete(hub.url("/streams/a")).send().await.unwrap().status(), 204);
    let end = reader.next().await.unwrap();
    assert_eq!(end.json()["reason"], "deleted");
    assert_eq!(reader.next().await, None);
    hub.wait_for_metric("fanfare_sessions", |n| n == 0.0).await;
    assert_eq!(hub.http.delete(hub.url("/streams/a")).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_resumed_reader_waits_only_for_streams_whose_end_it_has_not_seen() {
    let hub = Hub::start(&[]).await;
    hub.publish("b", "x").await;
    hub.http.delete(hub.url("/streams/b")).send().await.unwrap();
    let last = hub.publish_id("a", "last").await;
    hub.post("/streams/a/end", json!({})).await;
    let mut reader = hub.resume("/events?stream=a&stream=b", &last).await;
    // For an id after the deletion of `b`, both streams have ended.
    let names: Vec<String> = reader.rest().await.into_iter().map(|e| e.name).collect();
    assert_eq!(names.last().map(String::as_str), Some("hub-end"));
}

#[tokio::test]
async fn a_recreated_stream_keeps_its_readers() {
    let hub = Hub::start(&[]).await;
    let old = hub.publish_id("a", "old").await;
    hub.http.delete(hub.url("/streams/a")).send().await.unwrap();
    hub.post("/publish", json!({ "stream": "a", "type": "m", "data": "new" })).await;
    // The filter hides the event that recreated the stream, but the stream is open.
    let mut reader = hub.resume("/streams/a/events?types=log", &old).await;
    assert_eq!(reader.open().await["resume"], "resumed", "the id is the last of the old one");
    assert_eq!(reader.next().await.unwrap().name, "hub-end");
    let log = json!({ "stream": "a", "type": "log", "data": { "level": "info", "message": "m" } });
    hub.post("/publish", log).await;
    assert_eq!(reader.next().await.unwrap().name, "log");
}

#[tokio::test]
async fn a_path_that_is_not_utf8_is_refused() {
    let hub = Hub::start(&[]).await;
    for path in ["/streams/%ff/events", "/streams/%c3%28/end"] {
        let (status, problem) = hub.try_post(path, "x").await;
        assert_eq!((status, problem["field"].as_str()), (400, Some("stream")), "{path}");
    }
    assert_eq!(hub.get("/streams/%ff").await.0, 400);
}

#[tokio::test]
async fn ending_a_stream_counts_against_the_publish_rate() {
    let hub = Hub::start(&["--publish-events-per-client", "1"]).await;
    // The rate admits a burst of one request with the maximum number of events.
    let events: Vec<_> = (0..4_096).map(|n| json!({ "stream": "s", "data": n })).collect();
    hub.post("/publish", json!(events)).await;
    let (status, refused) = hub.try_post("/streams/s/end", "").await;
    assert_eq!((status, &refused["limit"]), (429, &json!("publish_events_per_client")));
}

#[tokio::test]
async fn ending_a_stream_needs_the_end_grant() {
    let hub = Hub::start(&["--jwt-secret", SECRET]).await;
    let token = |grants: serde_json::Value| signed_token(&claims_with("fanfare", grants));
    let publishes = token(json!({ "publish": ["a.**"] }));
    let ends = token(json!({ "end": ["a.*"] }));
    let (publish, end) =
        ((Method::POST, "/streams/a.x/events"), (Method::POST, "/streams/a.x/end"));
    assert_eq!(send_with_bearer(&hub, publish.clone(), &publishes).await.0, 200);
    assert_eq!(send_with_bearer(&hub, end.clone(), &publishes).await.0, 403, "not with `publish`");
    assert_eq!(send_with_bearer(&hub, publish, &ends).await.0, 403, "not with `end`");
    for path in ["/streams/b/end", "/streams/a.x.y/end", "/streams/hub.logs/end"] {
        assert_eq!(send_with_bearer(&hub, (Method::POST, path), &ends).await.0, 403, "{path}");
    }
    assert_eq!(send_with_bearer(&hub, end, &ends).await.0, 200);
    let session = hub.http.get(hub.url("/session")).bearer_auth(&ends).send().await.unwrap();
    let session: serde_json::Value = session.json().await.unwrap();
    assert_eq!((&session["end"], &session["publish"]), (&json!(["a.*"]), &json!([])));
}

/// Waits until the hub keeps about `expected` bytes of events.
async fn wait_for_bytes(hub: &Hub, expected: f64) {
    // The metrics of the journal are 0 until their first update after a start.
    hub.wait_for_metric("fanfare_journal_streams", |streams| streams > 0.0).await;
    hub.wait_for_metric("fanfare_journal_bytes", |bytes| (bytes - expected).abs() < 1_000.0).await;
}

#[tokio::test]
async fn deleting_streams_with_shared_events_subtracts_their_bytes_in_steps() {
    const EVENTS: usize = 24_000;
    let mut hub = Hub::start(&[]).await;
    hub.publish("other", "x").await;
    let events = |streams: serde_json::Value| {
        json!((0..4_000).map(|n| json!({ "stream": streams, "data": n })).collect::<Vec<_>>())
    };
    for _ in 0..EVENTS / 4_000 {
        hub.post("/publish", events(json!(["a", "b", "c"]))).await;
    }
    hub.post("/publish", events(json!("a"))).await;
    let bytes_before = hub.get("/streams/a").await.1["bytes"].as_f64().unwrap();
    let delete = async |hub: &Hub, stream: &str| {
        let response =
            hub.http.delete(hub.url(&format!("/streams/{stream}"))).send().await.unwrap();
        assert_eq!(response.status(), 204);
        assert_eq!(hub.get(&format!("/streams/{stream}")).await.0, 404);
    };
    // Shared events stay. A killed hub continues the subtraction after its restart.
    delete(&hub, "a").await;
    hub.kill();
    hub.restart().await;
    delete(&hub, "b").await;
    let (_, c) = hub.get("/streams/c").await;
    assert_eq!(c["events"], EVENTS);
    let shared = c["bytes"].as_f64().unwrap();
    assert!(shared < bytes_before);
    wait_for_bytes(&hub, shared).await;
    delete(&hub, "c").await;
    hub.kill();
    hub.restart().await;
    wait_for_bytes(&hub, 0.0).await;
    hub.stop().await;
    let output = std::process::Command::new(crate::hub::program())
        .args(["journal", "check", "--data-dir", hub.data.to_str().unwrap()])
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}");
}
