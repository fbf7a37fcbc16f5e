//! Batches of units, as the sequencer orders them, and their outcomes.

use super::store::LogStep;
use crate::event::durable::{CommandRefusal, StreamCommand};
use crate::event::{Draft, Entry, Position, StreamName, Timestamp};
use crate::limits::Limits;
use std::time::Instant;

/// An operation that a publisher requests.
#[derive(Clone, Debug)]
pub enum Item {
    /// Publish an event.
    Event(Draft),
    /// End a stream: it accepts no more events.
    End(StreamName),
    /// Delete a stream and its history.
    Delete {
        /// Stream to delete.
        stream: StreamName,
        /// True if subscribers wait for the stream, which can then be deleted even without history.
        has_readers: bool,
    },
    /// Change a stream by a command, which is a unit of its own.
    Command(Box<StreamCommand>),
}

impl Item {
    /// Returns the bytes of the data that it adds.
    pub fn data_bytes(&self) -> usize {
        let size = |draft: &Draft| draft.payload().as_bytes().len();
        match self {
            Self::Event(draft) => size(draft),
            Self::End(_) | Self::Delete { .. } => 0,
            Self::Command(command) => command.drafts().iter().map(size).sum(),
        }
    }

    /// Returns the maximum number of entries that it adds.
    pub(super) fn max_entries(&self) -> usize {
        match self {
            Self::Event(_) | Self::End(_) | Self::Delete { .. } => 1,
            Self::Command(command) => command.max_entries(),
        }
    }
}

/// Items of one request; either all of them are applied or none.
pub type PublishUnit = Vec<Item>;

/// A batch that the sequencer has ordered.
#[derive(Clone, Debug)]
pub struct OrderedBatch {
    /// Number of the batch: ascending, never used twice.
    pub number: u64,
    /// Time of the batch: by the clock of this hub, or of the log of its cluster.
    pub time: Timestamp,
    /// Streams to remove because retention has emptied them, with the position of their last entry. A
    /// stream with later entries stays.
    pub emptied: Vec<(StreamName, Position)>,
    /// Units; at most [`MAX_ENTRIES_PER_BATCH`](crate::event::MAX_ENTRIES_PER_BATCH) items.
    pub units: Vec<PublishUnit>,
    /// Limits on the number of streams, of the hub that proposed the batch; `None` if all of its streams existed
    /// there, or it is this hub.
    pub stream_limits: Option<Limits>,
    /// Progress in the log of the cluster, which is stored with the batch.
    pub log_step: Option<LogStep>,
}

/// A durable batch, as fan-out and readers see it.
#[derive(Debug)]
pub struct CommittedBatch {
    /// First position of the batch.
    pub first: Position,
    /// Position of the last entry.
    pub last: Position,
    /// Time at which the batch became durable.
    pub at: Instant,
    /// Entries of the batch; the `i`-th is at `first` plus `i`.
    pub entries: Vec<Entry>,
}

/// Result of one item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ItemResult {
    /// Position of the item; for a duplicate, that of the first one.
    pub position: Position,
    /// True if nothing was added: the idempotency key was known, or the stream had already ended.
    pub duplicate: bool,
}

/// Outcome of a unit: a position for each item, or the reason why the whole unit was refused.
pub type Outcome = Result<Vec<ItemResult>, Refusal>;

/// Reason why a unit was refused, or had no effect.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// A stream of the unit has ended.
    #[error("stream {0:?} has ended")]
    Ended(StreamName),
    /// The idempotency key was used with other data or other streams within the last ten minutes.
    #[error("idempotency key {0:?} was used with other data or other streams")]
    KeyConflict(String),
    /// The stream to delete does not exist.
    #[error("stream {0:?} does not exist")]
    Unknown(StreamName),
    /// The limit on the number of streams is reached.
    #[error("max_streams ({0}) reached; raise --max-streams or delete streams")]
    TooManyStreams(u64),
    /// A command was not applied.
    #[error(transparent)]
    Command(#[from] CommandRefusal),
}
