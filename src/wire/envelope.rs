//! Envelope of an event: its streams, type and time, and its data unchanged.

use crate::event::{Entry, Interest, Payload, StreamName};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

#[derive(Serialize)]
pub(super) struct Envelope<'a> {
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
        let text = String::from_utf8_lossy(payload.as_bytes());
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
        Self { stream, r#type: kind, time: entry.time.to_string(), data }
    }
}

/// Returns the streams of an event that `reader` may read, or all without a reader.
pub(super) fn names<'a>(entry: &'a Entry, reader: Option<&Interest>) -> Vec<&'a str> {
    let is_readable = |name: &&StreamName| reader.is_none_or(|reader| reader.selects(name));
    entry.streams.iter().filter(is_readable).map(|name| name.as_str()).collect()
}
