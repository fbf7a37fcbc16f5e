//! Requirements 21 to 25: the cursor.

use super::{
    all_tokens, detail, old_token, publish_id, send, start, start_with, subscribe, subscribe_as,
    token_with,
};
use crate::credentials::file_with_keys;
use crate::hub::Hub;
use serde_json::json;

/// Publishes updates with the data 0, 1, … and returns their ids.
async fn publish_many(hub: &Hub, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(publish_id(hub, &[("topic", "a"), ("data", &n.to_string())]).await);
    }
    ids
}

#[tokio::test]
async fn r21_the_header_beats_the_query() {
    let hub = start().await;
    let ids = publish_many(&hub, 4).await;
    for (matcher, parameter) in [("match", "last_event_id"), ("topic", "lastEventID")] {
        let parameters = [(matcher, "a"), (parameter, ids[0].as_str())];
        let mut by_query = subscribe(&hub, &parameters, &[]).await;
        assert_eq!(by_query.next().await.unwrap().data, "1");
        let mut by_header = subscribe(&hub, &parameters, &[("Last-Event-ID", &ids[2])]).await;
        assert_eq!(by_header.next().await.unwrap().data, "3");
    }
}

#[tokio::test]
async fn r22_the_response_names_the_update_before_the_first_one() {
    let hub = start().await;
    let ids = publish_many(&hub, 3).await;
    publish_id(&hub, &[("topic", "b"), ("id", "urn:own")]).await;
    publish_id(&hub, &[("topic", "b"), ("id", "urn:é")]).await;
    for (matcher, header, other) in [
        ("match", "mercure-last-event-id", "last-event-id"),
        ("topic", "last-event-id", "mercure-last-event-id"),
    ] {
        let all = [(matcher, "*")];
        for (requested, named, first) in [
            (ids[1].as_str(), ids[1].as_str(), "2"),
            ("urn:own", "urn:own", ""),
            ("urn:é", "urn:é", ""),
            ("earliest", "earliest", "0"),
            ("unknown", "earliest", "0"),
            ("#00000000-0000000000000000", "earliest", "0"),
            ("#ffffffff-ffffffffffffffff", "earliest", "0"),
            ("00000001-0000000000001000", "earliest", "0"),
        ] {
            let mut reader = subscribe(&hub, &all, &[("Last-Event-ID", requested)]).await;
            assert_eq!(reader.headers[header], named, "{requested}");
            assert!(!reader.headers.contains_key(other));
            if !first.is_empty() {
                assert_eq!(reader.next().await.unwrap().data, first, "{requested}");
            }
        }
        let live = subscribe(&hub, &all, &[]).await;
        assert!(!live.headers.contains_key(header) && !live.headers.contains_key(other));
    }
}

#[tokio::test]
async fn r22_an_update_that_retention_has_removed_is_unknown() {
    let hub = start_with(&["--max-events", "10"]).await;
    let own = publish_id(&hub, &[("topic", "a"), ("id", "urn:own"), ("data", "own")]).await;
    let ids = publish_many(&hub, 11).await;
    for id in [&own, &ids[0]] {
        let mut reader = subscribe(&hub, &[("match", "a")], &[("Last-Event-ID", id)]).await;
        assert_eq!(reader.headers["mercure-last-event-id"], "earliest");
        assert_eq!(reader.next().await.unwrap().data, "1");
    }
    let mut reader = subscribe(&hub, &[("match", "a")], &[("Last-Event-ID", &ids[1])]).await;
    assert_eq!(reader.headers["mercure-last-event-id"], ids[1].as_str());
    assert_eq!(reader.next().await.unwrap().data, "2");
}

#[tokio::test]
async fn r23_a_reused_id_is_the_earliest_update_with_it() {
    let mut hub = start_with(&["--max-events", "4"]).await;
    for (id, data) in [("x", "1"), ("y", "2"), ("x", "3"), ("z", "4")] {
        publish_id(&hub, &[("topic", "a"), ("id", id), ("data", data)]).await;
    }
    for _ in 0..2 {
        let mut reader = subscribe(&hub, &[("match", "a")], &[("Last-Event-ID", "x")]).await;
        for data in ["2", "3", "4"] {
            assert_eq!(reader.next().await.unwrap().data, data);
        }
        // The same after a restart.
        hub.kill();
        hub.restart().await;
    }
    // Retention removes the first one.
    publish_id(&hub, &[("topic", "a"), ("id", "w"), ("data", "5")]).await;
    let mut reader = subscribe(&hub, &[("match", "a")], &[("Last-Event-ID", "x")]).await;
    assert_eq!(reader.headers["mercure-last-event-id"], "x");
    assert_eq!(reader.next().await.unwrap().data, "4");
    // An id is no prefix of another one.
    let mut reader = subscribe(&hub, &[("match", "a")], &[("Last-Event-ID", "")]).await;
    publish_id(&hub, &[("topic", "a"), ("data", "6")]).await;
    assert_eq!(reader.next().await.unwrap().data, "6");
}

