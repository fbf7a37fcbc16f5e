//! Asking an upstream for usage, by the client's `stream_options` and the setting `stream-usage`.
//!
//! The setting that is assumed is `stream-usage` of `[chat.upstream.NAME]`: `auto` (the default) asks
//! unless the client says no, and once more without it where that is refused; `always` asks, and
//! `never` does not, whatever the client says.

use crate::chat::{begun, end, text, whole};
use crate::completions::{ask, post, said};
use crate::hub::Hub;
use crate::reader::{Event, Reader};
use crate::upstream::{Upstream, answer, status};
use serde_json::{Value, json};

/// Asks with these `stream_options`; everything that was sent.
async fn stream_with(hub: &Hub, options: &Value) -> Vec<Event> {
    let mut body = ask(true);
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

/// A hub with this setting.
async fn hub_with(upstream: &Upstream, stream_usage: &str) -> (Hub, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = upstream.config(folder.path(), &format!("stream-usage = {stream_usage:?}\n"));
    (Hub::on(&folder.path().join("data"), &["--config", &file]).await, folder)
}

/// The refusals of upstreams that do not know `stream_options`.
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
async fn a_client_has_a_chunk_of_usage_where_it_asks_for_one_and_not_otherwise() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let usage = |said: Value| json!({ "include_usage": said });
    for (options, is_wanted) in [
        (usage(json!(true)), true),
        (usage(json!(false)), false),
        (usage(Value::Null), false),
        (json!({}), false),
        (Value::Null, false),
    ] {
        assert_eq!(has_usage(&stream_with(&hub, &options).await), is_wanted, "{options}");
    }
}

#[tokio::test]
async fn an_upstream_is_not_asked_for_usage_that_a_client_does_not_want() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    stream_with(&hub, &json!({ "include_usage": false })).await;
    assert_ne!(upstream.asked()[0].body["stream_options"]["include_usage"], true);
    stream_with(&hub, &json!({ "include_usage": true })).await;
    assert_eq!(upstream.asked()[1].body["stream_options"]["include_usage"], true);
}

#[tokio::test]
async fn other_options_of_a_stream_go_on_to_the_upstream() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    for usage in [Value::Null, json!(true), json!(false)] {
        let options = json!({ "include_usage": usage, "include_obfuscation": false });
        stream_with(&hub, &options).await;
        let asked = upstream.asked().pop().unwrap().body;
        assert_eq!(asked["stream_options"]["include_obfuscation"], false, "{options}");
    }
}

#[tokio::test]
async fn an_upstream_that_refuses_to_be_asked_for_usage_is_asked_once_more_without() {
    for (code, refusal) in refusals() {
        let refuses = status(code, "", &refusal.to_string());
        let upstream = Upstream::start(vec![refuses, answer(&["a"])]).await;
        let (hub, _folder) = upstream.hub(&[]).await;
        let events = whole(&hub, &begun(&hub).await).await;
        assert_eq!((text(&events).as_str(), &end(&events)["type"]), ("a", &json!("done")));
        let asked = upstream.asked();
        assert_eq!(asked.len(), 2);
        assert_eq!(asked[0].body["stream_options"]["include_usage"], true);
        assert_eq!(asked[1].body.get("stream_options"), None, "{refusal}");
    }
}

#[tokio::test]
async fn a_refusal_that_is_not_for_usage_is_not_repeated() {
    let message = json!({ "error": { "message": "no", "param": "messages" } }).to_string();
    let upstream = Upstream::start(vec![status(400, "", &message), answer(&["a"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    assert_eq!(post(&hub, &ask(true), &[]).await.0, 400);
    assert_eq!(upstream.asked().len(), 1);
    // Nor one that says it again where nothing was asked for.
    let (code, refusal) = refusals().remove(0);
    let upstream = Upstream::start(vec![status(code, "", &refusal.to_string())]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    assert_eq!(post(&hub, &ask(true), &[]).await.0, 400);
    assert_eq!(upstream.asked().len(), 2);
}

#[tokio::test]
async fn an_upstream_that_is_never_to_be_asked_for_usage_is_not() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (hub, _folder) = hub_with(&upstream, "never").await;
    let events = stream_with(&hub, &json!({ "include_usage": true })).await;
    assert_eq!(upstream.asked()[0].body.get("stream_options"), None);
    let last = events.len() - 2;
    assert_eq!(said(&events[..last]).0, "a");
    assert!(has_usage(&events), "what the hub knows or estimates, as the client asked for it");
    stream_with(&hub, &json!({ "include_obfuscation": false })).await;
    let others = json!({ "include_obfuscation": false });
    assert_eq!(upstream.asked()[1].body["stream_options"], others);
}

#[tokio::test]
async fn an_upstream_that_is_always_to_be_asked_for_usage_is_and_not_once_more_without() {
    let (code, refusal) = refusals().remove(0);
    let refuses = status(code, "", &refusal.to_string());
    let upstream = Upstream::start(vec![answer(&["a"]), refuses, answer(&["b"])]).await;
    let (hub, _folder) = hub_with(&upstream, "always").await;
    let events = stream_with(&hub, &json!({ "include_usage": false })).await;
    assert!(!has_usage(&events), "the client does not want it");
    assert_eq!(upstream.asked()[0].body["stream_options"]["include_usage"], true);
    assert_eq!(post(&hub, &ask(true), &[]).await.0, 400);
    assert_eq!(upstream.asked().len(), 2);
}
