//! Requirements 1 to 8: the endpoint, and what selects topics.

use super::{HUB, form, publish_id, send, start, subscribe, subscribe_status};
use crate::hub::Hub;
use crate::reader::Reader;
use serde_json::Value;

/// Publishes to topics and asserts which of them a subscriber gets.
async fn assert_selects(hub: &Hub, parameters: &[(&str, &str)], topics: &[(&str, bool)]) {
    let is_old = parameters.iter().any(|(name, _)| *name == "topic");
    let last = if is_old { ("topic", "last") } else { ("match", "last") };
    let mut reader = subscribe(hub, &[parameters, &[last]].concat(), &[]).await;
    assert_eq!(reader.status, 200, "{parameters:?}");
    let all = [topics, &[("last", true)]].concat();
    for (topic, _) in &all {
        publish_id(hub, &[("topic", topic), ("data", topic)]).await;
    }
    for (topic, _) in all.iter().filter(|(_, is_selected)| *is_selected) {
        let event = reader.next().await.expect("an update");
        assert_eq!(event.data, *topic, "{parameters:?}");
    }
}

#[tokio::test]
async fn r01_get_head_and_query_subscribe_and_post_publishes() {
    let hub = start().await;
    for path in [format!("{HUB}?match=a"), format!("{HUB}?topic=a")] {
        let head = send(&hub, "HEAD", &path, &[], "").await;
        assert_eq!((head.status, head.header("content-type")), (200, "text/event-stream"));
        let get = send(&hub, "GET", &path, &[("Accept", "text/event-stream")], "").await;
        assert_eq!((get.status, get.header("content-type")), (200, "text/event-stream"));
    }
    let query = send(&hub, "QUERY", HUB, &[], "match=a").await;
    assert_eq!((query.status, query.header("content-type")), (200, "text/event-stream"));
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let refused = send(&hub, method, HUB, &[], "").await;
        assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD, POST, QUERY"));
    }
    let off = Hub::start(&[]).await;
    assert_eq!(send(&off, "GET", &format!("{HUB}?match=a"), &[], "").await.status, 404);
    assert_eq!(send(&off, "POST", HUB, &[], "topic=a").await.status, 404);
}

#[tokio::test]
async fn r01_only_the_configured_dialects_are_served() {
    for (dialect, parameter, other) in [("1.0", "match", "topic"), ("0.x", "topic", "match")] {
        let flags = ["--mercure", dialect, "--mercure-url", super::URL];
        let hub = Hub::start(&flags).await;
        assert_eq!(subscribe_status(&hub, &format!("{parameter}=a")).await.0, 200, "{dialect}");
        assert_eq!(subscribe_status(&hub, &format!("{other}=a")).await.0, 400, "{dialect}");
    }
}

#[tokio::test]
async fn r02_matchers_are_repeated_and_other_names_that_begin_with_match_are_refused() {
    let hub = start().await;
    let parameters =
        [("match", "a"), ("match_exact", "b"), ("match_urlpattern", "/c/:id"), ("x", "d")];
    let topics = [("a", true), ("b", true), ("/c/1", true), ("d", false), ("A", false)];
    assert_selects(&hub, &parameters, &topics).await;
    for query in [
        "",
        "x=a",
        "Match=a",
        "MATCH_EXACT=a",
        "match_urlPattern=a",
        "matcher=a",
        "match_uritemplate=a",
        "match=a&topic=b",
    ] {
        let (status, body) = subscribe_status(&hub, query).await;
        assert_eq!(status, 400, "{query}: {body}");
    }
}

#[tokio::test]
async fn r03_malformed_matchers_and_too_many_are_refused() {
    let hub = start().await;
    for text in ["a\nb", "a\u{7f}", "a\u{85}", "a\u{200b}b", "\u{feff}"] {
        for name in ["match", "match_urlpattern", "topic"] {
            let (status, body) = subscribe_status(&hub, &form(&[(name, text)])).await;
            assert_eq!(status, 400, "{name} {text:?}: {body}");
        }
    }
    assert_eq!(subscribe_status(&hub, "match=%ff").await.0, 400);
    let (status, body) =
        subscribe_status(&hub, &form(&[("match_urlpattern", "https://a/(")])).await;
    assert_eq!(status, 400);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["field"], "match_urlpattern");
    let many = |count: usize| vec!["match=a"; count].join("&");
    assert_eq!(subscribe_status(&hub, &many(100)).await.0, 200);
    assert_eq!(subscribe_status(&hub, &many(101)).await.0, 400);
    let templates = |count: usize| {
        let all = (0..count).map(|n| format!("topic=%7Bv{n}%7D")).collect::<Vec<_>>();
        all.join("&")
    };
    assert_eq!(subscribe_status(&hub, &templates(100)).await.0, 200);
    assert_eq!(subscribe_status(&hub, &templates(101)).await.0, 400);
    let long = |bytes: usize| format!("match={}", "x".repeat(bytes));
    assert_eq!(subscribe_status(&hub, &long(4_096)).await.0, 200);
    assert_eq!(subscribe_status(&hub, &long(4_097)).await.0, 400);
}

