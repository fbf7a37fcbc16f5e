//! Server-Sent Events: one block an entry (WHATWG HTML §9.2.5 and §9.2.6).
//!
//! Lines end in LF; data is split on CRLF, CR and LF, because a bare CR ends a line for a client
//! too; `id:` stands in the block of its event and never alone.

use crate::event::{Body, Entry, EventId, Interest, StreamName, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

/// A heartbeat: one comment line and no blank line. As a block of its own it would make
/// httpx-sse and fetch-event-source emit an empty message once an id has been seen.
pub const COMMENT: &[u8] = b":\n";

/// How a subscriber wants its events spelled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct View {
    /// Data as `{"stream","type","time","data"}`, for a client of several streams.
    pub envelope: bool,
    /// Without the hub's own control events.
    pub control_off: bool,
}

/// Appends the block of `entry`, whose id is `id`. An envelope names those of its streams that
/// `reader` is sent, and all where nobody in particular reads.
pub fn entry(out: &mut Vec<u8>, id: EventId, entry: &Entry, view: View, reader: Option<&Interest>) {
    match &entry.body {
        Body::End(_) if view.control_off => {}
        Body::End(reason) => {
            let stream = entry.streams.first().map(|s| s.as_str()).unwrap_or_default();
            let end = End { stream, reason: reason.as_str() };
            super::control::block(out, "hub-end", Some(id), &end);
        }
        Body::Event { kind, payload } => {
            if !kind.is_default() {
                line(out, b"event: ", kind.as_str().as_bytes());
            }
            line(out, b"id: ", &id.text());
            match view.envelope {
                false => data(out, payload.as_bytes()),
                true => data(out, &enveloped(entry, kind.as_str(), payload, reader)),
            }
            out.push(b'\n');
        }
    }
}

/// Appends a `retry:` line, which belongs to the block that follows.
pub fn retry(out: &mut Vec<u8>, retry_ms: u64) {
    line(out, b"retry: ", retry_ms.to_string().as_bytes());
}

/// Appends a heartbeat that a page can see; it carries no id, so it moves no client's place.
pub fn heartbeat(out: &mut Vec<u8>, now: Timestamp) {
    let beat = Heartbeat { source: "fanfare", timestamp: now.to_string() };
    super::control::block(out, "heartbeat", None, &beat);
}

#[derive(Serialize)]
struct End<'a> {
    stream: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct Heartbeat<'a> {
    source: &'a str,
    timestamp: String,
}

#[derive(Serialize)]
struct Envelope<'a> {
    stream: Names<'a>,
    r#type: &'a str,
    time: String,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Names<'a> {
    One(&'a str),
    Several(Vec<&'a str>),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Json(&'a RawValue),
    Text(std::borrow::Cow<'a, str>),
}

fn enveloped(
    entry: &Entry,
    kind: &str,
    payload: &crate::event::Payload,
    reader: Option<&Interest>,
) -> Vec<u8> {
    let text = String::from_utf8_lossy(payload.as_bytes());
    let raw: Option<&RawValue> =
        if payload.is_json() { serde_json::from_str(&text).ok() } else { None };
    let is_told = |name: &&StreamName| reader.is_none_or(|reader| reader.selects(name));
    let names: Vec<&str> = entry.streams.iter().filter(is_told).map(|name| name.as_str()).collect();
    let stream = match names[..] {
        [one] => Names::One(one),
        _ => Names::Several(names),
    };
    let data = match raw {
        Some(json) => Data::Json(json),
        None => Data::Text(text.clone()),
    };
    let envelope = Envelope { stream, r#type: kind, time: entry.time.to_string(), data };
    super::control::json(&envelope)
}

pub(super) fn line(out: &mut Vec<u8>, field: &[u8], value: &[u8]) {
    out.extend_from_slice(field);
    out.extend_from_slice(value);
    out.push(b'\n');
}

pub(super) fn data(out: &mut Vec<u8>, payload: &[u8]) {
    let mut rest = payload;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        line(out, b"data: ", &rest[..at]);
        let ending = if rest[at..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[at + ending..];
    }
    line(out, b"data: ", rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Draft, Epoch, EventType, Position};

    const PLAIN: View = View { envelope: false, control_off: false };
    const ENVELOPE: View = View { envelope: true, control_off: false };

    fn spelled(streams: &[&str], kind: &str, text: &str, view: View) -> String {
        let streams: Vec<_> = streams.iter().map(|s| StreamName::parse(s).expect("name")).collect();
        let kind = EventType::parse(kind).expect("a type");
        let now = Timestamp::from_ms(1_000);
        let draft = match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => Draft::from_json(streams, kind, raw, now),
            Err(_) => Draft::from_text(streams, kind, text, now),
        }
        .expect("a draft");
        let position = Position::of(1, 0);
        let body = Body::Event { kind: draft.kind().clone(), payload: draft.payload().clone() };
        let it = Entry { position, time: now, streams: draft.streams().into(), body };
        let mut out = Vec::new();
        entry(&mut out, EventId { epoch: Epoch(0), position }, &it, view, None);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn data_is_split_on_every_line_ending_that_a_client_knows() {
        assert_eq!(
            spelled(&["a"], "message", "1\n2\r\n3\r4\n\n5\u{2028}\u{0}\n", PLAIN),
            "id: 00000000-0000000000001000\ndata: 1\ndata: 2\ndata: 3\ndata: 4\ndata: \ndata: 5\u{2028}\u{0}\ndata: \n\n"
        );
        assert_eq!(
            spelled(&["a"], "x", "", PLAIN),
            "event: x\nid: 00000000-0000000000001000\ndata: \n\n"
        );
    }

    #[test]
    fn an_envelope_says_where_an_event_comes_from() {
        assert_eq!(
            spelled(&["a", "b"], "x", "[1.0, 2]", ENVELOPE),
            "event: x\nid: 00000000-0000000000001000\ndata: {\"stream\":[\"a\",\"b\"],\"type\":\"x\",\"time\":\"1970-01-01T00:00:01.000Z\",\"data\":[1.0,2]}\n\n"
        );
        assert!(spelled(&["a"], "x", "l\nm", ENVELOPE).contains(r#""stream":"a""#));
        assert!(spelled(&["a"], "x", "l\nm", ENVELOPE).contains(r#""data":"l\nm""#));
    }

    #[test]
    fn a_heartbeat_event_carries_no_id() {
        let mut out = Vec::new();
        heartbeat(&mut out, Timestamp::from_ms(0));
        assert_eq!(
            out,
            b"event: heartbeat\ndata: {\"source\":\"fanfare\",\"timestamp\":\"1970-01-01T00:00:00.000Z\"}\n\n"
        );
    }
}
