//! The order of one machine: the writer thread itself. What is handed in next comes next.

use super::{Order, OrderError, Proposal, Ticket};
use crate::journal::batch::Ordered;
use std::collections::VecDeque;

/// Batches handed in and not taken yet: the writer takes each before it hands in another.
const MAX_WAITING: usize = 16;

/// Numbers batches one after the other.
pub(in crate::journal) struct LocalOrder {
    last: u64,
    waiting: VecDeque<(Ordered, Ticket)>,
}

impl LocalOrder {
    /// Goes on after batch `applied`, the last one that the store has.
    pub(in crate::journal) fn after(applied: u64) -> Self {
        Self { last: applied, waiting: VecDeque::new() }
    }
}

impl Order for LocalOrder {
    fn propose(&mut self, proposal: Proposal) -> Result<(), OrderError> {
        if self.waiting.len() == MAX_WAITING {
            return Err(OrderError(format!("{MAX_WAITING} batches wait to be applied")));
        }
        self.last += 1;
        let Proposal { ticket, time, units } = proposal;
        self.waiting.push_back((Ordered { number: self.last, time, units }, ticket));
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(Ordered, Option<Ticket>)>, OrderError> {
        Ok(self.waiting.pop_front().map(|(ordered, ticket)| (ordered, Some(ticket))))
    }
}
