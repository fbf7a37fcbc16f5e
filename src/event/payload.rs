//! Data of an event.

use super::json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Kind of the data of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PayloadKind {
    /// UTF-8 text.
    Text,
    /// A compact JSON value.
    Json,
    /// Bytes, which text formats encode as base64.
    Binary,
}

/// An event's data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    data: Bytes,
    kind: PayloadKind,
}

impl Payload {
    /// Creates a payload of plain text, which is delivered unchanged.
    pub fn text(text: &str) -> Self {
        Self { data: Bytes::copy_from_slice(text.as_bytes()), kind: PayloadKind::Text }
    }

    /// Creates a payload of bytes, which is text if they are UTF-8 and `is_text` is true.
    pub fn bytes(data: Bytes, is_text: bool) -> Self {
        let is_text = is_text && std::str::from_utf8(&data).is_ok();
        Self { data, kind: if is_text { PayloadKind::Text } else { PayloadKind::Binary } }
    }

    /// Creates a payload from one JSON value: white space is removed; numbers and the order of
    /// members stay.
    pub(super) fn json(raw: &str) -> Self {
        Self { data: json::compact(raw).into(), kind: PayloadKind::Json }
    }

    /// Creates a message of a stream of JSON values; a string stays in its quotes.
    pub fn json_message(raw: &RawValue) -> Self {
        Self::json(raw.get())
    }

    /// Restores a payload from the bytes that the journal stored.
    pub(crate) fn from_stored(data: Bytes, kind: PayloadKind) -> Self {
        Self { data, kind }
    }

    /// Returns the bytes: UTF-8, unless the payload is binary.
    pub fn as_bytes(&self) -> &[u8] {
        &self.data
    }

    /// Returns the data as UTF-8: that of a binary payload as base64 (RFC 4648 §4).
    pub fn as_utf8(&self) -> Cow<'_, [u8]> {
        match self.kind {
            PayloadKind::Text | PayloadKind::Json => Cow::Borrowed(&self.data),
            PayloadKind::Binary => Cow::Owned(STANDARD.encode(&self.data).into_bytes()),
        }
    }

    /// Returns the kind.
    pub fn kind(&self) -> PayloadKind {
        self.kind
    }

    /// Returns true if the data is one JSON value.
    pub fn is_json(&self) -> bool {
        self.kind == PayloadKind::Json
    }

    /// Returns true if the data is bytes and no text.
    pub fn is_binary(&self) -> bool {
        self.kind == PayloadKind::Binary
    }
}
