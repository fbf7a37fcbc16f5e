//! Usage requested from an upstream: the client's `stream_options` and the setting `stream-usage`.
//!
//! `stream-usage` of `[chat.upstream.NAME]` is `auto` by default: the hub requests usage unless the
//! client declines it, and repeats the request without it if the upstream refuses it. `always`
//! requests usage and `never` does not, whatever the client asks for.

use crate::chat::{all_events, end, start_chat, text};
use crate::completions::{chat_request, post, text_and_seq};
use crate::hub::Hub;
use crate::reader::{Event, Reader};
use crate::upstream::{Upstream, answer, status};
use serde_json::{Value, json};

/// Streams an answer with these `stream_options`; returns all events.
async fn stream_with(hub: &Hub, options: &Value) -> Vec<Event> {
    let mut body = chat_request(true);
    body["stream_options"] = options.clone();
    let path = "POST /v1/chat/completions";
    let mut reader = Reader::request(&hub.address, path, &[], &body.to_string()).await.unwrap();
    assert_eq!(reader.status, 200, "{options}");
    reader.rest().await
}

fn has_usage(events: &[Event]) -> bool {
    let chunks = events.iter().filter(|event| event.data != "[DONE]").map(Event::json);
    chunks.into_iter().any(|chunk| !chunk["usage"].is_null())
}

/// Starts a hub with this `stream-usage`.
async fn hub_with(upstream: &Upstream, stream_usage: &str) -> (Hub, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = upstream.config(folder.path(), &format!("stream-usage = {stream_usage:?}\n"));
    (Hub::start_in(&folder.path().join("data"), &["--config", &file]).await, folder)
}

/// Returns refusals of upstreams that do not support `stream_options`.
fn refusals() -> Vec<(u16, Value)> {
    let message = "Unrecognized request argument supplied: stream_options";
    vec![
        (400, json!({ "error": { "message": message, "type": "invalid_request_error" } })),
        (400, json!({ "error": { "message": "unknown parameter", "param": "stream_options" } })),
        (
            422,
            json!({ "detail": [{
            "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted",
            "type": "extra_forbidden",
        }] }),
        ),
        (422, json!({ "detail": "stream_options is not supported" })),
    ]
}

#[tokio::test]
async fn clients_get_a_usage_chunk_only_if_they_ask_for_it() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let usage = |value: Value| json!({ "include_usage": value });
    for (options, is_expected) in [
        (usage(json!(true)), true),
        (usage(json!(false)), false),
        (usage(Value::Null), false),
        (json!({}), false),
        (Value::Null, false),
    ] {
        assert_eq!(has_usage(&stream_with(&hub, &options).await), is_expected, "{options}");
    }
}

#[tokio::test]
async fn usage_is_not_requested_if_the_client_declines_it() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    stream_with(&hub, &json!({ "include_usage": false })).await;
    assert_ne!(upstream.requests()[0].body["stream_options"]["include_usage"], true);
    stream_with(&hub, &json!({ "include_usage": true })).await;
    assert_eq!(upstream.requests()[1].body["stream_options"]["include_usage"], true);
}

#[tokio::test]
async fn other_stream_options_are_passed_on_to_the_upstream() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    for usage in [Value::Null, json!(true), json!(false)] {
        let options = json!({ "include_usage": usage, "include_obfuscation": false });
        stream_with(&hub, &options).await;
        let request = upstream.requests().pop().unwrap().body;
        assert_eq!(request["stream_options"]["include_obfuscation"], false, "{options}");
    }
}

#[tokio::test]
async fn a_request_refused_for_its_usage_option_is_repeated_without_it() {
    for (code, refusal) in refusals() {
        let refusal_script = status(code, "", &refusal.to_string());
        let upstream = Upstream::start(vec![refusal_script, answer(&["a"])]).await;
        let (hub, _folder) = upstream.hub(&[]).await;
        let events = all_events(&hub, &start_chat(&hub).await).await;
        assert_eq!((text(&events).as_str(), &end(&events)["type"]), ("a", &json!("done")));
        let requests = upstream.requests();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].body["stream_options"]["include_usage"], true);
        assert_eq!(requests[1].body.get("stream_options"), None, "{refusal}");
    }
}

#[tokio::test]
async fn other_refusals_are_not_retried_without_usage() {
    let message = json!({ "error": { "message": "no", "param": "messages" } }).to_string();
    let upstream = Upstream::start(vec![status(400, "", &message), answer(&["a"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    assert_eq!(post(&hub, &chat_request(true), &[]).await.0, 400);
    assert_eq!(upstream.requests().len(), 1);
    // The same refusal of the request without the option is not retried again.
    let (code, refusal) = refusals().remove(0);
    let upstream = Upstream::start(vec![status(code, "", &refusal.to_string())]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    assert_eq!(post(&hub, &chat_request(true), &[]).await.0, 400);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn stream_usage_never_does_not_request_usage() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (hub, _folder) = hub_with(&upstream, "never").await;
    let events = stream_with(&hub, &json!({ "include_usage": true })).await;
    assert_eq!(upstream.requests()[0].body.get("stream_options"), None);
    let last = events.len() - 2;
    assert_eq!(text_and_seq(&events[..last]).0, "a");
    assert!(has_usage(&events), "the client asked for it");
    stream_with(&hub, &json!({ "include_obfuscation": false })).await;
    let expected = json!({ "include_obfuscation": false });
    assert_eq!(upstream.requests()[1].body["stream_options"], expected);
}

#[tokio::test]
async fn stream_usage_always_requests_usage_and_does_not_retry_without_it() {
    let (code, refusal) = refusals().remove(0);
    let refusal_script = status(code, "", &refusal.to_string());
    let upstream = Upstream::start(vec![answer(&["a"]), refusal_script, answer(&["b"])]).await;
    let (hub, _folder) = hub_with(&upstream, "always").await;
    let events = stream_with(&hub, &json!({ "include_usage": false })).await;
    assert!(!has_usage(&events), "the client does not want it");
    assert_eq!(upstream.requests()[0].body["stream_options"]["include_usage"], true);
    assert_eq!(post(&hub, &chat_request(true), &[]).await.0, 400);
    assert_eq!(upstream.requests().len(), 2);
}
