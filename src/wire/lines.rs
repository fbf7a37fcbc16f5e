//! Events as lines: JSON envelopes, or their data alone.
//!
//! A line of NDJSON has the id, so that its reader can resume like a reader of Server-Sent Events.
//! Plain text has only the data, with line breaks written as `\r` and `\n`.

use super::envelope::Envelope;
use crate::event::{Body, Entry, EventId, Interest, Payload};
use serde::Serialize;

/// Appends the line of `entry`, whose id is `id`; an end only if `has_control` is true.
pub(super) fn ndjson(
    out: &mut Vec<u8>,
    id: EventId,
    entry: &Entry,
    has_control: bool,
    reader: Option<&Interest>,
) {
    #[derive(Serialize)]
    struct Line<'a> {
        id: String,
        #[serde(flatten)]
        envelope: Envelope<'a>,
    }
    match &entry.body {
        Body::End(reason) if has_control => {
            super::control::end(out, super::Format::Ndjson, id, entry, *reason)
        }
        Body::Created | Body::End(_) => {}
        Body::Event { kind, payload } => {
            let envelope = Envelope::of(entry, kind.as_str(), payload, reader);
            out.extend_from_slice(&super::control::json(&Line { id: id.to_string(), envelope }));
            out.push(b'\n');
        }
    }
}

/// Appends the line of `entry`; an end has none.
pub(super) fn text(out: &mut Vec<u8>, entry: &Entry) {
    if let Body::Event { payload, .. } = &entry.body {
        data(out, payload);
        out.push(b'\n');
    }
}

fn data(out: &mut Vec<u8>, payload: &Payload) {
    for &byte in payload.as_utf8().iter() {
        match byte {
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\n' => out.extend_from_slice(b"\\n"),
            byte => out.push(byte),
        }
    }
}
