//! Drafts: published events, checked and ready for the journal.

use super::{EventType, Invalid, Payload, PayloadKind, StreamName, Timestamp, shape};
use bytes::Bytes;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::Xxh3;

/// Maximum number of streams of an event.
pub const MAX_STREAMS_PER_EVENT: usize = 16;
/// Maximum length of an idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 128;

/// An idempotency key: 1 to 128 bytes of UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Key(Box<str>);

impl Key {
    /// Parses `text`; an error names `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > MAX_KEY_BYTES {
            return Err(Invalid::new(field, format!("a key has 1 to {MAX_KEY_BYTES} bytes")));
        }
        Ok(Self(text.into()))
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A checked event that has no position yet.
#[derive(Clone, Debug)]
pub struct Draft {
    streams: Box<[StreamName]>,
    kind: EventType,
    payload: Payload,
    key: Option<Key>,
    fingerprint: u128,
}

impl Draft {
    /// Creates an event whose data is one JSON value, given as its text. A JSON string is sent as
    /// its text; `log`, `metric` and `heartbeat` must have their shape and get a missing
    /// `timestamp` from `now`.
    pub fn from_json(
        streams: Vec<StreamName>,
        kind: EventType,
        data: &RawValue,
        now: Timestamp,
    ) -> Result<Self, Invalid> {
        let raw = data.get();
        let payload = if shape::is_shaped(&kind) {
            Payload::json(&shape::check(&kind, raw, now)?)
        } else if raw.starts_with('"') {
            let text: String = serde_json::from_str(raw)
                .map_err(|e| Invalid::new("data", format!("not a valid Unicode string: {e}")))?;
            Payload::text(&text)
        } else {
            Payload::json(raw)
        };
        Self::new(streams, kind, payload, raw.as_bytes())
    }

    /// Creates an event whose data is plain text. For a type with a shape, the text must be its
    /// JSON; but a `log` may be a bare line, which becomes the message, at the level that it names
    /// or `info`.
    pub fn from_text(
        streams: Vec<StreamName>,
        kind: EventType,
        text: &str,
        now: Timestamp,
    ) -> Result<Self, Invalid> {
        let payload = if shape::is_shaped(&kind) {
            Payload::json(&shape::check_text(&kind, text, now)?)
        } else {
            Payload::text(text)
        };
        Self::new(streams, kind, payload, text.as_bytes())
    }

    /// Creates an event whose data is bytes. A type with a shape has none.
    pub fn from_binary(
        streams: Vec<StreamName>,
        kind: EventType,
        data: Bytes,
    ) -> Result<Self, Invalid> {
        if shape::is_shaped(&kind) {
            let why = format!("an event of type {:?} has JSON data", kind.as_str());
            return Err(Invalid::new("encoding", why));
        }
        let source = data.clone();
        Self::new(streams, kind, Payload::bytes(data, false), &source)
    }

    /// Creates an event of the default type on one stream.
    pub fn message(stream: StreamName, payload: Payload) -> Self {
        let streams = [stream].into();
        Self { streams, kind: EventType::default(), payload, key: None, fingerprint: 0 }
    }

    fn new(
        streams: Vec<StreamName>,
        kind: EventType,
        payload: Payload,
        source: &[u8],
    ) -> Result<Self, Invalid> {
        if streams.is_empty() || streams.len() > MAX_STREAMS_PER_EVENT {
            return Err(Invalid::new(
                "stream",
                format!("an event must have 1 to {MAX_STREAMS_PER_EVENT} streams"),
            ));
        }
        for (i, name) in streams.iter().enumerate() {
            if streams[..i].contains(name) {
                return Err(Invalid::new("stream", format!("duplicate stream {name:?}")));
            }
        }
        let fingerprint = fingerprint(&streams, &kind, payload.kind(), source);
        Ok(Self { streams: streams.into(), kind, payload, key: None, fingerprint })
    }

