//! Schemas of the bodies and queries of the API.
//!
//! `query.rs` and `wire/` read and write the bodies; `tests/clients/api.py` checks that they agree
//! with these schemas.

use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// Body of a subscription: the parameters of the query.
#[derive(ToSchema, Serialize)]
pub(crate) struct Subscription {
    /// Streams, or patterns of their names.
    stream: TextOrList,
    #[schema(nullable = false)]
    last_event_id: Option<String>,
    #[schema(nullable = false, minimum = 0, maximum = 10000)]
    last: Option<u64>,
    #[schema(nullable = false)]
    from: Option<String>,
    #[schema(nullable = false)]
    types: Option<TextOrList>,
    #[schema(nullable = false, inline)]
    format: Option<FormatShape>,
    #[schema(nullable = false)]
    columns: Option<TextOrList>,
    #[schema(nullable = false)]
    follow: Option<bool>,
    #[serde(rename = "as")]
    #[schema(nullable = false, inline)]
    form: Option<EventForm>,
    #[schema(nullable = false)]
    envelope: Option<bool>,
    #[schema(nullable = false)]
    escape_formulas: Option<bool>,
    #[schema(nullable = false)]
    heartbeat: Option<String>,
    #[schema(nullable = false, minimum = 1, maximum = 5_000)]
    flush_ms: Option<u64>,
    #[schema(nullable = false, minimum = 1, maximum = 262_144)]
    flush_bytes: Option<u64>,
    #[schema(nullable = false, inline)]
    heartbeat_as: Option<HeartbeatForm>,
    #[schema(nullable = false, inline)]
    control: Option<Control>,
    #[schema(nullable = false, inline)]
    refusal: Option<RefusalForm>,
}

/// Text, or a list of texts.
#[derive(ToSchema, Serialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what `query.rs` reads")]
enum TextOrList {
    One(String),
    Several(Vec<String>),
}

/// An event to publish.
#[derive(ToSchema, Serialize)]
#[schema(as = Event)]
pub(crate) struct EventShape {
    stream: Streams,
    /// Type, `message` by default; `log`, `metric` and `heartbeat` have a checked shape.
    #[schema(nullable = false, pattern = r"^(?!hub-|open$|error$)[^\x00-\x1f\x7f-\x9f]{1,64}$")]
    r#type: Option<String>,
    /// Any JSON value. A string is sent as its text.
    data: Value,
    /// Idempotency key. A second publish with the key within ten minutes publishes nothing and
    /// returns the id of the first one, unless the stream was deleted since.
    #[schema(nullable = false, min_length = 1, max_length = 128)]
    key: Option<String>,
}

/// A log message. Other members are kept. Unknown values may be `null`, as some loggers send them.
#[derive(ToSchema, Serialize)]
pub(crate) struct LogMessage {
    level: Level,
    message: String,
    module: Option<String>,
    function: Option<String>,
    #[schema(value_type = Option<f64>)]
    line: Option<u64>,
    fields: Option<BTreeMap<String, Value>>,
}

#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what `event/shape.rs` takes")]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

/// The name of a stream: 1 to 255 bytes, neither `.` nor `..`.
#[derive(ToSchema, Serialize)]
#[schema(pattern = r"^[^\s*\x00-\x1f\x7f-\x9f]{1,255}$")]
struct Name(String);

/// A name, or 1 to 16 names.
#[derive(ToSchema, Serialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what `wire/` spells")]
enum Streams {
    One(Name),
    Several(Vec<Name>),
}

/// An event, or a batch of 1 to 4,096 that is published as a whole or not at all.
#[derive(ToSchema, Serialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what `wire/` spells")]
pub(crate) enum Events {
    One(EventShape),
    Several(Vec<EventShape>),
}

/// Response to a publish, sent once the event is as durable as the durability mode promises.
#[derive(ToSchema, Serialize)]
pub(crate) struct Receipt {
    /// The event's id.
    id: String,
    stream: Streams,
    /// Number of sessions that the event goes to; 0 for a duplicate.
    subscribers: u32,
    /// True if the key was used before; the id is that of the first publish.
    duplicate: bool,
}

