//! What the order orders: batches of units, and what comes out of them.

use crate::event::{Draft, Entry, Position, StreamName, Timestamp};
use std::time::Instant;

/// One thing that a publisher wants done.
#[derive(Clone, Debug)]
pub enum Item {
    /// Publish an event.
    Event(Draft),
    /// Take no more events on a stream.
    End(StreamName),
    /// Drop a stream and its history.
    Delete {
        /// Which one.
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
    /// Its number: ascending, never used twice.
    pub number: u64,
    /// When it was handed in, by the clock of whoever did.
    pub time: Timestamp,
    /// At most [`MAX_ENTRIES_PER_BATCH`](crate::event::MAX_ENTRIES_PER_BATCH) items in all.
    pub units: Vec<Unit>,
}

/// A batch that is durable: what fan-out and readers see.
#[derive(Debug)]
pub struct Committed {
    /// The first place of the batch.
    pub first: Position,
    /// The place of its last entry.
    pub last: Position,
    /// When it had become durable.
    pub at: Instant,
    /// Its entries; the `i`-th is at `first` plus `i`.
    pub entries: Vec<Entry>,
}

/// Where one item went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// Its place; the first one's where it was a duplicate.
    pub position: Position,
    /// Whether its key was seen before, so that nothing was added.
    pub duplicate: bool,
}

/// What became of a unit: a place for each item, or why all of it was refused.
pub type Outcome = Result<Vec<Placed>, Refusal>;

/// Why a unit was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// A stream it names has ended.
    #[error("stream {0:?} has ended")]
    Ended(StreamName),
    /// A key it carries was used for something else within the last ten minutes.
    #[error("key {0:?} was used with other content or other streams")]
    KeyConflict(String),
    /// The stream to end or delete is not there.
    #[error("there is no stream {0:?}")]
    Unknown(StreamName),
    /// It would make more streams than there may be.
    #[error("there are as many streams as allowed: max_streams is {0}")]
    TooManyStreams(u64),
}
