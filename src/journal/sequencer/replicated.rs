//! The sequencer of a cluster: the order is that of a replicated log, which all hubs read.

use super::frame::{Frame, Proposer};
use super::{Proposal, Sequencer, SequencerError, Ticket};
use crate::cluster::Log;
use crate::journal::batch::OrderedBatch;
use std::collections::VecDeque;

/// Maximum number of batches that are proposed and not applied. With one, JetStream cannot reorder the
/// batches of a hub; publishes that arrive meanwhile share the next batch.
const MAX_IN_FLIGHT: usize = 1;

/// Proposes batches to the log, and takes the batches of all hubs from it. A batch has the number of its
/// message.
pub(in crate::journal) struct ReplicatedSequencer {
    log: Log,
    proposer: Proposer,
    in_flight: VecDeque<Ticket>,
}

impl ReplicatedSequencer {
    /// Creates a sequencer that continues after `applied`, the last batch in the store. `wake` is called
    /// when the log has a batch.
    pub(in crate::journal) fn start(
        mut log: Log,
        applied: u64,
        wake: impl Fn() + Send + 'static,
    ) -> Self {
        log.start(applied, wake);
        let proposer = Proposer { node: log.node().to_owned(), boot: rand::random() };
        Self { log, proposer, in_flight: VecDeque::new() }
    }
}

impl Sequencer for ReplicatedSequencer {
    fn has_room(&self) -> bool {
        self.in_flight.len() < MAX_IN_FLIGHT
    }

    fn propose(&mut self, proposal: Proposal) -> Result<(), SequencerError> {
        if !self.has_room() {
            return Err(SequencerError::Full(MAX_IN_FLIGHT));
        }
        let Proposal { ticket, time, units } = proposal;
        let proposer = self.proposer.clone();
        let data = Frame { proposer, ticket, time, units }.write();
        let (bytes, max_bytes) = (data.len(), self.log.max_message_bytes());
        if bytes > max_bytes {
            return Err(SequencerError::TooLarge { bytes, max_bytes });
        }
        self.log.append(format!("{:032x}-{ticket}", self.proposer.boot), data.into())?;
        self.in_flight.push_back(ticket);
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(OrderedBatch, Option<Ticket>)>, SequencerError> {
        let Some(message) = self.log.read()? else { return Ok(None) };
        let number = message.sequence;
        let Frame { proposer, ticket, time, units } = Frame::read(&message.data)
            .map_err(|source| SequencerError::Frame { number, source })?;
        let is_own = proposer == self.proposer;
        if is_own && self.in_flight.pop_front() != Some(ticket) {
            return Err(SequencerError::Reordered { number, ticket });
        }
        Ok(Some((OrderedBatch { number, time, units }, is_own.then_some(ticket))))
    }
}
