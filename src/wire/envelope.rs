//! Envelope of an event: its streams, type and time, and its data unchanged.

use crate::event::{Entry, Interest, Payload, StreamName};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Name of the encoding of data that is no text (RFC 4648 §4).
pub(super) const BASE64: &str = "base64";

#[derive(Serialize)]
pub(super) struct Envelope<'a> {
    stream: Names<'a>,
    r#type: &'a str,
    time: String,
    data: Data<'a>,
    /// Encoding of data that is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
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
    Text(Cow<'a, str>),
}

impl<'a> Envelope<'a> {
    /// Returns the envelope of an entry. It names the streams that `reader` may read, or all
    /// without a reader.
    pub(super) fn of(
        entry: &'a Entry,
        kind: &'a str,
        payload: &'a Payload,
        reader: Option<&Interest>,
    ) -> Self {
        let text = text(payload);
        let json: Option<&RawValue> = match text {
            Cow::Borrowed(text) if payload.is_json() => serde_json::from_str(text).ok(),
            _ => None,
        };
        let streams = names(entry, reader);
        let stream = match streams[..] {
            [one] => Names::One(one),
            _ => Names::Several(streams),
        };
        let data = json.map_or(Data::Text(text), Data::Json);
        let encoding = payload.is_binary().then_some(BASE64);
        Self { stream, r#type: kind, time: entry.time.to_string(), data, encoding }
    }
}

/// Returns the data of an event as text.
pub(super) fn text(payload: &Payload) -> Cow<'_, str> {
    match payload.as_utf8() {
        Cow::Borrowed(text) => String::from_utf8_lossy(text),
        Cow::Owned(text) => Cow::Owned(String::from_utf8_lossy(&text).into_owned()),
    }
}

/// Returns the streams of an event that `reader` may read, or all without a reader.
pub(super) fn names<'a>(entry: &'a Entry, reader: Option<&Interest>) -> Vec<&'a str> {
    let is_readable = |name: &&StreamName| reader.is_none_or(|reader| reader.selects(name));
    entry.streams.iter().filter(is_readable).map(|name| name.as_str()).collect()
}
