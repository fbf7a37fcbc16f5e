//! The hub's own control events, `hub-…`: the result of a resume, a gap, a refusal.
//!
//! They are never named `open` or `error`: in a browser those collide with EventSource's own. The
//! id of `hub-open` and `hub-gap` is the position *before* the events that follow, so that a client
//! that drops right after them resumes there.

#[cfg(feature = "chat")]
use super::record;
use super::sse::{self, line};
use super::view::{Format, View};
use crate::event::{EndReason, Entry, EventId, Selector, Timestamp};
use serde::Serialize;
use uuid::Uuid;

/// Result of a resume.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resume {
    /// The request had no id.
    Live,
    /// Everything after the requested id follows.
    Resumed,
    /// Events after the requested id were, or may have been, removed; replay starts at the oldest
    /// stored event.
    Gap,
    /// The id is unknown here; replay starts at the oldest stored event.
    Reset,
}

impl Resume {
    /// Returns the name that clients see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Resumed => "resumed",
            Self::Gap => "gap",
            Self::Reset => "reset",
        }
    }
}

/// Gap between a subscriber's position and the first stored event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// Number of missed events, if it is known.
    pub missed: Option<u64>,
    /// First event that follows, if one is stored.
    pub first: Option<EventId>,
}

/// Start of a session: the data of `hub-open`.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// Id of the session in logs and admin views.
    pub session: Uuid,
    /// Result of the resume.
    pub resume: Resume,
    /// Requested id, as the client sent it.
    pub requested: Option<&'a str>,
    /// Position before the first event that follows.
    pub from: EventId,
    /// Gap, with [`Resume::Gap`].
    pub gap: Option<Gap>,
    /// Selectors, if not all that was requested is granted.
    pub narrowed: Option<Narrowed<'a>>,
}

/// Selectors of a subscription to more than is granted.
#[derive(Clone, Copy, Debug)]
pub struct Narrowed<'a> {
    /// Selectors that the session reads.
    pub granted: &'a [Selector],
    /// Requested selectors that are not granted, or only in part.
    pub denied: &'a [Selector],
}

/// Appends the first block of a session.
pub fn hub_open(out: &mut Vec<u8>, format: Format, retry_ms: u64, opening: &Opening<'_>) {
    #[derive(Serialize)]
    struct Data<'a> {
        session: Uuid,
        resume: Resume,
        requested: Option<&'a str>,
        from: String,
        #[serde(flatten)]
        gap: Option<Missing>,
        #[serde(skip_serializing_if = "Option::is_none")]
        granted: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        denied: Option<Vec<String>>,
    }
    let texts = |selectors: &[Selector]| selectors.iter().map(ToString::to_string).collect();
    retry(out, format, retry_ms);
    let data = Data {
        session: opening.session,
        resume: opening.resume,
        requested: opening.requested,
        from: opening.from.to_string(),
        gap: opening.gap.map(Missing::from),
        granted: opening.narrowed.map(|narrowed| texts(narrowed.granted)),
        denied: opening.narrowed.map(|narrowed| texts(narrowed.denied)),
    };
    write_control(out, format, "hub-open", Some(opening.from), &data);
}

/// Appends the time to wait before a reconnect, in milliseconds. For Server-Sent Events it is a
/// line that belongs to the block that follows; lines, plain text and tables have none.
pub fn retry(out: &mut Vec<u8>, format: Format, retry_ms: u64) {
    match format {
        Format::Sse => line(out, b"retry: ", retry_ms.to_string().as_bytes()),
        #[cfg(feature = "mercure")]
        Format::Updates => line(out, b"retry: ", retry_ms.to_string().as_bytes()),
        Format::Ndjson | Format::Text | Format::Csv => {}
        #[cfg(feature = "durable-streams")]
        Format::Follow => {}
        #[cfg(feature = "chat")]
        Format::Records => record::retry(out, retry_ms),
    }
}

/// Appends the notice that retention overtook a session; `from` is the position before the next
/// event.
pub fn hub_gap(out: &mut Vec<u8>, format: Format, from: EventId, gap: Gap) {
    write_control(out, format, "hub-gap", Some(from), &Missing::from(gap));
}

/// Appends a refusal, or the reason for which a session ends. A browser's EventSource survives it:
/// it reads `retry` and reconnects. `limit` is the limit that was reached, if there is one. Readers of updates
/// get only the line `retry`, which no blank line follows, because some would take the block for a message.
pub fn hub_error(
    out: &mut Vec<u8>,
    format: Format,
    retry_ms: u64,
    code: &str,
    limit: Option<&str>,
) {
    #[derive(Serialize)]
    struct Data<'a> {
        code: &'a str,
        retry_ms: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<&'a str>,
    }
    retry(out, format, retry_ms);
    write_control(out, format, "hub-error", None, &Data { code, retry_ms, limit });
}

