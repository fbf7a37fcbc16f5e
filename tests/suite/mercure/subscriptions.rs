//! Requirements 31 and 32: updates about subscriptions, and their list.

use super::{
    Answer, HUB, all_tokens, detail, old_token, publish_id, send, sign, start, start_with,
    subscribe_as, token_with,
};
use crate::hub::Hub;
use crate::reader::Reader;
use serde_json::{Value, json};

const FLAGS: [&str; 2] = ["--mercure-subscriptions", "on"];
/// A pattern of the topics of all subscriptions.
const ALL: &str = "/.well-known/mercure/subscriptions/:match_type/:match/:subscriber";

/// Subscribes to the updates about subscriptions, from the oldest one.
async fn watch(hub: &Hub) -> Reader {
    let parameters = [("match_urlpattern", ALL), ("last_event_id", "earliest")];
    subscribe_as(hub, &all_tokens()[0], &parameters).await
}

/// Returns the next update about a subscription with a matcher.
async fn next_about(reader: &mut Reader, matcher: &str) -> Value {
    loop {
        let event = reader.next().await.expect("an update");
        assert_eq!(event.name, "mercure");
        if event.json()["match"] == matcher {
            return event.json();
        }
    }
}

async fn get(hub: &Hub, token: &str, path: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    send(hub, "GET", path, &[("Authorization", &bearer)], "").await
}

#[tokio::test]
async fn r31_a_subscription_is_published_when_it_begins_and_ends() {
    let hub = start_with(&FLAGS).await;
    let mut watch = watch(&hub).await;
    let granted = json!([
        { "type": super::DETAIL, "actions": ["subscribe"], "topics": [{ "match": "a b%" }],
          "payload": { "user": 1 } },
        { "type": super::DETAIL, "actions": ["subscribe"], "topics": [{ "match": "*" }],
          "payload": { "user": 2 } },
    ]);
    // The first detail that matches counts, also if it has no payload.
    let masked = json!([
        detail("subscribe", json!([{ "match": "masked" }])),
        { "type": super::DETAIL, "actions": ["subscribe"], "topics": [{ "match": "*" }],
          "payload": { "user": 3 } },
    ]);
    let _masked = subscribe_as(&hub, &token_with(masked), &[("match", "masked")]).await;
    assert_eq!(next_about(&mut watch, "masked").await.get("payload"), None);
    let parameters = [("match", "a b%"), ("match_urlpattern", "https://example.com/:id")];
    let reader = subscribe_as(&hub, &token_with(granted), &parameters).await;
    let begun = next_about(&mut watch, "a b%").await;
    let subscriber = begun["subscriber"].as_str().unwrap();
    assert!(subscriber.starts_with("urn:uuid:"), "{begun}");
    let encoded = subscriber.replace(':', "%3A");
    let expected = json!({
        "id": format!("{HUB}/subscriptions/exact/a%20b%25/{encoded}"),
        "type": "subscription", "match_type": "exact", "match": "a b%", "subscriber": subscriber,
        "active": true, "payload": { "user": 1 },
    });
    assert_eq!(begun, expected);
    let other = next_about(&mut watch, "https://example.com/:id").await;
    assert_eq!(
        (&other["match_type"], &other["payload"]),
        (&json!("urlpattern"), &json!({ "user": 2 }))
    );
    assert_eq!(other["subscriber"], subscriber, "one identifier for a connection");
    drop(reader);
    let ended = next_about(&mut watch, "a b%").await;
    assert_eq!((&ended["active"], &ended["id"]), (&json!(false), &begun["id"]));
}

#[tokio::test]
async fn r31_subscriptions_of_0x_have_no_type_and_the_payload_of_the_token() {
    let hub = start_with(&FLAGS).await;
    let topic = "/.well-known/mercure/subscriptions{/topic}{/subscriber}";
    let mut watch = subscribe_as(&hub, &all_tokens()[1], &[("topic", topic)]).await;
    let claims = json!({ "mercure": { "subscribe": ["*"], "payload": { "user": 1 } } });
    let _reader = subscribe_as(&hub, &sign("JWT", &claims), &[("topic", "books/{id}")]).await;
    loop {
        let event = watch.next().await.expect("an update");
        let document = event.json();
        if document["topic"] == "books/{id}" {
            assert_eq!(event.name, "message");
            assert_eq!(document["@context"], "https://mercure.rocks/");
            assert_eq!(
                (&document["type"], &document["active"]),
                (&json!("Subscription"), &json!(true))
            );
            assert_eq!(document["payload"], json!({ "user": 1 }));
            let id = document["id"].as_str().unwrap();
            assert!(
                id.starts_with("/.well-known/mercure/subscriptions/books%2F%7Bid%7D/urn%3Auuid%3A")
            );
            return;
        }
    }
}

#[tokio::test]
async fn r31_what_a_killed_hub_left_open_ends_with_its_next_start() {
    let mut hub = start_with(&FLAGS).await;
    let reader = subscribe_as(&hub, &all_tokens()[0], &[("match", "left open")]).await;
    hub.kill();
    drop(reader);
    for _ in 0..2 {
        hub.restart().await;
        let mut watch = watch(&hub).await;
        assert_eq!(next_about(&mut watch, "left open").await["active"], true);
        assert_eq!(next_about(&mut watch, "left open").await["active"], false);
        hub.kill();
    }
    // It was published once.
    hub.restart().await;
    let mut watch = watch(&hub).await;
    let _last = subscribe_as(&hub, &all_tokens()[0], &[("match", "last")]).await;
    let mut seen = Vec::new();
    loop {
        let document = watch.next().await.expect("an update").json();
        match document["match"].as_str() {
            Some("last") => break,
            Some("left open") => seen.push(document["active"] == true),
            _ => {}
        }
    }
    assert_eq!(seen, [true, false]);
}

