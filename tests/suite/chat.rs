//! Helpers for tests of chats.

use crate::hub::Hub;
use crate::reader::Event;
use crate::upstream::{Script, Step, done, head, part};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Notify;

pub const TEXT: &[&str] = &[
    "Once",
    " upon",
    " a ",
    "tïme\n",
    "\r\n",
    "there — ",
    "w\u{1f600}s",
    " ",
    "data: x\n\n",
    "end.",
];

/// Creates a chat; returns the status and the response.
pub async fn create_chat(hub: &Hub, body: Value, key: Option<&str>) -> (u16, Value) {
    let request = hub.http.post(hub.url("/chats")).body(body.to_string());
    let request = key.into_iter().fold(request, |r, key| r.header("Idempotency-Key", key));
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let is_replayed = response.headers().contains_key("idempotent-replayed");
    assert_eq!(is_replayed, status == 200);
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

pub async fn start_chat(hub: &Hub) -> Value {
    let (status, chat) = create_chat(hub, json!({ "message": "hi" }), None).await;
    assert_eq!(status, 201, "{chat}");
    chat
}

pub fn events_url(chat: &Value) -> &str {
    chat["events_url"].as_str().unwrap()
}

/// Returns all events of a chat, up to its end.
pub async fn all_events(hub: &Hub, chat: &Value) -> Vec<Value> {
    let mut reader = hub.subscribe(events_url(chat)).await;
    reader.rest().await.iter().filter(|event| !event.is_control()).map(Event::json).collect()
}

/// Returns the text of a chat, whose parts must be contiguous.
pub fn text(events: &[Value]) -> String {
    let mut text = String::new();
    for event in events.iter().filter(|event| event["type"] == "token") {
        let content = event["content"].as_str().unwrap();
        assert_eq!(event["index"], text.chars().count(), "a part is missing");
        assert_eq!(event["n"], content.chars().count());
        text.push_str(content);
    }
    text
}

pub fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// Returns the last event, which must be the only terminal one.
pub fn end(events: &[Value]) -> &Value {
    let is_end =
        |event: &&Value| ["done", "error", "cancelled"].contains(&event["type"].as_str().unwrap());
    assert_eq!(events.iter().filter(is_end).count(), 1, "{events:?}");
    events.last().filter(is_end).unwrap_or_else(|| panic!("the end is not last: {events:?}"))
}

pub async fn view(hub: &Hub, chat: &Value) -> Value {
    hub.get(&format!("/chats/{}", chat["id"].as_str().unwrap())).await.1
}

/// Returns a script that waits for `next` after each part.
pub fn stepwise_answer(parts: &[&str], next: &Arc<Notify>) -> Script {
    let parts = parts.iter().flat_map(|text| [part(text), Step::Until(next.clone())]);
    std::iter::once(head()).chain(parts).chain(done()).collect()
}
