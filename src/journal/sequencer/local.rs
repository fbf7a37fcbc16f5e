//! The sequencer of a single machine: batches keep the order in which the writer proposes them.

use super::{Proposal, Sequencer, SequencerError, Ticket};
use crate::journal::batch::OrderedBatch;
use std::collections::VecDeque;

/// Maximum number of proposed batches; the writer takes each before it proposes another.
const MAX_WAITING: usize = 16;

/// Numbers batches consecutively.
pub(in crate::journal) struct LocalSequencer {
    last: u64,
    waiting: VecDeque<(OrderedBatch, Ticket)>,
}

impl LocalSequencer {
    /// Creates a sequencer that continues after `applied`, the last batch in the store.
    pub(in crate::journal) fn after(applied: u64) -> Self {
        Self { last: applied, waiting: VecDeque::new() }
    }
}

impl Sequencer for LocalSequencer {
    fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING
    }

    fn propose(&mut self, proposal: Proposal) -> Result<(), SequencerError> {
        if !self.has_room() {
            return Err(SequencerError::Full(MAX_WAITING));
        }
        self.last += 1;
        let Proposal { ticket, time, emptied, units, stream_limits } = proposal;
        let number = self.last;
        let ordered = OrderedBatch { number, time, emptied, units, stream_limits, log_step: None };
        self.waiting.push_back((ordered, ticket));
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(OrderedBatch, Option<Ticket>)>, SequencerError> {
        Ok(self.waiting.pop_front().map(|(ordered, ticket)| (ordered, Some(ticket))))
    }
}
