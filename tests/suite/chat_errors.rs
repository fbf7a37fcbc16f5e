//! Errors of upstreams reach clients unchanged and never look like a complete answer.

use crate::chat::{all_events, create_chat, end, events_url, start_chat, text};
use crate::completions::{chat_request, post, stream};
use crate::hub::Hub;
use crate::reader::{Event, Reader};
use crate::upstream::{Script, Step, Upstream, answer, event, head, part, send_text, status};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Notify;

/// The error by which clients recognize a prompt that is too long.
fn too_long() -> Value {
    json!({
        "message": "This model's maximum context length is 8192 tokens.",
        "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded",
    })
}

#[tokio::test]
async fn openai_clients_get_the_code_type_and_param_of_an_upstream_error() {
    let refused = status(400, "", &json!({ "error": too_long() }).to_string());
    let upstream = Upstream::start(vec![refused]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    for is_stream in [true, false] {
        let (status, _, body) = post(&hub, &chat_request(is_stream), &[]).await;
        assert_eq!((status, &body["error"]), (400, &too_long()));
    }
}

#[tokio::test]
async fn openai_clients_get_the_code_type_and_param_of_an_error_within_an_answer() {
    let next = Arc::new(Notify::new());
    let error = event(&json!({ "error": too_long() }));
    let script = vec![head(), part("a"), Step::Until(next.clone()), error];
    let upstream = Upstream::start(vec![script]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let mut reader = stream(&hub, &[]).await;
    next.notify_one();
    let events = reader.rest().await;
    assert_eq!(events.last().unwrap().json()["error"], too_long());
}

#[tokio::test]
async fn native_events_have_the_code_type_and_param_of_an_upstream_error() {
    let refused = status(400, "", &json!({ "error": too_long() }).to_string());
    let upstream = Upstream::start(vec![refused]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let events = all_events(&hub, &start_chat(&hub).await).await;
    let last = end(&events);
    // The hub's own code is kept too.
    assert_eq!((&last["code"], &last["upstream_status"]), (&json!("upstream_error"), &json!(400)));
    for (member, upstream_member) in
        [("upstream_code", "code"), ("upstream_type", "type"), ("upstream_param", "param")]
    {
        assert_eq!(last[member], too_long()[upstream_member], "{member}: {last}");
    }
}

#[tokio::test]
async fn upstream_errors_without_a_code_get_the_code_of_the_hub() {
    let upstream = Upstream::start(vec![status(400, "", r#"{"error":{"message":"no"}}"#)]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let (_, _, body) = post(&hub, &chat_request(true), &[]).await;
    assert_eq!(
        body["error"],
        json!({ "message": "no", "type": "upstream_error", "param": null, "code": "upstream_error" })
    );
}

#[tokio::test]
async fn a_finish_reason_of_a_failure_ends_a_chat_with_an_error() {
    for reason in ["error", "abort"] {
        let last_chunk =
            json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] });
        let script = vec![head(), part("a"), event(&last_chunk), send_text("data: [DONE]\n\n")];
        let upstream = Upstream::start(vec![script]).await;
        let (hub, _folder) = upstream.hub(&[]).await;
        let events = all_events(&hub, &start_chat(&hub).await).await;
        let last = end(&events);
        assert_eq!((&last["type"], &last["code"]), (&json!("error"), &json!("upstream_error")));
        assert_eq!((text(&events).as_str(), &last["partial"]), ("a", &json!(true)));
        let mut reader = stream(&hub, &[]).await;
        if reader.status == 200 {
            let events: Vec<Event> = reader.rest().await;
            assert!(events.iter().all(|event| event.data != "[DONE]"), "{events:?}");
            assert!(events.last().unwrap().json()["error"].is_object(), "{events:?}");
        }
        assert_eq!(post(&hub, &chat_request(false), &[]).await.0, 502);
    }
}

#[tokio::test]
async fn the_message_of_an_error_in_a_choice_is_kept() {
    let last_chunk = json!({ "choices": [{
        "index": 0, "delta": { "content": "" }, "finish_reason": "error",
        "error": { "code": 502, "message": "the provider is gone" },
    }] });
    let upstream = Upstream::start(vec![vec![head(), part("a"), event(&last_chunk)]]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let events = all_events(&hub, &start_chat(&hub).await).await;
    assert_eq!(end(&events)["message"], "the provider is gone", "{events:?}");
}

#[tokio::test]
async fn the_detail_of_a_422_is_shown() {
    for (detail, words) in [
        (
            json!([
                { "loc": ["body", "messages"], "msg": "field required", "type": "missing" },
                { "loc": ["body", "top_k"], "msg": "must be positive", "type": "value_error" },
            ]),
            &["messages", "field required", "top_k", "must be positive"][..],
        ),
        (json!({ "reason": "the model is not loaded" }), &["the model is not loaded"]),
        (json!("plain words"), &["plain words"]),
    ] {
        let refused = status(422, "", &json!({ "detail": detail }).to_string());
        let upstream = Upstream::start(vec![refused]).await;
        let (hub, _folder) = upstream.hub(&[]).await;
        let (status, _, body) = post(&hub, &chat_request(true), &[]).await;
        assert_eq!(status, 422, "{body}");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}

/// Encodes bytes as gzip, uncompressed.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    let shift = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    let next = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), shift);
    let crc = !bytes.iter().fold(!0, next);
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(bytes);
    out.extend(crc.to_le_bytes());
    out.extend(u32::from(length).to_le_bytes());
    out
}

/// Returns a gzip-encoded answer that the request did not ask for.
fn gzip_answer(status: &str, kind: &str, body: &[u8]) -> Script {
    let body = gzip(body);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Encoding: gzip\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    vec![send_text(head), Step::Send(body)]
}

#[tokio::test]
async fn unrequested_content_encodings_are_decoded_or_named() {
    let choice = json!({ "message": { "content": "a" }, "finish_reason": "stop" });
    let json_answer = json!({ "choices": [choice] }).to_string();
    let streamed = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n\
                    data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let refusal = json!({ "error": { "message": "a" } }).to_string();
    for (status, kind, body) in [
        ("200 OK", "application/json", json_answer.as_str()),
        ("200 OK", "text/event-stream", streamed),
        ("400 Bad Request", "application/json", &refusal),
    ] {
        let script = gzip_answer(status, kind, body.as_bytes());
        let upstream = Upstream::start(vec![script]).await;
        let (hub, _folder) = upstream.hub(&[]).await;
        let events = all_events(&hub, &start_chat(&hub).await).await;
        let message = end(&events)["message"].as_str().unwrap_or_default();
        let is_known = text(&events) == "a" || message == "a" || message.contains("gzip");
        assert!(is_known, "{status} {kind}: {events:?}");
    }
}

/// Returns the status of each request for a chat that is gone. A resume by `POST /chat` names only
/// an event, so it is a 410 whatever the hub remembers.
async fn statuses(hub: &Hub, chat: &Value, last_event: &str) -> Vec<(String, u16)> {
    let id = chat["id"].as_str().unwrap();
    let completion = format!("/v1/chat/completions/{id}");
    let mut statuses = Vec::new();
    for (method, path) in [
        (Method::GET, format!("/chats/{id}")),
        (Method::GET, format!("/chats/{id}/events")),
        (Method::GET, format!("/chats/{id}/events?from=start")),
        (Method::POST, format!("/chats/{id}/stop")),
        (Method::POST, format!("/chats/{id}/tickets")),
        (Method::DELETE, format!("/chats/{id}")),
        (Method::GET, completion.clone()),
        (Method::GET, format!("{completion}?stream=true")),
        (Method::GET, format!("{completion}?stream=true&starting_after=1")),
        (Method::POST, format!("{completion}/cancel")),
        (Method::GET, format!("/streams/chat.{id}/events?from=start&refusal=status")),
    ] {
        let response = hub.http.request(method.clone(), hub.url(&path)).send().await.unwrap();
        statuses.push((format!("{method} {path}").replace(id, "ID"), response.status().as_u16()));
    }
    let ticket = chat["ticket"].as_str().unwrap();
    let with_ticket = format!("/chats/{id}/events?ticket={ticket}");
    statuses.push(("with its ticket".into(), hub.subscribe(&with_ticket).await.status));
    let resumed = hub.resume(events_url(chat), last_event).await;
    statuses.push(("GET events, Last-Event-ID".into(), resumed.status));
    let headers = [("Last-Event-ID", last_event)];
    let body = r#"{"message":"hi"}"#;
    let posted = Reader::request(&hub.address, "POST /chat", &headers, body).await.unwrap();
    statuses.push(("POST /chat, Last-Event-ID".into(), posted.status));
    statuses
}

#[tokio::test]
async fn every_request_for_a_deleted_chat_is_a_410() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (mut hub, _folder) = upstream.hub(&[]).await;
    let (_, chat) = create_chat(&hub, json!({ "message": "hi" }), Some("k")).await;
    let mut reader = hub.subscribe(events_url(&chat)).await;
    reader.rest().await;
    let last_event = reader.last_id().to_owned();
    let url = hub.url(&format!("/chats/{}", chat["id"].as_str().unwrap()));
    assert_eq!(hub.http.delete(url).send().await.unwrap().status(), 204);
    for _ in 0..2 {
        let actual = statuses(&hub, &chat, &last_event).await;
        let unexpected: Vec<_> = actual.iter().filter(|(_, status)| *status != 410).collect();
        assert_eq!(unexpected, Vec::<&(String, u16)>::new());
        assert_eq!(create_chat(&hub, json!({ "message": "hi" }), Some("k")).await.0, 410, "by key");
        // After a restart the hub knows the chat only from its journal.
        hub.kill();
        hub.restart().await;
    }
}

#[tokio::test]
async fn requests_for_a_forgotten_chat_are_a_404() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (hub, _folder) = upstream.hub(&["--chat-kept", "1s"]).await;
    let (_, chat) = create_chat(&hub, json!({ "message": "hi" }), None).await;
    let mut reader = hub.subscribe(events_url(&chat)).await;
    reader.rest().await;
    let last_event = reader.last_id().to_owned();
    let path = format!("/chats/{}", chat["id"].as_str().unwrap());
    let started = std::time::Instant::now();
    while hub.get(&path).await.0 != 404 {
        assert!(started.elapsed() < crate::hub::TEST_TIMEOUT, "it is still known");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let actual = statuses(&hub, &chat, &last_event).await;
    let unexpected: Vec<_> = actual
        .iter()
        .filter(|(request, status)| *status != 404 && !request.starts_with("POST /chat,"))
        .collect();
    assert_eq!(unexpected, Vec::<&(String, u16)>::new());
}

#[tokio::test]
async fn a_chat_ticket_is_valid_for_the_requested_time() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = start_chat(&hub).await;
    let path = format!("/chats/{}/tickets", chat["id"].as_str().unwrap());
    let mut expiries = Vec::new();
    // Each explicit time is shorter than the default and than the one before it.
    for body in ["", "{}", r#"{"ttl":"30m"}"#, r#"{"ttl":"1m"}"#] {
        let (status, ticket) = hub.try_post(&path, body).await;
        assert_eq!(status, 200, "{body}: {ticket}");
        expiries.push(ticket["expires_at"].as_str().unwrap().to_owned());
    }
    assert!(expiries[1] > expiries[2] && expiries[2] > expiries[3], "{expiries:?}");
    let (_, short_lived) = hub.try_post(&path, r#"{"ttl":"1s"}"#).await;
    let url = format!("{}?ticket={}", events_url(&chat), short_lived["ticket"].as_str().unwrap());
    let started = std::time::Instant::now();
    while hub.subscribe(&url).await.status != 401 {
        assert!(started.elapsed() < crate::hub::TEST_TIMEOUT, "the ticket does not expire");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    for invalid in [r#"{"ttl":"0s"}"#, r#"{"ttl":"2h"}"#, r#"{"ttl":"soon"}"#] {
        let (status, problem) = hub.try_post(&path, invalid).await;
        assert_eq!((status, &problem["field"]), (422, &json!("ttl")), "{invalid}: {problem}");
    }
}
