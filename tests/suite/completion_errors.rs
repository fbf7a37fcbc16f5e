//! Errors that OpenAI's clients get instead of an answer or within one.

use crate::chat::{all_events, start_chat};
use crate::completions::{chat_request, post, stream, text_and_seq};
use crate::reader::Reader;
use crate::upstream::{Step, Upstream, answer, event, head, part, status};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn upstream_errors_are_passed_on_and_clients_are_asked_not_to_retry() {
    for (script, expected, code) in [
        (
            status(400, "", r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#),
            400,
            "context_length_exceeded",
        ),
        (status(401, "", r#"{"error":{"message":"no"}}"#), 502, "upstream_auth"),
        (status(429, "Retry-After: 0\r\n", "{}"), 429, "upstream_error"),
        (status(500, "Retry-After: 0\r\n", "{}"), 502, "upstream_error"),
    ] {
        let upstream = Upstream::start(vec![script]).await;
        let (hub, _folder) = upstream.hub(&[]).await;
        for is_stream in [true, false] {
            let (status, headers, body) = post(&hub, &chat_request(is_stream), &[]).await;
            assert_eq!(
                (status, body["error"]["code"].as_str().unwrap()),
                (expected, code),
                "{body}"
            );
            assert_eq!(headers["x-should-retry"], "false");
        }
    }
    // The `Retry-After` of an upstream is passed on.
    let upstream = Upstream::start(vec![status(429, "Retry-After: 77\r\n", "{}")]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    for is_stream in [true, false] {
        let (status, headers, _) = post(&hub, &chat_request(is_stream), &[]).await;
        assert_eq!((status, headers["retry-after"].to_str().unwrap()), (429, "77"));
    }
    // A replay of an earlier failure has no `Retry-After`.
    for has_retry_after in [true, false] {
        let (status, headers, _) =
            post(&hub, &chat_request(false), &[("Idempotency-Key", "k")]).await;
        assert_eq!((status, headers.contains_key("retry-after")), (429, has_retry_after));
    }
}

#[tokio::test]
async fn a_silent_upstream_does_not_delay_the_response_head() {
    let upstream = Upstream::start(vec![vec![Step::Hang]]).await;
    let (hub, _folder) = upstream.hub(&["--heartbeat", "1s"]).await;
    let mut reader = stream(&hub, &[]).await;
    assert_eq!(
        (reader.status, reader.headers["content-type"].as_str()),
        (200, "text/event-stream")
    );
    while reader.comments() == 0 {
        assert!(reader.read_more().await.unwrap(), "no heartbeats");
    }
    let id = reader.headers["fanfare-chat-id"].clone();
    let path = format!("/v1/chat/completions/{id}/cancel");
    hub.http.post(hub.url(&path)).send().await.unwrap();
    let events = reader.rest().await;
    assert_eq!(events.last().unwrap().json()["error"]["code"], "cancelled");
    upstream.wait_for_disconnects(1).await;
}

#[tokio::test]
async fn an_error_within_an_answer_is_the_last_event() {
    let cut = vec![head(), part("a"), Step::Pause(Duration::from_millis(100))];
    let error = event(&json!({ "error": { "message": "no" } }));
    let upstream = Upstream::start(vec![cut.clone(), [cut, vec![error]].concat()]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    for code in ["upstream_incomplete", "upstream_error"] {
        let mut reader = stream(&hub, &[]).await;
        let events = reader.rest().await;
        let last = events.last().unwrap().json();
        assert_eq!(last["error"]["code"], code);
        assert_eq!(text_and_seq(&events[..events.len() - 1]).0, "a");
    }
}

#[tokio::test]
async fn invalid_requests_get_errors_in_the_form_of_openai() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (hub, _folder) = upstream.hub(&["--max-chats", "1"]).await;
    let mut two_choices = chat_request(true);
    two_choices["n"] = json!(2);
    let mut unknown_model = chat_request(true);
    unknown_model["model"] = json!("nope");
    for (body, status, param) in [
        (two_choices, 422, json!("n")),
        (unknown_model, 404, json!("model")),
        (json!({ "messages": [] }), 422, json!("messages")),
        (json!([]), 400, Value::Null),
    ] {
        let (actual, _, response) = post(&hub, &body, &[]).await;
        assert_eq!((actual, &response["error"]["param"]), (status, &param), "{response}");
        assert!(response["error"]["message"].is_string() && response["error"]["type"].is_string());
    }
    let (_, _, response) =
        post(&hub, &chat_request(true), &[("Fanfare-On-Disconnect", "maybe")]).await;
    assert_eq!(response["error"]["param"], "Fanfare-On-Disconnect");
    let (status, models) = hub.get("/v1/models").await;
    let names: Vec<&str> =
        models["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!((status, names), (200, vec!["m", "other", "echo"]));
    assert_eq!(hub.get("/v1/models/other").await.1["owned_by"], "scripted");
    for path in ["/v1/models/nope", "/v1/responses"] {
        let (status, response) = hub.get(path).await;
        assert_eq!((status, &response["error"]["code"]), (404, &json!("not_found")));
    }
    // SDKs send a key even if none is required.
    let (status, _, _) =
        post(&hub, &chat_request(false), &[("Authorization", "Bearer sk-none")]).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn chats_beyond_max_chats_are_refused_with_the_name_of_the_limit() {
    let upstream = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    let (hub, _folder) = upstream.hub(&["--max-chats", "2"]).await;
    let (first, _second) = (start_chat(&hub).await, start_chat(&hub).await);
    let (status, _, refused) = post(&hub, &chat_request(true), &[]).await;
    assert_eq!((status, &refused["error"]["code"]), (503, &json!("resource_exhausted")));
    let (status, problem) = crate::chat::create_chat(&hub, json!({ "message": "hi" }), None).await;
    assert_eq!((status, &problem["limit"]), (503, &json!("max_chats")));
    let (_, stats) = hub.get("/stats").await;
    let limits = stats["limits"].as_array().unwrap();
    let used = limits.iter().find(|limit| limit["limit"] == "max_chats").unwrap();
    assert_eq!(
        used,
        &json!({ "limit": "max_chats", "max": 2, "use": 2, "peak": 2, "refusals": 2 })
    );
    hub.http.post(hub.url(first["stop_url"].as_str().unwrap())).send().await.unwrap();
    all_events(&hub, &first).await;
    hub.wait_for_metric("fanfare_chats_running", |n| n == 1.0).await;
    start_chat(&hub).await;
}

#[tokio::test]
async fn a_drain_ends_an_incomplete_answer_with_an_error() {
    let upstream = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    let (mut hub, _folder) = upstream.hub(&["--drain", "2s"]).await;
    let mut reader = stream(&hub, &[]).await;
    reader.next().await.unwrap();
    hub.terminate();
    let events = reader.rest().await;
    let last = events.last().unwrap().json();
    let code = last["error"]["code"].as_str().unwrap_or_default();
    assert!(["disconnected", "hub_restarted"].contains(&code), "{last}");
    assert!(hub.wait_for_exit().await.success());
}

#[tokio::test]
async fn a_truncated_answer_stays_an_error_on_replay_resume_and_restart() {
    let cut = vec![head(), part("half"), Step::Pause(Duration::from_millis(50))];
    let upstream = Upstream::start(vec![cut]).await;
    let (mut hub, _folder) = upstream.hub(&[]).await;
    let key = ("Idempotency-Key", "k");
    for _ in 0..2 {
        for headers in [&[key][..], &[key, ("Last-Event-ID", "1")]] {
            let (status, head, body) = post(&hub, &chat_request(false), headers).await;
            assert_eq!((status, &body["error"]["code"]), (502, &json!("upstream_incomplete")));
            let id = head["fanfare-chat-id"].to_str().unwrap().to_owned();
            assert_eq!(hub.get(&format!("/v1/chat/completions/{id}")).await.0, 502);
        }
        hub.kill();
        hub.restart().await;
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn resuming_an_unknown_chat_starts_none() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    for headers in
        [&[("Last-Event-ID", "3")][..], &[("Last-Event-ID", "3"), ("Idempotency-Key", "new")]]
    {
        for is_stream in [true, false] {
            let (status, _, body) = post(&hub, &chat_request(is_stream), headers).await;
            assert_eq!((status, &body["error"]["code"]), (410, &json!("gone")));
        }
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn a_chat_whose_reader_is_refused_is_stopped() {
    let hang = || vec![head(), part("a"), Step::Hang];
    let upstream = Upstream::start(vec![hang(), hang()]).await;
    let (hub, _folder) = upstream.hub(&["--max-connections", "1"]).await;
    let _reader = hub.subscribe("/streams/s/events").await;
    let (status, head, _) = post(&hub, &chat_request(true), &[]).await;
    assert_eq!(status, 503);
    assert!(head.contains_key("fanfare-chat-id"));
    let mut native =
        Reader::request(&hub.address, "POST /chat", &[], r#"{"message":"x"}"#).await.unwrap();
    assert_eq!((native.status, &native.body().await["limit"]), (503, &json!("max_connections")));
    hub.wait_for_metric(
        "fanfare_chats_ended_total{outcome=\"cancelled\",upstream=\"scripted\"}",
        |n| n == 2.0,
    )
    .await;
}
