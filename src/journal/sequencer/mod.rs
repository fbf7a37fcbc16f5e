//! The sequencer: decides which batch comes next, and when that is final.
//!
//! The contract, which `contract.rs` tests for every implementation:
//!
//! 1. A proposed batch comes out of [`Sequencer::next`] complete and unchanged, exactly once; or
//!    [`Sequencer::propose`] failed and the batch never comes out.
//! 2. Numbers ascend. A number that came out once never comes out again, not even after a restart
//!    with the number of the last applied batch.
//! 3. Batches of one proposer come out in the order in which they were proposed.
//! 4. A proposer recognizes its own batches by the ticket that it gave them; others have none.
//! 5. `next` returns no batch that could be taken back by a failure that the sequencer covers. A
//!    sequencer that is not the log itself (the local one) leaves that to the store's synced
//!    commit.

#[cfg(test)]
mod contract;
#[cfg(feature = "cluster")]
mod frame;
mod local;
#[cfg(feature = "cluster")]
mod replicated;

#[cfg(feature = "cluster")]
pub(super) use frame::Frame;
pub(super) use local::LocalSequencer;
#[cfg(feature = "cluster")]
pub(super) use replicated::ReplicatedSequencer;

use super::batch::{OrderedBatch, PublishUnit};
use crate::event::{Position, StreamName, Timestamp};
use crate::limits::Limits;

/// Identifier that a proposer gives a batch.
pub(super) type Ticket = u64;

/// A batch to be ordered.
#[derive(Clone, Debug)]
pub(super) struct Proposal {
    pub(super) ticket: Ticket,
    pub(super) time: Timestamp,
    pub(super) emptied: Vec<(StreamName, Position)>,
    pub(super) units: Vec<PublishUnit>,
    /// Limits on the number of streams, if the batch may add some and other hubs apply it.
    pub(super) stream_limits: Option<Limits>,
}

/// Failure to order a batch.
#[derive(Debug, thiserror::Error)]
pub enum SequencerError {
    /// The maximum number of batches already waits to be applied.
    #[error("too many batches waiting to be applied ({0})")]
    Full(usize),
    /// The batch is larger than a message of the log.
    #[cfg(feature = "cluster")]
    #[error("{bytes} bytes are more than a message of the cluster's log can have ({max_bytes})")]
    TooLarge {
        /// Size of the batch, in bytes.
        bytes: usize,
        /// Maximum size, in bytes.
        max_bytes: usize,
    },
    /// The log cannot be read any further.
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    Log(#[from] crate::cluster::LogError),
    /// A message of the log cannot be read.
    #[cfg(feature = "cluster")]
    #[error("cannot read message {number} of the log")]
    Frame {
        /// Number of the message.
        number: u64,
        /// Reason.
        source: frame::FrameError,
    },
    /// The log lacks a batch of a hub that it has acknowledged.
    #[cfg(feature = "cluster")]
    #[error(
        "message {number} of the log is batch {ticket} of hub {node}, and a batch before it is missing"
    )]
    Missing {
        /// Number of the message.
        number: u64,
        /// Name of the hub.
        node: String,
        /// Ticket of the batch.
        ticket: u64,
    },
}

/// Decides which batch comes next. Driven by one thread.
pub(super) trait Sequencer: Send {
    /// Returns true if a batch can be proposed now.
    fn has_room(&self) -> bool;

    /// Returns true if a batch that is proposed now can be expected to be ordered.
    fn is_reachable(&self) -> bool {
        true
    }

    /// Proposes a batch.
    fn propose(&mut self, proposal: Proposal) -> Result<(), SequencerError>;

    /// Returns the next batch of the order, with its ticket if this proposer proposed it; `None` if
    /// there is none yet.
    fn next(&mut self) -> Result<Option<(OrderedBatch, Option<Ticket>)>, SequencerError>;
}
