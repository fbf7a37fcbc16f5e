//! Publish bodies: one JSON object, an array of them, or one per line.

use super::envelope::BASE64;
use crate::event::{Draft, EventType, Invalid, Key, StreamName, Timestamp, json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Maximum number of events in a body: they are one atomic batch of the journal.
pub const MAX_EVENTS_PER_BODY: usize = crate::event::MAX_ENTRIES_PER_BATCH;

/// A parsed publish body.
#[derive(Debug)]
pub enum Publish {
    /// A single object.
    One(Draft),
    /// An array: one atomic batch.
    Batch(Vec<Draft>),
}

/// Reason why a body was refused; nothing of it is published.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The body cannot be parsed (400).
    #[error("{0}")]
    Unreadable(String),
    /// A value is invalid (422).
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// An event is larger than the maximum (413).
    #[error("{location}the data has {size} bytes, more than the maximum of {limit}")]
    TooLarge {
        /// Path of the event in the body; empty for a single one.
        location: String,
        /// Size in bytes.
        size: usize,
        /// Maximum size in bytes.
        limit: usize,
    },
}

/// Reads a JSON body: an object or an array of 1 to 4,096 of them.
pub fn read_json(
    body: &[u8],
    max_event_bytes: usize,
    now: Timestamp,
) -> Result<Publish, BodyError> {
    let text = utf8(body)?;
    if !text.trim_start().starts_with('[') {
        return object(text, max_event_bytes, now).map(Publish::One);
    }
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| unreadable(&e))?;
    check_event_count(items.len())?;
    let mut drafts = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let draft = object(item.get(), max_event_bytes, now).map_err(|e| match e {
            BodyError::Invalid(why) => BodyError::Invalid(why.at(index)),
            other => other.at(&format!("event [{index}]: ")),
        })?;
        drafts.push(draft);
    }
    Ok(Publish::Batch(drafts))
}

/// Reads newline-delimited JSON, one object per line; blank lines are skipped.
pub fn read_ndjson(
    body: &[u8],
    max_event_bytes: usize,
    now: Timestamp,
) -> Result<Vec<Draft>, BodyError> {
    let mut drafts = Vec::new();
    for (index, line) in utf8(body)?.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        check_event_count(drafts.len() + 1)?;
        let location = format!("line {}: ", index + 1);
        drafts.push(object(line, max_event_bytes, now).map_err(|e| e.at(&location))?);
    }
    check_event_count(drafts.len())?;
    Ok(drafts)
}

/// Reads one object with a level and a message as an event of type `log` on `stream`.
pub fn read_log(
    body: &[u8],
    stream: StreamName,
    max_event_bytes: usize,
    now: Timestamp,
) -> Result<Draft, BodyError> {
    let data: &RawValue = serde_json::from_str(utf8(body)?).map_err(|e| unreadable(&e))?;
    let draft = Draft::from_json(vec![stream], EventType::parse("log")?, data, now)?;
    bounded_data(&draft, max_event_bytes)?;
    Ok(draft)
}

impl BodyError {
    /// Returns the error with its location in the body.
    fn at(self, location: &str) -> Self {
        match self {
            Self::Unreadable(why) => Self::Unreadable(format!("{location}{why}")),
            Self::Invalid(why) => {
                Self::Invalid(Invalid::new(why.field, format!("{location}{}", why.detail)))
            }
            Self::TooLarge { size, limit, .. } => {
                Self::TooLarge { location: location.to_owned(), size, limit }
            }
        }
    }
}

const NOT_AN_OBJECT: &str = "an event must be a JSON object";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an event must be a JSON object")]
struct Item<'a> {
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    r#type: Option<&'a RawValue>,
    // A `null` is data too, so it must not read as a missing member.
    #[serde(default, borrow, deserialize_with = "json::deserialize_present")]
    data: Option<&'a RawValue>,
    encoding: Option<&'a RawValue>,
    key: Option<&'a RawValue>,
}

fn object(text: &str, max_event_bytes: usize, now: Timestamp) -> Result<Draft, BodyError> {
    if text.trim_start().starts_with('[') {
        // serde would read the members from an array, too, by their order.
        return Err(BodyError::Invalid(Invalid::new("body", NOT_AN_OBJECT)));
    }
    let item: Item<'_> = serde_json::from_str(text).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => {
            BodyError::Invalid(Invalid::new("body", e.to_string()))
        }
        _ => unreadable(&e),
    })?;
    let missing = |field: &str| Invalid::new(field, format!("`{field}` is missing"));
    let streams = streams(item.stream.ok_or_else(|| missing("stream"))?)?;
    let kind = match item.r#type {
        Some(kind) => EventType::parse(&string("type", kind)?)?,
        None => EventType::default(),
    };
    let data = item.data.ok_or_else(|| missing("data"))?;
    let draft = match item.encoding {
        Some(encoding) => Draft::from_binary(streams, kind, decoded(data, encoding)?)?,
        None => Draft::from_json(streams, kind, data, now)?,
    };
    bounded_data(&draft, max_event_bytes)?;
    let key = item.key.map(|k| Key::parse("key", &string("key", k)?)).transpose()?;
    Ok(draft.with_key(key))
}

