//! Requirements 9 to 16: publishing.

use super::{
    HUB, all_tokens, detail, old_token, publish, publish_id, send, start, subscribe, token_with,
};
use serde_json::{Value, json};

#[tokio::test]
async fn r09_a_form_has_topics_and_optional_fields() {
    let hub = start().await;
    let mut reader = subscribe(&hub, &[("match", "b")], &[]).await;
    let fields = [
        ("topic", "a"),
        ("topic", "b"),
        ("data", "1"),
        ("id", "urn:1"),
        ("type", "greeting"),
        ("retry", "2500"),
        ("unknown", "x"),
    ];
    assert_eq!(publish_id(&hub, &fields).await, "urn:1");
    let event = reader.next().await.unwrap();
    assert_eq!(
        (event.name.as_str(), event.id.as_str(), event.data.as_str()),
        ("greeting", "urn:1", "1")
    );
    assert_eq!(reader.retry(), Some(2_500));
    for token in all_tokens() {
        let answer = publish(&hub, &token, &[("data", "1")]).await;
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &problem["field"]), (400, &json!("topic")));
        let bearer = format!("Bearer {token}");
        let bad = [("Authorization", bearer.as_str())];
        assert_eq!(send(&hub, "POST", HUB, &bad, "topic=%ff").await.status, 400);
        let json = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        assert_eq!(send(&hub, "POST", HUB, &json, "{\"topic\":\"a\"}").await.status, 400);
    }
}

#[tokio::test]
async fn r10_the_answer_is_the_id_as_it_is_sent_to_subscribers() {
    let hub = start().await;
    for token in all_tokens() {
        let mut reader = subscribe(&hub, &[("match", "*")], &[]).await;
        for id in ["id-[\"x\"]", "a b", "urn:uuid:1", "é"] {
            let answer = publish(&hub, &token, &[("topic", "a"), ("id", id)]).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, id));
            assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
            assert_eq!(reader.next().await.unwrap().id, id);
        }
    }
}

#[tokio::test]
async fn r11_a_generated_id_is_a_fragment() {
    let hub = start().await;
    let mut reader = subscribe(&hub, &[("match", "*")], &[]).await;
    let first = publish_id(&hub, &[("topic", "a")]).await;
    let second = publish_id(&hub, &[("topic", "a")]).await;
    assert!(first.starts_with('#') && first < second, "{first} {second}");
    assert_eq!(reader.next().await.unwrap().id, first);
    assert_eq!(reader.next().await.unwrap().id, second);
}

#[tokio::test]
async fn r12_what_an_update_must_not_contain() {
    let hub = start().await;
    let [token, old] = all_tokens();
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("topic", &[("topic", "a\nb")]),
        ("topic", &[("topic", "a\u{202e}b")]),
        ("topic", &[("topic", "a"), ("topic", "*")]),
        ("id", &[("topic", "a"), ("id", "a\nb")]),
        ("id", &[("topic", "a"), ("id", "#1")]),
        ("id", &[("topic", "a"), ("id", "earliest")]),
        ("type", &[("topic", "a"), ("type", "a\u{85}")]),
        ("type", &[("topic", "a"), ("type", "mercure")]),
        ("retry", &[("topic", "a"), ("retry", "1s")]),
        ("retry", &[("topic", "a"), ("retry", "-1")]),
    ];
    for (field, fields) in cases {
        for token in [&token, &old] {
            let answer = publish(&hub, token, fields).await;
            let problem: Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!((answer.status, &problem["field"]), (400, &json!(field)), "{fields:?}");
        }
    }
    for topic in [
        "/.well-known/mercure",
        "/.well-known/mercure/subscriptions/exact/a/b",
        "/.well-known/%6Dercure/x",
        "/x/../.well-known/mercure",
        "https://other.example/.well-known/mercure/x",
        "https://other.example\\.well-known\\mercure",
    ] {
        let fields = [("topic", "a"), ("topic", topic)];
        assert_eq!(publish(&hub, &token, &fields).await.status, 400, "{topic}");
        assert_eq!(publish(&hub, &old, &fields).await.status, 403, "{topic}");
    }
    for topic in ["/.well-known/mercurex", "https://a.example/?u=/.well-known/mercure", "a b"] {
        publish_id(&hub, &[("topic", topic)]).await;
    }
}

#[tokio::test]
async fn r13_empty_optional_fields_are_absent() {
    let hub = start().await;
    let mut reader = subscribe(&hub, &[("match", "a")], &[]).await;
    let fields = [("topic", "a"), ("id", ""), ("type", ""), ("retry", ""), ("data", "x")];
    let id = publish_id(&hub, &fields).await;
    assert!(id.starts_with('#'), "{id}");
    let event = reader.next().await.unwrap();
    assert_eq!((event.name.as_str(), event.data.as_str()), ("message", "x"));
}

#[tokio::test]
async fn r14_private_counts_by_its_presence() {
    let hub = start().await;
    let mut reader = subscribe(&hub, &[("match", "a")], &[]).await;
    for value in ["on", "", "0", "false"] {
        publish_id(&hub, &[("topic", "a"), ("private", value), ("data", "secret")]).await;
    }
    publish_id(&hub, &[("topic", "a"), ("data", "public")]).await;
    assert_eq!(reader.next().await.unwrap().data, "public");
}

#[tokio::test]
async fn r15_what_is_too_large_is_413() {
    let hub = start().await;
    let token = &all_tokens()[0];
    let large = "x".repeat(256 * 1024);
    assert_eq!(publish(&hub, token, &[("topic", "a"), ("data", &large)]).await.status, 200);
    let larger = format!("{large}x");
    assert_eq!(publish(&hub, token, &[("topic", "a"), ("data", &larger)]).await.status, 413);
    let body = "x".repeat(1024 * 1024 + 1);
    assert_eq!(publish(&hub, token, &[("topic", "a"), ("x", &body)]).await.status, 413);
    let topics: Vec<String> = (0..1_001).map(|n| n.to_string()).collect();
    let fields: Vec<_> = topics.iter().map(|topic| ("topic", topic.as_str())).collect();
    assert_eq!(publish(&hub, token, &fields[1..]).await.status, 200);
    assert_eq!(publish(&hub, token, &fields).await.status, 413);
}

#[tokio::test]
async fn r16_publishing_must_be_granted_on_every_topic() {
    let hub = start().await;
    let pattern = json!({ "match": "https://example.com/:id", "match_type": "urlpattern" });
    let token = token_with(json!([detail("publish", json!([{ "match": "a" }, pattern]))]));
    let old = old_token(&["a", "https://example.com/{id}"], &[]);
    for (token, refused) in [(&token, 403), (&old, 401)] {
        for (topics, status) in [
            (&["a"][..], 200),
            (&["https://example.com/1", "a"], 200),
            (&["a", "b"], refused),
            (&["b"], refused),
        ] {
            let fields: Vec<_> = topics.iter().map(|topic| ("topic", *topic)).collect();
            let answer = publish(&hub, token, &fields).await;
            assert_eq!(answer.status, status, "{topics:?} {}", answer.body);
            if status != 200 {
                let challenge = answer.header("www-authenticate");
                assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
            }
        }
    }
    let none = token_with(json!([detail("subscribe", json!([{ "match": "*" }]))]));
    assert_eq!(publish(&hub, &none, &[("topic", "a")]).await.status, 403);
    let answer = send(&hub, "POST", HUB, &[], "topic=a").await;
    assert_eq!(answer.status, 401, "{}", answer.body);
}