/// A receipt for each event, or a summary for newline-delimited JSON.
#[derive(ToSchema, Serialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what `wire/` spells")]
pub(crate) enum Receipts {
    One(Receipt),
    Several(Vec<Receipt>),
    Summary {
        /// Number of events that were not duplicates.
        published: usize,
        first: Option<String>,
        last: Option<String>,
    },
}

/// Response to ending a stream.
#[derive(ToSchema, Serialize)]
pub(crate) struct EndReceipt {
    id: String,
    stream: String,
    /// `ended`.
    state: String,
    /// Number of sessions that are notified.
    subscribers: u32,
}

/// Query of a subscription.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `query.rs` reads")]
pub(crate) struct SubscribeParameters {
    /// Id of the event to resume after, if the client cannot send the header `Last-Event-ID`.
    #[param(nullable = false)]
    last_event_id: Option<String>,
    /// Number of the newest events to start with.
    #[param(minimum = 0, maximum = 10000, nullable = false, format = "uint64")]
    last: Option<u64>,
    /// Start of the events: `start`, `now`, a time (RFC 3339), or a duration before now (`10m`).
    #[param(nullable = false)]
    from: Option<String>,
    /// Types of events to read, separated by commas.
    #[param(nullable = false)]
    types: Option<String>,
    /// Format of the events; the default is that of `Accept`.
    #[param(inline, nullable = false)]
    format: Option<FormatShape>,
    /// Columns of `format=csv`, separated by commas; the default is the members of the first event.
    #[param(nullable = false)]
    columns: Option<String>,
    /// `message` sends events without an `event:` line, so that `onmessage` of an EventSource gets
    /// all of them; their type is in the envelope (`format=sse`).
    #[param(inline, nullable = false, rename = "as")]
    form: Option<EventForm>,
    /// Sends the data as `{"stream","type","time","data"}`.
    #[param(nullable = false)]
    envelope: Option<bool>,
    /// Prefixes texts that a spreadsheet would run as formulas with an apostrophe (`format=csv`).
    #[param(nullable = false)]
    escape_formulas: Option<bool>,
    /// Interval of heartbeats on a quiet connection, 1s to 1h.
    #[param(nullable = false)]
    heartbeat: Option<String>,
    /// Maximum time in milliseconds that events wait to be written together; 1,000 if only
    /// `flush_bytes` is set.
    #[param(minimum = 1, maximum = 5_000, nullable = false)]
    flush_ms: Option<u64>,
    /// Number of waiting bytes that are written immediately; 65,536 if only `flush_ms` is set.
    #[param(minimum = 1, maximum = 262_144, nullable = false)]
    flush_bytes: Option<u64>,
    /// `false` ends the response with the newest event, for an export.
    #[param(nullable = false)]
    follow: Option<bool>,
    /// Form of heartbeats: `comment` is invisible to an EventSource; `event` sends
    /// `event: heartbeat` with `{"source":"fanfare","timestamp"}`. Published heartbeats have the
    /// same name but the `source` of their publisher.
    #[param(inline, nullable = false)]
    heartbeat_as: Option<HeartbeatForm>,
    /// `off` omits `hub-open`, `hub-gap`, `hub-end`, `hub-notice` and `hub-error`, and refuses with
    /// a status as `refusal=status` does: not for an EventSource, which never retries after a
    /// status.
    #[param(inline, nullable = false)]
    control: Option<Control>,
    /// Form of a refusal at a limit or a stop: `event` is a stream with `hub-error`, the default
    /// for `Accept: text/event-stream`; `status` is a 429 or 503. Other refusals are always a
    /// status.
    #[param(inline, nullable = false)]
    refusal: Option<RefusalForm>,
    /// Ticket of `POST /tickets`.
    #[param(nullable = false)]
    ticket: Option<String>,
}

#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what `query.rs` reads")]
enum FormatShape {
    Sse,
    Ndjson,
    Text,
    Csv,
}

#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what `query.rs` reads")]
enum EventForm {
    Event,
    Message,
}

#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what `query.rs` reads")]
enum HeartbeatForm {
    Comment,
    Event,
}

#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what `query.rs` reads")]
enum Control {
    On,
    Off,
}

#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what `query.rs` reads")]
enum RefusalForm {
    Event,
    Status,
}
