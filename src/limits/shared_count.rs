//! Counts of sessions that the hubs of a cluster share, for limits that hold over all of them.

use super::Scope;
use serde::{Deserialize, Serialize};

/// Number of sessions of a subject or of a stream at one hub.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SharedCount {
    /// Subject or stream.
    pub of: CountedAs,
    /// Number of sessions.
    pub sessions: u32,
}

/// Subject or stream that has a limit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountedAs {
    /// A subject, whose limit is set by a scope.
    Subject {
        /// Scope that sets the limit.
        scope: Scope,
        /// Name of the subject.
        name: String,
    },
    /// A stream, or a pattern as it is written.
    Stream(String),
}

impl CountedAs {
    /// Returns the name of the subject or the stream.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Subject { name, .. } | Self::Stream(name) => name,
        }
    }
}
