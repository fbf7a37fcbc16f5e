//! The order: which batch comes next, and when it is sure to.
//!
//! The contract, which `contract.rs` puts every order through:
//!
//! 1. A batch that was handed in comes out of [`Sequencer::next`] whole and unchanged, exactly once,
//!    or [`Sequencer::propose`] failed and it never does.
//! 2. Numbers ascend; one that ever came out never comes out again, also not after a restart
//!    with the number of the last batch applied.
//! 3. Batches of one proposer come out in the order in which it handed them in.
//! 4. A proposer knows its own batches by the ticket it gave them; others carry none.
//! 5. `next` gives out nothing that a failure which the order covers could take back. An order
//!    that is not the log itself (the local one) leaves that to the store's synced commit.

#[cfg(test)]
mod contract;
mod local;

pub(super) use local::LocalSequencer;

use super::batch::{Ordered, Unit};
use crate::event::Timestamp;

/// A proposer's own name for a batch that it handed in.
pub(super) type Ticket = u64;

/// A batch on its way into the order.
#[derive(Clone, Debug)]
pub(super) struct Proposal {
    pub(super) ticket: Ticket,
    pub(super) time: Timestamp,
    pub(super) units: Vec<Unit>,
}

/// Failure to order a batch.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SequencerError {
    /// The maximum number of batches already waits to be applied.
    #[error("{0} batches wait to be applied")]
    Full(usize),
}

/// Decides which batch comes next. Driven by one thread.
pub(super) trait Sequencer: Send {
    /// Proposes a batch.
    fn propose(&mut self, proposal: Proposal) -> Result<(), SequencerError>;

    /// Returns the next batch of the order, with its ticket if this proposer proposed it; `None` if
    /// there is none yet.
    fn next(&mut self) -> Result<Option<(Ordered, Option<Ticket>)>, SequencerError>;
}
