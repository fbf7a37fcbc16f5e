//! Updates as Server-Sent Events (Mercure protocol, "Subscription").
//!
//! No event of the hub is sent between updates: clients would show it, and its id would take the place of the last
//! update's.

use super::control::json;
use super::sse::{data, line};
use crate::event::topic::{GENERATED, Update};
use crate::event::{Body, Entry, EventId, Payload, PayloadKind};
use serde::Serialize;
use std::borrow::Cow;

/// Appends the block of an update, or of an event of another stream; an end has none.
pub(super) fn entry(out: &mut Vec<u8>, id: EventId, entry: &Entry) {
    let Body::Event { kind, payload } = &entry.body else { return };
    let update = Update::of(entry);
    let own_kind = (!kind.is_default()).then(|| kind.as_str());
    if let Some(kind) = update.map_or(own_kind, |update| update.kind) {
        line(out, b"event: ", kind.as_bytes());
    }
    match update.and_then(|update| update.id) {
        Some(id) => line(out, b"id: ", id.as_bytes()),
        None => {
            let mut generated = [GENERATED as u8; 1 + EventId::LEN];
            generated[1..].copy_from_slice(&id.text());
            line(out, b"id: ", &generated);
        }
    }
    if let Some(retry) = update.and_then(|update| update.retry) {
        line(out, b"retry: ", retry.as_bytes());
    }
    match update {
        Some(update) => data(out, update.data),
        None => data(out, &payload.as_utf8()),
    }
    out.push(b'\n');
}

/// Returns an update as an event with JSON data, for readers of its stream; `None` for other entries.
pub(super) fn as_json(entry: &Entry) -> Option<Entry> {
    #[derive(Serialize)]
    struct Data<'a> {
        topics: Vec<&'a str>,
        private: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        r#type: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry: Option<&'a str>,
        data: Cow<'a, str>,
    }
    let update = Update::of(entry)?;
    let Body::Event { kind, .. } = &entry.body else { return None };
    let data = Data {
        topics: update.topics().collect(),
        private: update.is_private,
        id: update.id,
        r#type: update.kind,
        retry: update.retry,
        data: String::from_utf8_lossy(update.data),
    };
    let payload = Payload::from_stored(json(&data).into(), PayloadKind::Json);
    Some(Entry { body: Body::Event { kind: kind.clone(), payload }, ..entry.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::topic::PublishedUpdate;
    use crate::event::{Epoch, Position, Timestamp};
    use url::Url;

    fn block(update: PublishedUpdate) -> String {
        let hub = Url::parse("https://hub.example/.well-known/mercure").expect("a URL");
        let time = Timestamp::from_ms(0);
        let draft = update.into_draft(&hub, time).expect("valid");
        let body = Body::Event { kind: draft.kind().clone(), payload: draft.payload().clone() };
        let position = Position::of(1, 0);
        let stored = Entry { position, time, streams: draft.streams().into(), body };
        let mut out = Vec::new();
        entry(&mut out, EventId { epoch: Epoch(7), position }, &stored);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_block_has_the_fields_of_the_publisher() {
        let topics = vec!["a".to_owned()];
        let plain = PublishedUpdate { topics, ..PublishedUpdate::default() };
        assert_eq!(block(plain.clone()), "id: #00000007-0000000000001000\ndata: \n\n");
        let full = PublishedUpdate {
            data: "1\r\n2\r3\nevent: x".to_owned(),
            id: Some("id-[\"x\"]".to_owned()),
            kind: Some("error".to_owned()),
            retry: Some("0500".to_owned()),
            ..plain
        };
        assert_eq!(
            block(full),
            "event: error\nid: id-[\"x\"]\nretry: 0500\ndata: 1\ndata: 2\ndata: 3\ndata: event: x\n\n"
        );
    }
}
