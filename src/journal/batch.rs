//! Batches of units, as the sequencer orders them, and their outcomes.

use crate::event::{Draft, Entry, Position, StreamName, Timestamp};
use std::time::Instant;

/// An action of a publisher.
#[derive(Clone, Debug)]
pub enum Item {
    /// Publish an event.
    Event(Draft),
    /// Take no more events on a stream.
    End(StreamName),
    /// Drop a stream and its history.
    Delete {
        /// Stream to delete.
        stream: StreamName,
        /// Readers wait for it, so that one without history is a stream all the same.
        has_readers: bool,
    },
}

/// Items that are applied whole or not at all: one request's.
pub type Unit = Vec<Item>;

/// A batch that has its place in the order.
#[derive(Clone, Debug)]
pub struct Ordered {
    /// Number of the batch: ascending, never used twice.
    pub number: u64,
    /// Time at which it was proposed, by the clock of the proposer.
    pub time: Timestamp,
    /// Units; at most [`MAX_ENTRIES_PER_BATCH`](crate::event::MAX_ENTRIES_PER_BATCH) items.
    pub units: Vec<Unit>,
}

/// A batch that is durable: what fan-out and readers see.
#[derive(Debug)]
pub struct Committed {
    /// The first place of the batch.
    pub first: Position,
    /// The place of its last entry.
    pub last: Position,
    /// Time at which it became durable.
    pub at: Instant,
    /// Entries of the batch; the `i`-th is at `first` plus `i`.
    pub entries: Vec<Entry>,
}

/// Result of one item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// Position of the item; for a duplicate, that of the first one.
    pub position: Position,
    /// True if the key was known, so that nothing was added.
    pub duplicate: bool,
}

/// Outcome of a unit: a position for each item, or the reason for which all of it was refused.
pub type Outcome = Result<Vec<Placed>, Refusal>;

/// Reason for which a unit was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// A stream it names has ended.
    #[error("stream {0:?} has ended")]
    Ended(StreamName),
    /// A key it carries was used for something else within the last ten minutes.
    #[error("idempotency key {0:?} was used with other data or other streams")]
    KeyConflict(String),
    /// The stream to end or delete is not there.
    #[error("there is no stream {0:?}")]
    Unknown(StreamName),
    /// The limit of streams is reached.
    #[error("max_streams ({0}) reached; raise --max-streams or delete streams")]
    TooManyStreams(u64),
}
