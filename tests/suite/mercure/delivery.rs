//! Requirements 17 to 20: delivery.

use super::{
    HUB, access_token, claims, detail, old_token, publish_id, send, sign, start, start_with,
    subscribe, subscribe_as, token_with,
};
use crate::credentials::{file_with_keys, in_seconds};
use crate::hub::TEST_TIMEOUT;
use serde_json::json;

#[tokio::test]
async fn r17_an_update_is_sent_once_and_a_private_one_by_any_granted_topic() {
    let hub = start().await;
    let mut plain =
        subscribe(&hub, &[("match", "a"), ("match", "b"), ("match_urlpattern", "/:x")], &[]).await;
    publish_id(&hub, &[("topic", "a"), ("topic", "b"), ("topic", "/c"), ("data", "1")]).await;
    publish_id(&hub, &[("topic", "a"), ("data", "2")]).await;
    assert_eq!(plain.next().await.unwrap().data, "1");
    assert_eq!(plain.next().await.unwrap().data, "2");
    // The subscription selects one topic, and the grant is for the other.
    let granted = token_with(json!([detail("subscribe", json!([{ "match": "users/42" }]))]));
    let mut one = subscribe_as(&hub, &granted, &[("match", "books/1"), ("match", "last")]).await;
    let old = old_token(&[], &["users/{id}"]);
    let mut zero = subscribe_as(&hub, &old, &[("topic", "books/{id}"), ("topic", "last")]).await;
    for (topics, data) in [
        (&["books/1", "users/42"][..], "granted"),
        (&["books/1", "users/43/x"], "of another user"),
        (&["users/42"], "not selected"),
        (&["books/1"], "not granted"),
    ] {
        let mut fields: Vec<_> = topics.iter().map(|topic| ("topic", *topic)).collect();
        fields.extend([("data", data), ("private", "on")]);
        publish_id(&hub, &fields).await;
    }
    publish_id(&hub, &[("topic", "last"), ("data", "last")]).await;
    for reader in [&mut one, &mut zero] {
        assert_eq!(reader.next().await.unwrap().data, "granted");
        assert_eq!(reader.next().await.unwrap().data, "last");
    }
}

#[tokio::test]
async fn r18_data_is_split_into_lines() {
    let hub = start().await;
    let mut reader = subscribe(&hub, &[("match", "a")], &[]).await;
    let data = "1\r\n2\r3\nevent: x\n\n";
    publish_id(&hub, &[("topic", "a"), ("id", "i"), ("data", data)]).await;
    publish_id(&hub, &[("topic", "a"), ("id", "j")]).await;
    let event = reader.next().await.unwrap();
    assert_eq!((event.name.as_str(), event.data.as_str()), ("message", "1\n2\n3\nevent: x\n\n"));
    let empty = reader.next().await.unwrap();
    assert_eq!((empty.id.as_str(), empty.data.as_str()), ("j", ""));
    let text = String::from_utf8(reader.bytes.clone()).unwrap();
    let expected =
        "id: i\ndata: 1\ndata: 2\ndata: 3\ndata: event: x\ndata: \ndata: \n\nid: j\ndata: \n\n";
    assert!(text.ends_with(expected), "{text:?}");
}

#[tokio::test]
async fn r19_there_is_nothing_but_updates() {
    let mut hub = start_with(&["--drain", "1s"]).await;
    let mut reader = subscribe(&hub, &[("match", "a")], &[]).await;
    publish_id(&hub, &[("topic", "a"), ("data", "x")]).await;
    assert_eq!(reader.next().await.unwrap().data, "x");
    hub.terminate();
    assert_eq!(reader.rest().await, []);
    let text = String::from_utf8(reader.bytes.clone()).unwrap();
    let known = |line: &str| {
        line.is_empty()
            || ["id: ", "data: ", "retry: ", ":"].iter().any(|name| line.starts_with(name))
    };
    assert!(text.lines().all(known), "{text:?}");
    // The last line is the time after which clients reconnect. No blank line follows it.
    assert!(text.lines().last().unwrap().starts_with("retry: "), "{text:?}");
    hub.stop().await;
}