/// Returns the bytes that `data` has in an encoding.
fn decoded(data: &RawValue, encoding: &RawValue) -> Result<Bytes, Invalid> {
    if string("encoding", encoding)? != BASE64 {
        return Err(Invalid::new("encoding", format!("the only encoding is {BASE64:?}")));
    }
    let bytes = STANDARD.decode(string("data", data)?.as_bytes());
    bytes.map(Bytes::from).map_err(|e| Invalid::new("data", format!("not base64: {e}")))
}

fn bounded_data(draft: &Draft, limit: usize) -> Result<(), BodyError> {
    let size = draft.payload().as_bytes().len();
    if size > limit {
        Err(BodyError::TooLarge { location: String::new(), size, limit })
    } else {
        Ok(())
    }
}

fn streams(raw: &RawValue) -> Result<Vec<StreamName>, Invalid> {
    let text = raw.get();
    if !text.starts_with('[') {
        return Ok(vec![StreamName::parse(&string("stream", raw)?)?]);
    }
    let names: Vec<Cow<'_, str>> = serde_json::from_str(text)
        .map_err(|_| Invalid::new("stream", "must be a name or a list of names"))?;
    names.iter().map(|name| StreamName::parse(name)).collect()
}

fn string<'a>(field: &str, raw: &'a RawValue) -> Result<Cow<'a, str>, Invalid> {
    json::string(raw).ok_or_else(|| Invalid::new(field, format!("`{field}` must be a string")))
}

fn check_event_count(events: usize) -> Result<(), BodyError> {
    match events {
        0 => Err(BodyError::Unreadable("the batch is empty".into())),
        n if n > MAX_EVENTS_PER_BODY => Err(BodyError::Invalid(Invalid::new(
            "body",
            format!("a batch holds at most {MAX_EVENTS_PER_BODY} events"),
        ))),
        _ => Ok(()),
    }
}

fn utf8(body: &[u8]) -> Result<&str, BodyError> {
    std::str::from_utf8(body)
        .map_err(|e| BodyError::Unreadable(format!("not UTF-8 after byte {}", e.valid_up_to())))
}

fn unreadable(error: &serde_json::Error) -> BodyError {
    BodyError::Unreadable(format!("not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(body: &str) -> Result<Publish, BodyError> {
        read_json(body.as_bytes(), 64, Timestamp::from_ms(0))
    }

    fn invalid_field(body: &str) -> String {
        match json(body) {
            Err(BodyError::Invalid(why)) => why.field,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn invalid_member_is_named() {
        assert_eq!(invalid_field(r#"{"data":1}"#), "stream");
        assert_eq!(invalid_field(r#"{"stream":"a"}"#), "data");
        assert_eq!(invalid_field(r#"{"stream":5,"data":1}"#), "stream");
        assert_eq!(invalid_field(r#"{"stream":["a",5],"data":1}"#), "stream");
        assert_eq!(invalid_field(r#"{"stream":"a","type":"open","data":1}"#), "type");
        assert_eq!(invalid_field(r#"{"stream":"a","data":1,"key":""}"#), "key");
        assert_eq!(invalid_field(r#"{"stream":"a","data":1,"strem":"b"}"#), "body");
        assert_eq!(
            invalid_field(r#"[{"stream":"a","data":1},{"stream":"","data":1}]"#),
            "[1].stream"
        );
        assert_eq!(invalid_field("5"), "body");
        assert_eq!(invalid_field(r#"[["a","message","x","k"]]"#), "[0].body");
    }

    #[test]
    fn invalid_json_and_empty_batches_are_unreadable() {
        for body in ["", "{", "[]", "hello", r#"{"stream":"a","data":1} x"#] {
            assert!(matches!(json(body), Err(BodyError::Unreadable(_))), "{body}");
        }
        assert!(matches!(
            read_json(b"\xff", 9, Timestamp::default()),
            Err(BodyError::Unreadable(_))
        ));
    }

    #[test]
    fn null_is_data_and_a_large_event_is_refused() {
        assert!(matches!(json(r#"{"stream":"a","data":null}"#), Ok(Publish::One(_))));
        let large = format!(r#"{{"stream":"a","data":"{}"}}"#, "x".repeat(65));
        assert!(matches!(json(&large), Err(BodyError::TooLarge { size: 65, limit: 64, .. })));
    }

    #[test]
    fn invalid_line_is_named_by_its_number() {
        let body = b"{\"stream\":\"a\",\"data\":1}\n\r\n{\"stream\":\"a\"}\n";
        let error = read_ndjson(body, 64, Timestamp::from_ms(0)).expect_err("refused");
        assert!(error.to_string().contains("line 3"), "{error}");
        assert!(read_ndjson(b"\n\n", 64, Timestamp::from_ms(0)).is_err());
        let by_order = br#"["a","message","x","k"]"#;
        let error = read_ndjson(by_order, 64, Timestamp::from_ms(0)).expect_err("refused");
        assert!(error.to_string().contains("line 1: an event must be"), "{error}");
    }
}