#[tokio::test]
async fn r04_a_query_has_parameters_in_its_body_and_in_its_url() {
    let hub = start().await;
    let first = publish_id(&hub, &[("topic", "a"), ("data", "1")]).await;
    let second = publish_id(&hub, &[("topic", "b"), ("data", "2")]).await;
    publish_id(&hub, &[("topic", "a"), ("data", "3")]).await;
    let path = format!("QUERY {HUB}?{}", form(&[("match", "a"), ("last_event_id", &second)]));
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let body = form(&[("match", "b"), ("last_event_id", &first)]);
    let mut reader = Reader::request(&hub.address, &path, &headers, &body).await.unwrap();
    assert_eq!(reader.headers["mercure-last-event-id"], second);
    assert_eq!(reader.next().await.unwrap().data, "3");
    publish_id(&hub, &[("topic", "b"), ("data", "4")]).await;
    assert_eq!(reader.next().await.unwrap().data, "4");
    let json = [("Content-Type", "application/json")];
    assert_eq!(send(&hub, "QUERY", HUB, &json, "{}").await.status, 400);
}

#[tokio::test]
async fn r05_a_star_matches_everything_in_any_type() {
    let hub = start().await;
    for name in ["match", "match_exact", "match_urlpattern", "topic"] {
        let topics =
            [("a", true), ("https://example.com/", true), ("a b", true), ("http://[", true)];
        assert_selects(&hub, &[(name, "*")], &topics).await;
    }
}

#[tokio::test]
async fn r06_exact_compares_bytes() {
    let hub = start().await;
    let topics = [
        ("https://example.com/\u{e9}", true),
        ("https://example.com/e\u{301}", false),
        ("https://example.com/%C3%A9", false),
        ("https://EXAMPLE.com/\u{e9}", false),
    ];
    assert_selects(&hub, &[("match", "https://example.com/\u{e9}")], &topics).await;
}

#[tokio::test]
async fn r07_url_patterns_are_relative_to_the_hub() {
    let hub = start().await;
    let topics = [
        ("https://example.com/books/1", true),
        ("https://EXAMPLE.com/books/1", true),
        ("https://example.com/Books/1", false),
        ("https://example.com/books/1/2", false),
        ("http://[", false),
        ("a", false),
    ];
    assert_selects(&hub, &[("match_urlpattern", "https://example.com/books/:id")], &topics).await;
    let relative = [
        ("/books/1", true),
        ("https://hub.example/books/1", true),
        ("https://example.com/books/1", false),
    ];
    assert_selects(&hub, &[("match_urlpattern", "/books/:id")], &relative).await;
}

#[tokio::test]
async fn r07_a_hostile_pattern_takes_time_linear_in_the_topic() {
    let hub = start().await;
    let pattern = "https://example.com/(a+a+a+a+a+a+a+a+a+a+a+)";
    let topic = format!("https://example.com/{}b", "a".repeat(4_000));
    // With backtracking this would not end.
    assert_selects(&hub, &[("match_urlpattern", pattern)], &[(&topic, false)]).await;
}

#[tokio::test]
async fn r08_selectors_of_0x_are_texts_or_templates() {
    let hub = start().await;
    let books = [
        ("https://example.com/books/1", true),
        ("https://example.com/books/1,2", true),
        ("https://example.com/books/%C3%A9", true),
        ("https://example.com/books/\u{e9}", false),
        ("https://example.com/books/a b", false),
        ("https://example.com/books/1/2", false),
    ];
    assert_selects(&hub, &[("topic", "https://example.com/books/{id}")], &books).await;
    let reserved = [("https://example.com/a/b?c", true), ("https://example.com/a b", false)];
    assert_selects(&hub, &[("topic", "https://example.com/{+path}")], &reserved).await;
    let named = [("https://a.example/?topic=x%2Fy", true), ("https://a.example/?other=x", false)];
    assert_selects(&hub, &[("topic", "https://a.example/{?topic}")], &named).await;
    assert_selects(&hub, &[("topic", "not {closed")], &[("not {closed", true)]).await;
    let many = |count: usize| vec!["topic=a"; count].join("&");
    assert_eq!(subscribe_status(&hub, &many(1_000)).await.0, 200);
    assert_eq!(subscribe_status(&hub, &many(1_001)).await.0, 400);
}

#[tokio::test]
async fn the_hub_serves_the_path_of_its_url_too() {
    let flags = ["--mercure", "1.0", "--mercure-url", "https://example.com/hub"];
    let hub = Hub::start(&flags).await;
    for path in ["/hub?match=a", "/.well-known/mercure?match=a"] {
        assert_eq!(send(&hub, "HEAD", path, &[], "").await.status, 200, "{path}");
    }
}
