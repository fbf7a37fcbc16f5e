//! Batches on their way through the sequencer, and the publishers that wait for them.

use super::publisher::{PublishError, Reply};
use super::sequencer::Ticket;
use crate::event::StreamName;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time after which a publish is answered although the sequencer has not ordered it.
const UNCONFIRMED_AFTER: Duration = Duration::from_secs(10);

/// A batch that the sequencer has not ordered yet.
pub(super) struct ProposedBatch {
    ticket: Ticket,
    pub(super) started_at: Instant,
    pub(super) bytes: usize,
    /// Receivers of the answers, with the streams of their items.
    pub(super) replies: Vec<(Reply, Vec<Box<[StreamName]>>)>,
}

/// Batches on their way through the sequencer, oldest first.
#[derive(Default)]
pub(super) struct Proposals {
    batches: VecDeque<ProposedBatch>,
    last_ticket: Ticket,
}

impl Proposals {
    /// Adds a batch and returns its ticket.
    pub(super) fn add(
        &mut self,
        bytes: usize,
        replies: Vec<(Reply, Vec<Box<[StreamName]>>)>,
    ) -> Ticket {
        self.last_ticket += 1;
        let (ticket, started_at) = (self.last_ticket, Instant::now());
        self.batches.push_back(ProposedBatch { ticket, started_at, bytes, replies });
        ticket
    }

    /// Answers the publishers of the newest batch, which the sequencer has refused. Its ticket is used
    /// again, because tickets have no gaps.
    #[cfg(feature = "cluster")]
    pub(super) fn refuse_last(&mut self, error: &PublishError) {
        self.last_ticket -= u64::from(!self.batches.is_empty());
        for (reply, _) in self.batches.pop_back().into_iter().flat_map(|batch| batch.replies) {
            let _ = reply.send(Err(error.clone()));
        }
    }

    /// Forgets all batches, because the journal applies no more.
    pub(super) fn clear(&mut self) {
        self.batches.clear();
    }

    /// Takes the oldest batch if it has this ticket.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<ProposedBatch> {
        let is_first = self.batches.front().is_some_and(|batch| batch.ticket == ticket);
        is_first.then(|| self.batches.pop_front()).flatten()
    }

    /// Returns true if the sequencer has not ordered the oldest batch in time.
    pub(super) fn is_stalled(&self) -> bool {
        let oldest = self.batches.front();
        oldest.is_some_and(|batch| batch.started_at.elapsed() >= UNCONFIRMED_AFTER)
    }

    /// Returns true if a publisher waits for the outcome of a batch.
    pub(super) fn has_waiting_publishers(&self) -> bool {
        self.batches.iter().any(|batch| !batch.replies.is_empty())
    }

    /// Answers the publishers of all batches.
    pub(super) fn answer_all(&mut self, error: &PublishError) {
        for (reply, _) in self.batches.iter_mut().flat_map(|batch| batch.replies.drain(..)) {
            let _ = reply.send(Err(error.clone()));
        }
    }
}