#[tokio::test]
async fn r24_replay_checks_the_grants_again() {
    let hub = start().await;
    for (topic, private) in [("a", true), ("b", true), ("c", false)] {
        let mut fields = vec![("topic", topic), ("data", topic)];
        fields.extend(private.then_some(("private", "on")));
        publish_id(&hub, &fields).await;
    }
    let token = token_with(json!([detail("subscribe", json!([{ "match": "b" }]))]));
    let parameters = [("match", "*"), ("last_event_id", "earliest")];
    let mut reader = subscribe_as(&hub, &token, &parameters).await;
    assert_eq!(reader.next().await.unwrap().data, "b");
    assert_eq!(reader.next().await.unwrap().data, "c");
    let old = [("topic", "*"), ("lastEventID", "earliest")];
    let mut reader = subscribe_as(&hub, &old_token(&[], &["a"]), &old).await;
    assert_eq!(reader.next().await.unwrap().data, "a");
    assert_eq!(reader.next().await.unwrap().data, "c");
    let mut reader = subscribe(&hub, &parameters, &[]).await;
    assert_eq!(reader.next().await.unwrap().data, "c");
    let mut reader = subscribe_as(&hub, &all_tokens()[0], &parameters).await;
    assert_eq!(reader.next().await.unwrap().data, "a");
}

#[tokio::test]
async fn r25_the_names_of_clients_for_the_last_id() {
    let hub = start().await;
    let ids = publish_many(&hub, 4).await;
    for (parameters, data) in [
        (&[("topic", "a"), ("lastEventID", ids[0].as_str())][..], "1"),
        (&[("topic", "a"), ("Last-Event-ID", ids[0].as_str())], "1"),
        (&[("topic", "a"), ("lastEventId", ids[0].as_str())], "1"),
        (
            &[("topic", "a"), ("lastEventID", ids[0].as_str()), ("lastEventId", ids[1].as_str())],
            "2",
        ),
        (
            &[("match", "a"), ("last_event_id", ids[0].as_str()), ("lastEventId", ids[1].as_str())],
            "2",
        ),
    ] {
        let mut reader = subscribe(&hub, parameters, &[]).await;
        assert_eq!(reader.next().await.unwrap().data, data, "{parameters:?}");
    }
}

#[tokio::test]
async fn a_resume_after_the_deletion_of_all_updates_stays_open() {
    let folder = tempfile::tempdir().unwrap();
    let keys = file_with_keys(
        folder.path(),
        &[("ops", "admin-secret", "admin = true\nend = [\"hub.mercure\"]")],
    );
    let hub = start_with(&["--config", &keys]).await;
    let id = publish_id(&hub, &[("topic", "a"), ("data", "1")]).await;
    let bearer = [("Authorization", "Bearer admin-secret")];
    let deleted = send(&hub, "DELETE", "/streams/hub.mercure", &bearer, "").await;
    assert_eq!(deleted.status, 204, "{}", deleted.body);
    let mut reader = subscribe(&hub, &[("match", "a")], &[("Last-Event-ID", &id)]).await;
    assert_eq!(reader.headers["mercure-last-event-id"], "earliest");
    publish_id(&hub, &[("topic", "a"), ("data", "2")]).await;
    assert_eq!(reader.next().await.unwrap().data, "2");
}

#[tokio::test]
async fn updates_survive_a_killed_hub_and_slow_readers_continue_from_history() {
    let mut hub = start_with(&["--recent-bytes", "1KiB"]).await;
    let mut reader = subscribe(&hub, &[("match", "a")], &[]).await;
    let ids = publish_many(&hub, 200).await;
    for n in 0..200 {
        assert_eq!(reader.next().await.unwrap().data, n.to_string());
    }
    hub.kill();
    hub.restart().await;
    let mut reader = subscribe(&hub, &[("match", "a")], &[("Last-Event-ID", &ids[99])]).await;
    assert_eq!(reader.headers["mercure-last-event-id"], ids[99].as_str());
    for n in 100..200 {
        assert_eq!(reader.next().await.unwrap().data, n.to_string());
    }
}
