//! Server-Sent Events: one block per entry (WHATWG HTML §9.2.5 and §9.2.6).
//!
//! Lines end in LF; data is split on CRLF, CR and LF, because a bare CR ends a line for a client
//! too; `id:` is in the block of its event and never alone. Data that is no text is base64, which the line
//! `encoding: base64` says: clients ignore lines that they do not know.

use super::envelope::{BASE64, Envelope};
use super::view::{Format, View};
use crate::event::{Body, Entry, EventId, Interest};

/// A heartbeat: one comment line and no blank line. As a block of its own it would make
/// httpx-sse and fetch-event-source emit an empty message once an id has been seen.
pub(super) const COMMENT: &[u8] = b":\n";

/// Appends the block of `entry`, whose id is `id`; an end only if the view has control events.
pub(super) fn entry(
    out: &mut Vec<u8>,
    id: EventId,
    entry: &Entry,
    view: &View,
    reader: Option<&Interest>,
) {
    match &entry.body {
        Body::End(reason) if view.has_control() => {
            super::control::end(out, Format::Sse, id, entry, *reason);
        }
        Body::Created | Body::End(_) => {}
        Body::Event { kind, payload } => {
            if !kind.is_default() && !view.without_types {
                line(out, b"event: ", kind.as_str().as_bytes());
            }
            line(out, b"id: ", &id.text());
            if view.envelope {
                let envelope = Envelope::of(entry, kind.as_str(), payload, reader);
                data(out, &super::control::json(&envelope));
            } else {
                if payload.is_binary() {
                    line(out, b"encoding: ", BASE64.as_bytes());
                }
                data(out, &payload.as_utf8());
            }
            out.push(b'\n');
        }
    }
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
    use super::super::tests::example;
    use super::*;
    use crate::event::Epoch;

    fn plain() -> View {
        View::default()
    }

    fn enveloped() -> View {
        View { envelope: true, ..View::default() }
    }

    fn encode(streams: &[&str], kind: &str, text: &str, view: View) -> String {
        let event = example(streams, kind, text);
        let mut out = Vec::new();
        entry(&mut out, EventId { epoch: Epoch(0), position: event.position }, &event, &view, None);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn data_is_split_on_every_line_ending() {
        assert_eq!(
            encode(&["a"], "message", "1\n2\r\n3\r4\n\n5\u{2028}\u{0}\n", plain()),
            "id: 00000000-0000000000001000\ndata: 1\ndata: 2\ndata: 3\ndata: 4\ndata: \ndata: 5\u{2028}\u{0}\ndata: \n\n"
        );
        assert_eq!(
            encode(&["a"], "x", "", plain()),
            "event: x\nid: 00000000-0000000000001000\ndata: \n\n"
        );
    }

    #[test]
    fn envelope_names_the_streams_of_an_event() {
        assert_eq!(
            encode(&["a", "b"], "x", "[1.0, 2]", enveloped()),
            "event: x\nid: 00000000-0000000000001000\ndata: {\"stream\":[\"a\",\"b\"],\"type\":\"x\",\"time\":\"1970-01-01T00:00:01.000Z\",\"data\":[1.0,2]}\n\n"
        );
        let untyped = View { without_types: true, ..enveloped() };
        assert_eq!(
            encode(&["a"], "x", "1", untyped),
            "id: 00000000-0000000000001000\ndata: {\"stream\":\"a\",\"type\":\"x\",\"time\":\"1970-01-01T00:00:01.000Z\",\"data\":1}\n\n"
        );
        assert!(encode(&["a"], "x", "l\nm", enveloped()).contains(r#""stream":"a""#));
        assert!(encode(&["a"], "x", "l\nm", enveloped()).contains(r#""data":"l\nm""#));
    }
}