    /// Restores a draft that another node checked; `None` if it has no stream, too many, or the same
    /// one twice.
    #[cfg(feature = "cluster")]
    pub(crate) fn from_log(
        streams: Vec<StreamName>,
        kind: EventType,
        payload: Payload,
        key: Option<Key>,
        fingerprint: u128,
    ) -> Option<Self> {
        let is_distinct = (1..streams.len()).all(|n| !streams[..n].contains(&streams[n]));
        let is_valid = (1..=MAX_STREAMS_PER_EVENT).contains(&streams.len()) && is_distinct;
        is_valid.then(|| Self { streams: streams.into(), kind, payload, key, fingerprint })
    }

    /// Sets the idempotency key.
    #[must_use]
    pub fn with_key(self, key: Option<Key>) -> Self {
        Self { key, ..self }
    }

    /// Returns its streams: 1 to 16, distinct.
    pub fn streams(&self) -> &[StreamName] {
        &self.streams
    }

    /// Returns its type.
    pub fn kind(&self) -> &EventType {
        &self.kind
    }

    /// Returns its data.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Returns its idempotency key.
    pub fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// Returns a hash of the set of streams, the type and the data as they were given, which
    /// distinguishes a repeated publish from another event with the same key.
    pub fn fingerprint(&self) -> u128 {
        self.fingerprint
    }
}

fn fingerprint(
    streams: &[StreamName],
    kind: &EventType,
    payload_kind: PayloadKind,
    source: &[u8],
) -> u128 {
    let mut names: Vec<&StreamName> = streams.iter().collect();
    names.sort_unstable();
    let mut hash = Xxh3::new();
    for part in names.iter().map(|n| n.as_str()).chain([kind.as_str()]) {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(&[match payload_kind {
        PayloadKind::Text => 0,
        PayloadKind::Json => 1,
        PayloadKind::Binary => 2,
    }]);
    match std::str::from_utf8(source) {
        Ok(text) if payload_kind == PayloadKind::Json => hash.update(&super::json::compact(text)),
        _ => hash.update(source),
    }
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<StreamName> {
        list.iter().map(|n| StreamName::parse(n).expect("a name")).collect()
    }

    fn json(streams: &[&str], kind: &str, data: &str) -> Result<Draft, Invalid> {
        let raw = RawValue::from_string(data.into()).expect("JSON");
        let kind = EventType::parse(kind).expect("a type");
        Draft::from_json(names(streams), kind, &raw, Timestamp::from_ms(0))
    }

    #[test]
    fn json_string_is_sent_as_its_text_and_other_json_is_compacted() {
        let text = json(&["a"], "message", r#""line\nbreak""#).expect("ok");
        assert_eq!(text.payload(), &Payload::text("line\nbreak"));
        let object = json(&["a"], "message", r#"{ "n": 1.0 }"#).expect("ok");
        assert_eq!(object.payload().as_bytes(), br#"{"n":1.0}"#);
        assert!(object.payload().is_json());
    }

    #[test]
    fn fingerprint_does_not_depend_on_the_order_of_streams() {
        let first = json(&["a", "b"], "x", "[1, 2]").expect("ok");
        let reordered = json(&["b", "a"], "x", "[1,2]").expect("ok");
        assert_eq!(first.fingerprint(), reordered.fingerprint());
        for other in [
            json(&["a"], "x", "[1,2]"),
            json(&["a", "b"], "y", "[1,2]"),
            json(&["a", "b"], "x", "[1,3]"),
        ] {
            assert_ne!(first.fingerprint(), other.expect("ok").fingerprint());
        }
    }

    #[test]
    fn streams_are_1_to_16_and_distinct() {
        assert!(json(&[], "x", "1").is_err());
        assert!(json(&["a", "a"], "x", "1").is_err());
        let streams: Vec<String> = (0..17).map(|i| format!("s{i}")).collect();
        let streams: Vec<&str> = streams.iter().map(String::as_str).collect();
        assert!(json(&streams[..16], "x", "1").is_ok());
        assert!(json(&streams, "x", "1").is_err());
    }

    #[test]
    fn lone_surrogate_is_refused() {
        assert_eq!(json(&["a"], "x", r#""\ud800""#).expect_err("refused").field, "data");
    }
}