#[tokio::test]
async fn r20_the_connection_ends_with_its_token_and_has_heartbeats() {
    let hub = start_with(&["--heartbeat", "1s"]).await;
    let soon = || in_seconds(5);
    let mut access = claims();
    access["exp"] = json!(soon());
    let mut one = subscribe_as(&hub, &access_token(&access), &[("match", "*")]).await;
    let old = sign("JWT", &json!({ "exp": soon(), "mercure": { "subscribe": ["*"] } }));
    let mut zero = subscribe_as(&hub, &old, &[("topic", "*")]).await;
    for reader in [&mut one, &mut zero] {
        let end = tokio::time::timeout(TEST_TIMEOUT, reader.rest()).await;
        assert_eq!(end.expect("the connection ends"), []);
    }
    let mut reader = subscribe(&hub, &[("match", "*")], &[]).await;
    while reader.comments() < 2 {
        assert!(reader.read_more().await.unwrap());
    }
}

#[tokio::test]
async fn sessions_and_metrics_name_the_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let keys = file_with_keys(folder.path(), &[("ops", "admin-secret", "admin = true")]);
    let hub = start_with(&["--config", &keys, "--anonymous", "metrics"]).await;
    let _reader = subscribe(&hub, &[("match", "a"), ("match_urlpattern", "/b/:id")], &[]).await;
    publish_id(&hub, &[("topic", "a")]).await;
    let opened = "fanfare_sessions_opened_by_protocol_total{protocol=\"mercure\"}";
    assert_eq!(hub.metric(opened).await, 1.0);
    let published = "fanfare_published_by_protocol_total{protocol=\"mercure\"}";
    assert_eq!(hub.metric(published).await, 1.0);
    let bearer = [("Authorization", "Bearer admin-secret")];
    let list = send(&hub, "GET", "/sessions", &bearer, "").await;
    let list: serde_json::Value = serde_json::from_str(&list.body).unwrap();
    let session = &list["sessions"][0];
    assert_eq!(
        (&session["protocol"], &session["topics"]),
        (&json!("mercure"), &json!(["a", "/b/:id"]))
    );
}

#[tokio::test]
async fn a_reached_limit_leaves_an_eventsource_alive() {
    let hub = start_with(&["--max-connections", "1", "--anonymous", "metrics"]).await;
    for parameter in ["match", "topic"] {
        let mut first = subscribe(&hub, &[(parameter, "a")], &[]).await;
        let mut refused = subscribe(&hub, &[(parameter, "a")], &[]).await;
        assert_eq!(refused.status, 200);
        assert_eq!(refused.rest().await, []);
        let text = String::from_utf8(refused.bytes.clone()).unwrap();
        let retry = text.strip_prefix("retry: ").and_then(|rest| rest.strip_suffix('\n'));
        assert!(retry.is_some_and(|ms| ms.parse::<u64>().is_ok()), "{text:?}");
        // Other clients get a status.
        let path = format!("{HUB}?{parameter}=a");
        let answer = send(&hub, "GET", &path, &[("Accept", "application/json")], "").await;
        assert_eq!(answer.status, 503, "{}", answer.body);
        publish_id(&hub, &[("topic", "a"), ("data", "x")]).await;
        assert_eq!(first.next().await.unwrap().data, "x");
        drop(first);
        hub.wait_for_metric("fanfare_sessions", |sessions| sessions == 0.0).await;
    }
}

#[tokio::test]
async fn a_reader_that_stalls_misses_nothing_and_delays_nobody() {
    let hub = start_with(&["--recent-bytes", "1KiB"]).await;
    let mut stalled = subscribe(&hub, &[("match", "a")], &[]).await;
    let mut other = subscribe(&hub, &[("match", "last")], &[]).await;
    let data = "x".repeat(100_000);
    // More than the sockets and the queue of a session take.
    for n in 0..200 {
        publish_id(&hub, &[("topic", "a"), ("data", &format!("{n} {data}"))]).await;
    }
    publish_id(&hub, &[("topic", "last"), ("data", "last")]).await;
    assert_eq!(other.next().await.unwrap().data, "last");
    for n in 0..200 {
        let event = stalled.next().await.expect("an update");
        assert!(event.data.starts_with(&format!("{n} ")), "{n}: {}", &event.data[..10]);
    }
}
