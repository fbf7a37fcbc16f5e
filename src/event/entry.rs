//! What stands in the journal: an event, or the end of a stream.

use super::{EventType, Payload, Position, StreamName, Timestamp};

/// One committed entry of the hub-wide order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its place in the order.
    pub position: Position,
    /// When it was committed; never earlier than an entry before it.
    pub time: Timestamp,
    /// The streams it belongs to, as published; one for an end.
    pub streams: Box<[StreamName]>,
    /// What it is.
    pub body: Body,
}

/// What an entry is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// An event that somebody published.
    Event {
        /// Its type.
        kind: EventType,
        /// Its data.
        payload: Payload,
    },
    /// Nothing more comes on the stream.
    End(EndReason),
}

/// Why a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// Its publisher said so.
    Ended,
    /// It was deleted with its history; the name may be used anew.
    Deleted,
}

impl EndReason {
    /// The word that clients read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Deleted => "deleted",
        }
    }
}

impl Entry {
    /// What it takes in memory, in bytes, near enough for a bound.
    pub fn footprint_bytes(&self) -> usize {
        /// The struct, its reference counts and its place in an index.
        const FIXED: usize = 160;
        let names = self.streams.len() * size_of::<StreamName>();
        match &self.body {
            Body::Event { payload, .. } => FIXED + names + payload.as_bytes().len(),
            Body::End(_) => FIXED + names,
        }
    }
}
