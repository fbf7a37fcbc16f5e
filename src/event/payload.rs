//! Data of an event.

use super::json;
use bytes::Bytes;

/// An event's data: valid UTF-8 that is either plain text or one compact JSON value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    text: Bytes,
    is_json: bool,
}

impl Payload {
    /// Creates a payload of plain text, which is delivered unchanged.
    pub fn text(text: &str) -> Self {
        Self { text: Bytes::copy_from_slice(text.as_bytes()), is_json: false }
    }

    /// Creates a payload from one JSON value: white space is removed; numbers and the order of
    /// members stay.
    pub(super) fn json(raw: &str) -> Self {
        Self { text: json::compact(raw).into(), is_json: true }
    }

    /// Restores a payload from the bytes that the journal stored.
    pub(crate) fn from_stored(text: Bytes, is_json: bool) -> Self {
        Self { text, is_json }
    }

    /// Returns the UTF-8 bytes that are sent as data.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// Returns true if the text is one JSON value, false for plain text.
    pub fn is_json(&self) -> bool {
        self.is_json
    }
}
