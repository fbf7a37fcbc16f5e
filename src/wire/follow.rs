//! Server-Sent Events of the Durable Streams protocol: an event `data` with messages, and after it an event
//! `control` with the offset of what follows.
//!
//! Lines have no space after `data:`, as the protocol spells them. A space at the begin of a line of data needs
//! another one, because parsers remove one (WHATWG HTML §9.2.6).

use super::control::json;
use super::sse::line;
use crate::event::durable::ContentType;
use crate::event::{Entry, EventId, Payload, PayloadKind, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::borrow::Cow;

/// Begin of the first interval of cursors: 2024-10-09T00:00:00Z.
const CURSOR_EPOCH_MS: u64 = 1_728_432_000_000;
/// Length of an interval.
const CURSOR_INTERVAL_MS: u64 = 20_000;

/// Form of the messages of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MessageForm {
    /// JSON values, in arrays.
    Json,
    /// Text.
    Text,
    /// Bytes, which Server-Sent Events have as base64.
    Binary,
}

impl MessageForm {
    /// Returns the form of a content type.
    pub fn of(content_type: &ContentType) -> Self {
        match content_type {
            json if json.is_json() => Self::Json,
            text if text.is_text() => Self::Text,
            _ => Self::Binary,
        }
    }

    /// Returns the data of an event as a message of this form. Events of other publishers may have other data: a
    /// text is a string among JSON values, and bytes are one in base64.
    pub fn message(self, payload: &Payload) -> Cow<'_, [u8]> {
        match (self, payload.kind()) {
            (Self::Json, PayloadKind::Text | PayloadKind::Binary) => {
                let text = payload.as_utf8();
                Cow::Owned(json(&String::from_utf8_lossy(&text)))
            }
            _ => Cow::Borrowed(payload.as_bytes()),
        }
    }
}

/// View of a reader that follows a stream by this protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowView {
    /// Form of the messages.
    pub form: MessageForm,
    /// Cursor of the request: later ones are greater.
    pub cursor: Option<u64>,
}

impl FollowView {
    /// Returns the cursor at a time: the number of the interval, or more if the client has that already.
    pub fn cursor(&self, now: Timestamp) -> u64 {
        let current = interval(now);
        match self.cursor {
            Some(seen) if seen >= current => seen.saturating_add(1),
            _ => current,
        }
    }
}

/// Returns true if a cursor is current or ahead, by at most a day. Readers with other cursors are all served alike.
pub fn is_plausible_cursor(cursor: u64, now: Timestamp) -> bool {
    /// Number of intervals of a day.
    const DAY: u64 = 24 * 60 * 60 * 1_000 / CURSOR_INTERVAL_MS;
    let current = interval(now);
    (current..=current.saturating_add(DAY)).contains(&cursor)
}

fn interval(now: Timestamp) -> u64 {
    now.ms().saturating_sub(CURSOR_EPOCH_MS) / CURSOR_INTERVAL_MS
}

/// Text of an offset: epoch and position in hexadecimal, so that offsets sort as text.
pub fn offset(id: EventId) -> String {
    format!("{:016x}_{:016x}", id.epoch.0, id.position.get())
}

/// State of a stream after what was sent.
#[derive(Clone, Copy, Debug)]
pub struct FollowState {
    /// Position up to which everything was sent.
    pub next: EventId,
    /// True if there was no more at that time.
    pub is_up_to_date: bool,
    /// True if the stream is closed at `next`.
    pub is_closed: bool,
}

/// Appends the event `control`.
pub fn follow_control(out: &mut Vec<u8>, view: &FollowView, state: &FollowState, now: Timestamp) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Control {
        stream_next_offset: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        stream_cursor: Option<String>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        up_to_date: bool,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        stream_closed: bool,
    }
    let control = Control {
        stream_next_offset: offset(state.next),
        stream_cursor: (!state.is_closed).then(|| view.cursor(now).to_string()),
        up_to_date: state.is_up_to_date,
        stream_closed: state.is_closed,
    };
    line(out, b"event: ", b"control");
    line(out, b"data:", &json(&control));
    out.push(b'\n');
}

