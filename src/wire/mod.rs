//! Wire formats of events, control events and publishes.
//!
//! Promises: every client parses the output the same way (WHATWG HTML §9.2.6); input becomes a
//! checked [`Draft`](crate::event::Draft) or an error that names the place; the field names of the
//! formats are defined here and nowhere else.
//! Never: does I/O, or uses actix.

mod body;
#[cfg(feature = "chat")]
pub mod chat;
mod chunk;
mod control;
mod csv;
mod envelope;
#[cfg(feature = "durable-streams")]
mod follow;
mod lines;
#[cfg(feature = "chat")]
mod record;
mod reply;
mod sse;
mod sse_decoder;
#[cfg(feature = "mercure")]
mod updates;
mod view;

pub use body::{BodyError, MAX_EVENTS_PER_BODY, Publish, read_json, read_log, read_ndjson};
pub use chunk::{LAST_CHUNK, chunk};
pub use control::{
    Gap, Narrowed, Opening, Resume, heartbeat, hub_error, hub_gap, hub_notice, hub_open, retry,
};
pub use csv::{Columns, header};
#[cfg(feature = "durable-streams")]
pub use follow::{
    FollowState, FollowView, MessageForm, follow_control, is_plausible_cursor, offset,
};
pub use reply::{end_receipt, receipt, receipts, summary};
pub use sse_decoder::{SseDecoder, SseEvent, SseFrame, TooLarge};
pub use view::{Format, View};

use crate::event::{Entry, EventId, Interest};

/// Appends `entry`, whose id is `id`, in the format of `view`. A format that names streams names
/// those that `reader` may read, or all without a reader.
pub fn entry(
    out: &mut Vec<u8>,
    id: EventId,
    entry: &Entry,
    view: &View,
    reader: Option<&Interest>,
) {
    #[cfg(feature = "mercure")]
    let as_json = if view.format == Format::Updates { None } else { updates::as_json(entry) };
    #[cfg(feature = "mercure")]
    let entry = as_json.as_ref().unwrap_or(entry);
    match view.format {
        Format::Sse => sse::entry(out, id, entry, view, reader),
        Format::Ndjson => lines::ndjson(out, id, entry, view.has_control(), reader),
        Format::Text => lines::text(out, entry),
        #[cfg(feature = "chat")]
        Format::Records => record::entry(out, id, entry, view),
        #[cfg(feature = "mercure")]
        Format::Updates => updates::entry(out, id, entry),
        #[cfg(feature = "durable-streams")]
        Format::Follow => {
            if let Some(follow) = &view.follow {
                follow::entry(out, entry, follow);
            }
        }
        Format::Csv => {
            if let Some(columns) = &view.columns {
                let table = csv::Table { columns, style: view.style() };
                csv::entry(out, id, entry, table, reader);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Body, Draft, Epoch, EventType, Position, StreamName, Timestamp};
    use serde_json::value::RawValue;

    /// Returns an event at the first position of batch 1, one second after 1970 began.
    pub(super) fn example(streams: &[&str], kind: &str, text: &str) -> Entry {
        let streams: Vec<_> = streams.iter().map(|s| StreamName::parse(s).expect("name")).collect();
        let kind = EventType::parse(kind).expect("a type");
        let now = Timestamp::from_ms(1_000);
        let draft = match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => Draft::from_json(streams, kind, raw, now),
            Err(_) => Draft::from_text(streams, kind, text, now),
        }
        .expect("a draft");
        let body = Body::Event { kind: draft.kind().clone(), payload: draft.payload().clone() };
        let position = Position::of(1, 0);
        Entry { position, time: now, streams: draft.streams().into(), body }
    }

    fn encode(format: Format, event: &Entry) -> String {
        let view = View { format, ..View::default() };
        let mut out = Vec::new();
        entry(&mut out, EventId { epoch: Epoch(0), position: event.position }, event, &view, None);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn ndjson_line_has_id_streams_type_time_and_data() {
        assert_eq!(
            encode(Format::Ndjson, &example(&["a", "b"], "x", "{\"n\": 1.0}")),
            "{\"id\":\"00000000-0000000000001000\",\"stream\":[\"a\",\"b\"],\"type\":\"x\",\"time\":\"1970-01-01T00:00:01.000Z\",\"data\":{\"n\":1.0}}\n"
        );
        let line = encode(Format::Ndjson, &example(&["a"], "message", "l\r\nm"));
        assert!(line.ends_with("\"data\":\"l\\r\\nm\"}\n"), "{line}");
    }

    #[test]
    fn text_format_has_the_data_on_one_line() {
        assert_eq!(encode(Format::Text, &example(&["a"], "x", "l\r\nm\n")), "l\\r\\nm\\n\n");
        assert_eq!(
            encode(Format::Text, &example(&["a"], "x", "{\"n\": [1, 2]}")),
            "{\"n\":[1,2]}\n"
        );
        assert_eq!(encode(Format::Text, &example(&["a"], "x", "")), "\n");
    }

    #[test]
    fn stream_end_is_a_line_of_ndjson_and_not_of_text() {
        let body = Body::End(crate::event::EndReason::Ended);
        let event = Entry { body, ..example(&["a"], "x", "") };
        assert_eq!(
            encode(Format::Ndjson, &event),
            "{\"id\":\"00000000-0000000000001000\",\"type\":\"hub-end\",\"data\":{\"stream\":\"a\",\"reason\":\"ended\"}}\n"
        );
        assert_eq!(encode(Format::Text, &event), "");
    }

    #[test]
    fn heartbeat_cannot_be_taken_for_an_event() {
        let beat = |format, as_event| {
            let mut out = Vec::new();
            let view = View { format, ..View::default() };
            super::heartbeat(&mut out, &view, as_event, Timestamp::from_ms(0));
            String::from_utf8(out).expect("UTF-8")
        };
        assert_eq!(beat(Format::Sse, false), ":\n");
        assert_eq!(beat(Format::Ndjson, false), "\n");
        assert_eq!(beat(Format::Text, false) + &beat(Format::Text, true), "");
        assert_eq!(
            beat(Format::Sse, true),
            "event: heartbeat\ndata: {\"source\":\"fanfare\",\"timestamp\":\"1970-01-01T00:00:00.000Z\"}\n\n",
            "it carries no id"
        );
    }
}
