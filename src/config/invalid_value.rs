//! Faults of settings' values.

use crate::event::Invalid;
use std::io;

/// Fault of a setting's value.
#[derive(Debug, thiserror::Error)]
pub enum InvalidValue {
    /// The setting takes only certain words.
    #[error("{value:?} is not one of {expected}")]
    Word {
        /// Value as it is written.
        value: String,
        /// Words that the setting takes.
        expected: String,
    },
    /// The value has the wrong form.
    #[error("{value:?} is not {expected}")]
    Form {
        /// Value as it is written.
        value: String,
        /// Description and example of the form.
        expected: &'static str,
    },
    /// The value is too small or too large.
    #[error("{value:?} is out of range; expected {range}")]
    Range {
        /// Value as it is written.
        value: String,
        /// Values that the setting takes.
        range: String,
    },
    /// The address has the wrong form, or its name cannot be resolved.
    #[error("{value:?} is not an address with a port like 127.0.0.1:8080: {source}")]
    Address {
        /// Value as it is written.
        value: String,
        /// Failure to resolve it.
        source: io::Error,
    },
    /// The selector is not valid.
    #[error("{}", .0.detail)]
    Selector(#[from] Invalid),
    /// A header's name is not valid.
    #[error("{0:?} is not a valid header name")]
    HeaderName(String),
    /// The hub sets the header itself.
    #[error("the header {0:?} is set by the hub")]
    OwnHeader(String),
    /// The header's value, which may be a secret, is not valid.
    #[error("the value of the header {0:?} has characters that are not allowed")]
    HeaderValue(String),
    /// The URL, which may contain a secret, is not valid.
    #[error("the URL {0}; expected one like https://api.openai.com/v1")]
    Url(&'static str),
    /// The directory does not exist.
    #[error("{0:?} is not an existing directory")]
    NoDirectory(String),
}

impl InvalidValue {
    pub(super) fn word(value: &str, expected: impl Into<String>) -> Self {
        Self::Word { value: value.to_owned(), expected: expected.into() }
    }

    pub(super) fn form(value: &str, expected: &'static str) -> Self {
        Self::Form { value: value.to_owned(), expected }
    }

    pub(super) fn range(value: &str, range: impl Into<String>) -> Self {
        Self::Range { value: value.to_owned(), range: range.into() }
    }
}
