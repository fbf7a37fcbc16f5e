//! Entries of the journal: an event, or the creation or the end of a stream.

use super::{EventType, Payload, Position, StreamName, Timestamp};

/// A committed entry of the hub-wide order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Position in the order.
    pub position: Position,
    /// Time of the commit; earlier than that of an entry before it only after the clock was set back.
    pub time: Timestamp,
    /// The streams it belongs to, as published; one for a creation or an end.
    pub streams: Box<[StreamName]>,
    /// Content of the entry.
    pub body: Body,
}

/// Content of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A published event.
    Event {
        /// Type of the event.
        kind: EventType,
        /// Data of the event.
        payload: Payload,
    },
    /// Creation of the stream with properties. Readers do not see it.
    Created,
    /// End of the stream.
    End(EndReason),
}

/// Reason for the end of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// Ended by a publisher.
    Ended,
    /// Deleted with its history; the name may be used again.
    Deleted,
}

impl EndReason {
    /// Returns the name that clients receive.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Deleted => "deleted",
        }
    }
}

impl Entry {
    /// Returns true for events, false for creations and ends.
    pub fn is_event(&self) -> bool {
        matches!(self.body, Body::Event { .. })
    }

    /// Returns its approximate size in memory, in bytes.
    pub fn footprint_bytes(&self) -> usize {
        /// The struct, its reference counts and its place in an index.
        const FIXED: usize = 160;
        let names = self.streams.len() * size_of::<StreamName>();
        match &self.body {
            Body::Event { payload, .. } => FIXED + names + payload.as_bytes().len(),
            Body::Created | Body::End(_) => FIXED + names,
        }
    }
}