/// Appends a notice that announces `code` for the time `at`.
pub fn hub_notice(out: &mut Vec<u8>, format: Format, code: &str, at: Timestamp) {
    #[derive(Serialize)]
    struct Data<'a> {
        code: &'a str,
        at: String,
    }
    write_control(out, format, "hub-notice", None, &Data { code, at: at.to_string() });
}

#[derive(Serialize)]
struct Missing {
    missed: Option<u64>,
    first: Option<String>,
}

impl From<Gap> for Missing {
    fn from(gap: Gap) -> Self {
        Self { missed: gap.missed, first: gap.first.map(|id| id.to_string()) }
    }
}

/// Appends the notice that a stream has ended.
pub(super) fn end(
    out: &mut Vec<u8>,
    format: Format,
    id: EventId,
    entry: &Entry,
    reason: EndReason,
) {
    #[derive(Serialize)]
    struct Data<'a> {
        stream: &'a str,
        reason: &'a str,
    }
    let stream = entry.streams.first().map(|s| s.as_str()).unwrap_or_default();
    write_control(out, format, "hub-end", Some(id), &Data { stream, reason: reason.as_str() });
}

/// Appends a heartbeat: bytes that clients ignore, or an event that a page can see. It has no id,
/// so that it does not move a client's position. Plain text and tables have none, because readers
/// would take it for an event.
pub fn heartbeat(out: &mut Vec<u8>, view: &View, as_event: bool, now: Timestamp) {
    #[derive(Serialize)]
    struct Data<'a> {
        source: &'a str,
        timestamp: String,
    }
    match view.format {
        Format::Text | Format::Csv => {}
        #[cfg(feature = "mercure")]
        Format::Updates => out.extend_from_slice(sse::COMMENT),
        #[cfg(feature = "durable-streams")]
        Format::Follow => out.extend_from_slice(sse::COMMENT),
        format if as_event => {
            let data = Data { source: "fanfare", timestamp: now.to_string() };
            write_control(out, format, "heartbeat", None, &data);
        }
        Format::Sse => out.extend_from_slice(sse::COMMENT),
        Format::Ndjson => out.push(b'\n'),
        #[cfg(feature = "chat")]
        Format::Records => record::heartbeat(out),
    }
}

/// Appends a control event; plain text and tables have none.
fn write_control(
    out: &mut Vec<u8>,
    format: Format,
    kind: &str,
    id: Option<EventId>,
    data: &impl Serialize,
) {
    #[derive(Serialize)]
    struct Line<'a, T> {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        r#type: &'a str,
        data: &'a T,
    }
    match format {
        Format::Sse => block(out, kind, id, data),
        Format::Ndjson => {
            let id = id.map(|id| id.to_string());
            out.extend_from_slice(&json(&Line { id, r#type: kind, data }));
            out.push(b'\n');
        }
        Format::Text | Format::Csv => {}
        #[cfg(feature = "mercure")]
        Format::Updates => {}
        #[cfg(feature = "durable-streams")]
        Format::Follow => {}
        #[cfg(feature = "chat")]
        Format::Records => {
            let mut text = Vec::new();
            block(&mut text, kind, id, data);
            record::control(out, &text);
        }
    }
}

fn block(out: &mut Vec<u8>, kind: &str, id: Option<EventId>, data: &impl Serialize) {
    line(out, b"event: ", kind.as_bytes());
    if let Some(id) = id {
        line(out, b"id: ", &id.text());
    }
    line(out, b"data: ", &json(data));
    out.push(b'\n');
}

/// Returns `value` as JSON. The types of `wire` have string keys and finite numbers, so that this
/// cannot fail.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Position};

    #[test]
    fn hub_open_has_retry_and_the_position_as_id() {
        let from = EventId { epoch: Epoch(1), position: Position::of(0, 2) };
        let gap = Some(Gap { missed: None, first: Some(from) });
        let opening = Opening {
            session: Uuid::nil(),
            resume: Resume::Gap,
            requested: Some("x\"y"),
            from,
            gap,
            narrowed: None,
        };
        let mut out = Vec::new();
        hub_open(&mut out, Format::Sse, 3000, &opening);
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "retry: 3000\nevent: hub-open\nid: 00000001-0000000000000002\ndata: {\"session\":\"00000000-0000-0000-0000-000000000000\",\"resume\":\"gap\",\"requested\":\"x\\\"y\",\"from\":\"00000001-0000000000000002\",\"missed\":null,\"first\":\"00000001-0000000000000002\"}\n\n"
        );
    }

    #[test]
    fn hub_error_has_retry_and_no_id() {
        let mut out = Vec::new();
        hub_error(&mut out, Format::Sse, 4200, "resource_exhausted", Some("max_connections"));
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "retry: 4200\nevent: hub-error\ndata: {\"code\":\"resource_exhausted\",\"retry_ms\":4200,\"limit\":\"max_connections\"}\n\n"
        );
    }
}
