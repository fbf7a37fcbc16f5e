//! What an event carries.

use super::json;
use bytes::Bytes;

/// An event's data: valid UTF-8 that is either plain text or one compact JSON value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    text: Bytes,
    is_json: bool,
}

impl Payload {
    /// Plain text, delivered as it is.
    pub fn text(text: &str) -> Self {
        Self { text: Bytes::copy_from_slice(text.as_bytes()), is_json: false }
    }

    /// One JSON value, stripped of white space; numbers and member order stay as written.
    pub(super) fn json(raw: &str) -> Self {
        Self { text: json::compact(raw).into(), is_json: true }
    }

    /// Bytes that the journal got from a `Payload` before.
    pub(crate) fn from_stored(text: Bytes, is_json: bool) -> Self {
        Self { text, is_json }
    }

    /// The UTF-8 bytes that go out as data.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// Whether the text is one JSON value, rather than plain text.
    pub fn is_json(&self) -> bool {
        self.is_json
    }
}
