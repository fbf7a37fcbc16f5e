//! What tests of chats share: one is begun, read, and looked at.

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

/// Begins a chat; what was answered.
pub async fn begin(hub: &Hub, body: Value, key: Option<&str>) -> (u16, Value) {
    let request = hub.http.post(hub.url("/chats")).body(body.to_string());
    let request = key.into_iter().fold(request, |r, key| r.header("Idempotency-Key", key));
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let is_replayed = answer.headers().contains_key("idempotent-replayed");
    assert_eq!(is_replayed, status == 200);
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

pub async fn begun(hub: &Hub) -> Value {
    let (status, chat) = begin(hub, json!({ "message": "hi" }), None).await;
    assert_eq!(status, 201, "{chat}");
    chat
}

pub fn events_url(chat: &Value) -> &str {
    chat["events_url"].as_str().unwrap()
}

/// Everything of a chat, to its end.
pub async fn whole(hub: &Hub, chat: &Value) -> Vec<Value> {
    let mut reader = hub.subscribe(events_url(chat)).await;
    reader.rest().await.iter().filter(|event| !event.is_control()).map(Event::json).collect()
}

/// The text, whose parts must follow each other.
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

/// The last event, which must be the only one that ends.
pub fn end(events: &[Value]) -> &Value {
    let is_end =
        |event: &&Value| ["done", "error", "cancelled"].contains(&event["type"].as_str().unwrap());
    assert_eq!(events.iter().filter(is_end).count(), 1, "{events:?}");
    events.last().filter(is_end).unwrap_or_else(|| panic!("it does not stand last: {events:?}"))
}

pub async fn view(hub: &Hub, chat: &Value) -> Value {
    hub.get(&format!("/chats/{}", chat["id"].as_str().unwrap())).await.1
}

/// A script that says a part whenever it is told to.
pub fn told(parts: &[&str], next: &Arc<Notify>) -> Script {
    let parts = parts.iter().flat_map(|text| [part(text), Step::Until(next.clone())]);
    std::iter::once(head()).chain(parts).chain(done()).collect()
}
