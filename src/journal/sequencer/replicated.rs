//! The sequencer of a cluster: the order is that of a replicated log, which all hubs read.

use super::frame::{Frame, Proposer};
use super::{Proposal, Sequencer, SequencerError, Ticket};
use crate::cluster::Log;
use crate::event::{Epoch, Timestamp};
use crate::journal::batch::OrderedBatch;
use crate::journal::store::{LogProgress, TicketOrder};
use std::collections::VecDeque;

/// Maximum number of batches that are proposed and not applied. With one, JetStream cannot reorder the
/// batches of a hub; publishes that arrive meanwhile share the next batch.
const MAX_IN_FLIGHT: usize = 1;

/// Proposes batches to the log, and takes the batches of all hubs from it. A batch has the number of its
/// message.
pub(in crate::journal) struct ReplicatedSequencer {
    log: Log,
    proposer: Proposer,
    progress: LogProgress,
    in_flight: VecDeque<Ticket>,
}

impl ReplicatedSequencer {
    /// Creates a sequencer that continues after the message that `progress` ends with. `wake` is called when
    /// the log has a batch.
    pub(in crate::journal) fn start(
        mut log: Log,
        progress: LogProgress,
        wake: impl Fn() + Send + 'static,
    ) -> Self {
        log.start(progress.link, wake);
        let proposer = Proposer { node: log.node().to_owned(), boot: rand::random() };
        Self { log, proposer, progress, in_flight: VecDeque::new() }
    }
}

impl Sequencer for ReplicatedSequencer {
    fn has_room(&self) -> bool {
        self.in_flight.len() < MAX_IN_FLIGHT
    }

    fn is_reachable(&self) -> bool {
        self.log.status().accepts_appends()
    }

    fn propose(&mut self, proposal: Proposal) -> Result<(), SequencerError> {
        if !self.has_room() {
            return Err(SequencerError::Full(MAX_IN_FLIGHT));
        }
        let Proposal { ticket, emptied, units, stream_limits, .. } = proposal;
        let (epoch, proposer) = (Epoch(self.log.epoch()), self.proposer.clone());
        let data = Frame { epoch, proposer, ticket, emptied, stream_limits, units }.write();
        let (bytes, max_bytes) = (data.len(), self.log.max_message_bytes());
        if bytes > max_bytes {
            return Err(SequencerError::TooLarge { bytes, max_bytes });
        }
        self.log.append(format!("{:032x}-{ticket}", self.proposer.boot), data.into())?;
        self.in_flight.push_back(ticket);
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(OrderedBatch, Option<Ticket>)>, SequencerError> {
        // The writer has applied what came before.
        self.log.status().applied(self.progress.link);
        let Some(message) = self.log.read()? else { return Ok(None) };
        let number = message.link.sequence;
        let frame = Frame::read(&message.data)
            .map_err(|source| SequencerError::Frame { number, source })?;
        let Frame { epoch, proposer, ticket, emptied, stream_limits, units } = frame;
        let mut ordered = OrderedBatch {
            number,
            time: Timestamp::from_ms(message.time_ms),
            emptied: Vec::new(),
            units: Vec::new(),
            stream_limits: None,
            log_step: None,
        };
        let order = self.progress.order_of(proposer.boot, ticket);
        // A batch for a log that this one has replaced, and one that was appended again after the server had
        // forgotten its first message, changes nothing.
        if epoch.0 != self.log.epoch() || order == TicketOrder::Repeated {
            ordered.log_step = Some(self.progress.advance(message.link, None));
            return Ok(Some((ordered, None)));
        }
        if order == TicketOrder::Skipped {
            return Err(SequencerError::Missing { number, node: proposer.node, ticket });
        }
        (ordered.emptied, ordered.units) = (emptied, units);
        ordered.stream_limits = stream_limits;
        ordered.log_step = Some(self.progress.advance(message.link, Some((proposer.boot, ticket))));
        let is_own = proposer == self.proposer && self.in_flight.front() == Some(&ticket);
        if is_own {
            self.in_flight.pop_front();
        }
        Ok(Some((ordered, is_own.then_some(ticket))))
    }
}