/// Appends the event `data` of an entry; only events have one.
pub(super) fn entry(out: &mut Vec<u8>, entry: &Entry, view: &FollowView) {
    let crate::event::Body::Event { payload, .. } = &entry.body else { return };
    line(out, b"event: ", b"data");
    match view.form {
        MessageForm::Json => {
            out.extend_from_slice(b"data:[");
            out.extend_from_slice(&view.form.message(payload));
            line(out, b"]", b"");
        }
        MessageForm::Text => data(out, String::from_utf8_lossy(payload.as_bytes()).as_bytes()),
        MessageForm::Binary => line(out, b"data:", STANDARD.encode(payload.as_bytes()).as_bytes()),
    }
    out.push(b'\n');
}

fn data(out: &mut Vec<u8>, text: &[u8]) {
    let write = |out: &mut Vec<u8>, text: &[u8]| {
        let field: &[u8] = if text.starts_with(b" ") { b"data: " } else { b"data:" };
        line(out, field, text);
    };
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        write(out, &rest[..at]);
        let ending = if rest[at..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[at + ending..];
    }
    write(out, rest);
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;
    use crate::event::{Body, Epoch, Position};
    use bytes::Bytes;

    fn written(form: MessageForm, payload: Payload) -> String {
        let mut event = example(&["a"], "message", "x");
        event.body = Body::Event { kind: crate::event::EventType::default(), payload };
        let mut out = Vec::new();
        entry(&mut out, &event, &FollowView { form, cursor: None });
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn data_has_the_form_of_the_stream() {
        let (text, json) = (Payload::text(" a\r\n b\"\rc"), Payload::text("[1]"));
        assert_eq!(
            written(MessageForm::Text, text.clone()),
            "event: data\ndata:  a\ndata:  b\"\ndata:c\n\n"
        );
        assert_eq!(
            written(MessageForm::Json, text.clone()),
            "event: data\ndata:[\" a\\r\\n b\\\"\\rc\"]\n\n"
        );
        assert_eq!(written(MessageForm::Json, json), "event: data\ndata:[\"[1]\"]\n\n");
        let bytes = Payload::bytes(Bytes::from_static(b"\xff\0"), true);
        assert_eq!(written(MessageForm::Binary, bytes.clone()), "event: data\ndata:/wA=\n\n");
        assert_eq!(written(MessageForm::Json, bytes), "event: data\ndata:[\"/wA=\"]\n\n");
        assert_eq!(written(MessageForm::Binary, Payload::text("a")), "event: data\ndata:YQ==\n\n");
    }

    #[test]
    fn cursors_are_intervals_and_pass_those_of_clients() {
        let at = |ms| Timestamp::from_ms(CURSOR_EPOCH_MS + ms);
        let view = |cursor| FollowView { form: MessageForm::Text, cursor };
        assert_eq!(view(None).cursor(at(19_999)), 0);
        assert_eq!(view(Some(2)).cursor(at(60_000)), 3);
        assert_eq!(view(Some(3)).cursor(at(60_000)), 4);
        assert_eq!(view(Some(9)).cursor(at(60_000)), 10);
        assert_eq!(view(None).cursor(Timestamp::from_ms(0)), 0);
        assert_eq!(view(Some(u64::MAX)).cursor(at(0)), u64::MAX);
    }

    #[test]
    fn control_has_no_cursor_once_the_stream_is_closed() {
        let next = EventId { epoch: Epoch(1), position: Position::of(1, 2) };
        let view = FollowView { form: MessageForm::Text, cursor: Some(5) };
        let write = |is_up_to_date, is_closed| {
            let mut out = Vec::new();
            let state = FollowState { next, is_up_to_date, is_closed };
            follow_control(&mut out, &view, &state, Timestamp::from_ms(0));
            String::from_utf8(out).expect("UTF-8")
        };
        assert_eq!(
            write(false, false),
            "event: control\ndata:{\"streamNextOffset\":\"0000000000000001_0000000000001002\",\"streamCursor\":\"6\"}\n\n"
        );
        assert_eq!(
            write(true, true),
            "event: control\ndata:{\"streamNextOffset\":\"0000000000000001_0000000000001002\",\"upToDate\":true,\"streamClosed\":true}\n\n"
        );
    }
}