#[tokio::test]
async fn r31_updates_about_subscriptions_are_private() {
    let hub = start_with(&FLAGS).await;
    let grant = json!([detail("subscribe", json!([{ "match": "a" }]))]);
    let parameters = [("match_urlpattern", ALL), ("match", "a"), ("last_event_id", "earliest")];
    let mut reader = subscribe_as(&hub, &token_with(grant), &parameters).await;
    publish_id(&hub, &[("topic", "a"), ("data", "x")]).await;
    assert_eq!(reader.next().await.unwrap().data, "x");
}

#[tokio::test]
async fn r32_active_subscriptions_are_listed() {
    let hub = start_with(&FLAGS).await;
    let token = &all_tokens()[0];
    let collection = format!("{HUB}/subscriptions");
    let parameters = [("match", "a/b"), ("match_urlpattern", "/c/:id")];
    let reader = subscribe_as(&hub, token, &parameters).await;
    let all = get(&hub, token, &format!("{collection}?x=y")).await;
    assert_eq!((all.status, all.header("content-type")), (200, "application/json"));
    let link = all.header("link");
    assert!(
        link.starts_with(
            "<https://hub.example/.well-known/mercure>; rel=\"mercure\"; last-event-id=\"#"
        ),
        "{link}"
    );
    assert!(link.ends_with("type=\"mercure\"; content-type=\"application/json\""), "{link}");
    let document: Value = serde_json::from_str(&all.body).unwrap();
    assert_eq!((&document["id"], &document["type"]), (&json!(collection), &json!("subscriptions")));
    let list = document["subscriptions"].as_array().unwrap();
    assert_eq!(list.len(), 2, "{document}");
    let of_matcher = get(&hub, token, &format!("{collection}/exact/a%2Fb")).await;
    let document: Value = serde_json::from_str(&of_matcher.body).unwrap();
    assert_eq!(document["subscriptions"].as_array().unwrap().len(), 1, "{document}");
    let one = &document["subscriptions"][0];
    let single = get(&hub, token, one["id"].as_str().unwrap()).await;
    assert_eq!(&serde_json::from_str::<Value>(&single.body).unwrap(), one);
    for gone in ["/exact/a%2Fb/urn%3Auuid%3A1", "/exact", "/exact/a/b/c"] {
        assert_eq!(get(&hub, token, &format!("{collection}{gone}")).await.status, 404, "{gone}");
    }
    let empty = get(&hub, token, &format!("{collection}/exact/other")).await;
    let document: Value = serde_json::from_str(&empty.body).unwrap();
    assert_eq!((empty.status, &document["subscriptions"]), (200, &json!([])));
    // The cursor leads to the updates that follow the list.
    let cursor = link.split("last-event-id=\"").nth(1).unwrap().split('"').next().unwrap();
    let mut watch =
        subscribe_as(&hub, token, &[("match_urlpattern", ALL), ("last_event_id", cursor)]).await;
    drop(reader);
    assert_eq!(next_about(&mut watch, "a/b").await["active"], false);
}

#[tokio::test]
async fn r32_the_list_is_granted_on_its_own_path() {
    let hub = start_with(&FLAGS).await;
    let collection = format!("{HUB}/subscriptions");
    let exact = token_with(json!([detail("subscribe", json!([{ "match": collection }]))]));
    assert_eq!(get(&hub, &exact, &format!("{collection}?page=1")).await.status, 200);
    assert_eq!(get(&hub, &exact, &format!("{collection}/exact/a")).await.status, 403);
    let pattern = json!([{ "match": "/.well-known/mercure/subscriptions/exact/*", "match_type": "urlpattern" }]);
    let pattern = token_with(json!([detail("subscribe", pattern)]));
    assert_eq!(get(&hub, &pattern, &format!("{collection}/exact/a")).await.status, 200);
    assert_eq!(get(&hub, &pattern, &collection).await.status, 403);
    let publisher = token_with(json!([detail("publish", json!([{ "match": "*" }]))]));
    assert_eq!(get(&hub, &publisher, &collection).await.status, 403);
    assert_eq!(send(&hub, "GET", &collection, &[], "").await.status, 401);
    let off = start().await;
    assert_eq!(get(&off, &all_tokens()[0], &collection).await.status, 404);
}

#[tokio::test]
async fn r32_the_list_of_0x_is_json_ld() {
    let hub = start_with(&FLAGS).await;
    let token = &all_tokens()[1];
    let _reader = subscribe_as(&hub, token, &[("topic", "books/{id}")]).await;
    let collection = format!("{HUB}/subscriptions");
    for path in [collection.clone(), format!("{collection}/books%2F%7Bid%7D")] {
        let answer = get(&hub, token, &path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/ld+json"));
        let document: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((&document["id"], &document["type"]), (&json!(path), &json!("Subscriptions")));
        assert!(document["lastEventID"].as_str().unwrap().starts_with('#'), "{document}");
        let one = document["subscriptions"][0].clone();
        assert_eq!(one["topic"], "books/{id}");
        let single = get(&hub, token, one["id"].as_str().unwrap()).await;
        let found: Value = serde_json::from_str(&single.body).unwrap();
        assert_eq!((&found["id"], found["lastEventID"].is_string()), (&one["id"], true));
    }
    assert_eq!(get(&hub, &old_token(&[], &["a"]), &collection).await.status, 401);
}
