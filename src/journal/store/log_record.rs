//! Records of a member of a cluster: the last message of the log that was applied, and the last batch of
//! each process that proposes.

use super::super::keys::{self, Encoder};
use super::super::kv::Changes;
#[cfg(feature = "cluster")]
use super::super::{keys::Decoder, kv::Kv};
use crate::cluster::ChainLink;
#[cfg(feature = "cluster")]
use crate::journal::error::JournalError;
#[cfg(feature = "cluster")]
use std::collections::BTreeMap;

/// Maximum number of processes whose last batch is stored. That of the process that has proposed
/// nothing for longest is dropped.
#[cfg(feature = "cluster")]
const MAX_PROPOSERS: usize = 256;

/// Progress in the log, as of the last batch.
#[cfg(feature = "cluster")]
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::journal) struct LogProgress {
    /// Last message.
    pub(in crate::journal) link: ChainLink,
    /// Last ticket of each process, and the message that had it.
    proposers: BTreeMap<u128, (u64, u64)>,
}

/// Result of comparing the ticket of a batch with the last one of its process.
#[cfg(feature = "cluster")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::journal) enum TicketOrder {
    /// The batch follows.
    Next,
    /// The batch was applied before.
    Repeated,
    /// Batches between the last one and this one are missing.
    Skipped,
}

/// Changes of the progress that one message makes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogStep {
    pub(in crate::journal) link: ChainLink,
    /// Process and ticket, if the batch was not applied before.
    pub(in crate::journal) proposer: Option<(u128, u64)>,
    /// Process whose record is dropped.
    pub(in crate::journal) dropped: Option<u128>,
}

#[cfg(feature = "cluster")]
impl LogProgress {
    /// Loads the progress that is stored.
    pub(in crate::journal) fn load(kv: &Kv) -> Result<Self, JournalError> {
        let damaged = || JournalError::damaged("the record of the log");
        let Some(value) = kv.get(keys::LOG_LINK)? else { return Ok(Self::default()) };
        let mut fields = Decoder(&value);
        let mut read = || {
            Some(ChainLink {
                sequence: fields.u64()?,
                previous: fields.u128()?,
                hash: fields.u128()?,
            })
        };
        let link = read().ok_or_else(damaged)?;
        let mut proposers = BTreeMap::new();
        for pair in kv.walk(vec![keys::PROPOSER], keys::end_of(keys::PROPOSER)) {
            let (key, value) = pair?;
            let mut fields = Decoder(&value);
            let mut read = || Some((keys::boot_of(&key)?, (fields.u64()?, fields.u64()?)));
            let (boot, last) = read().ok_or_else(damaged)?;
            proposers.insert(boot, last);
        }
        Ok(Self { link, proposers })
    }

    /// Compares the ticket of a batch with the last one of its process.
    pub(in crate::journal) fn order_of(&self, boot: u128, ticket: u64) -> TicketOrder {
        match self.proposers.get(&boot) {
            Some((last, _)) if ticket <= *last => TicketOrder::Repeated,
            Some((last, _)) if ticket > last + 1 => TicketOrder::Skipped,
            _ => TicketOrder::Next,
        }
    }

    /// Returns false if a message with this number and ticket is certainly none that was applied: a process
    /// proposes its tickets in order, and each batch once.
    pub(in crate::journal) fn may_have_had(&self, boot: u128, ticket: u64, sequence: u64) -> bool {
        self.proposers.get(&boot).is_some_and(|(last, at)| {
            if ticket == *last { sequence == *at } else { ticket < *last && sequence < *at }
        })
    }

    /// Moves on to a message. `proposer` is the process and the ticket of its batch, if it was not applied
    /// before.
    pub(in crate::journal) fn advance(
        &mut self,
        link: ChainLink,
        proposer: Option<(u128, u64)>,
    ) -> LogStep {
        self.link = link;
        let mut dropped = None;
        if let Some((boot, ticket)) = proposer {
            self.proposers.insert(boot, (ticket, link.sequence));
            if self.proposers.len() > MAX_PROPOSERS {
                let oldest = self.proposers.iter().min_by_key(|(_, (_, sequence))| *sequence);
                dropped = oldest.map(|(boot, _)| *boot);
                dropped.map(|boot| self.proposers.remove(&boot));
            }
        }
        LogStep { link, proposer, dropped }
    }
}

impl LogStep {
    /// Adds the records to the changes of a commit.
    pub(super) fn write(&self, changes: &mut Changes) {
        let ChainLink { sequence, previous, hash } = self.link;
        let link = Encoder(Vec::with_capacity(40)).u64(sequence).u128(previous).u128(hash);
        changes.put(keys::LOG_LINK.to_vec(), link.0);
        if let Some((boot, ticket)) = self.proposer {
            let value = Encoder(Vec::with_capacity(16)).u64(ticket).u64(sequence);
            changes.put(keys::proposer(boot), value.0);
        }
        if let Some(boot) = self.dropped {
            changes.remove(keys::proposer(boot));
        }
    }
}

#[cfg(all(test, feature = "cluster"))]
mod tests {
    use super::super::super::kv::{MemoryKv, Sync};
    use super::super::Floors;
    use super::*;

    #[test]
    fn tickets_of_a_process_follow_each_other() {
        let mut progress = LogProgress::default();
        assert_eq!(progress.order_of(7, 3), TicketOrder::Next, "of an unknown process");
        progress.advance(progress.link.next(b"a"), Some((7, 3)));
        assert_eq!(progress.order_of(7, 3), TicketOrder::Repeated);
        assert_eq!(progress.order_of(7, 4), TicketOrder::Next);
        assert_eq!(progress.order_of(7, 5), TicketOrder::Skipped);
        assert_eq!(progress.order_of(8, 5), TicketOrder::Next);
        let had = |boot, ticket, sequence| progress.may_have_had(boot, ticket, sequence);
        assert!(had(7, 3, 1) && !had(7, 3, 2), "with its own number only");
        assert!(!had(7, 2, 1) && !had(7, 4, 1) && !had(8, 3, 1));
    }

    #[test]
    fn progress_is_stored_and_bounded() {
        let kv = Kv::Memory(MemoryKv::new(std::sync::Arc::new(Floors::default())).into());
        let mut progress = LogProgress::default();
        for boot in 0..MAX_PROPOSERS as u128 + 2 {
            // The first process proposes all the time, the second one only once.
            for boot in [0, boot] {
                let ticket = progress.proposers.get(&boot).map_or(1, |(last, _)| last + 1);
                let step = progress.advance(progress.link.next(b"x"), Some((boot, ticket)));
                let mut changes = Changes::default();
                step.write(&mut changes);
                kv.commit(changes, Sync::Process).expect("commits");
            }
        }
        assert_eq!(LogProgress::load(&kv).expect("loads"), progress);
        assert_eq!(progress.proposers.len(), MAX_PROPOSERS);
        assert!(progress.proposers.contains_key(&0) && !progress.proposers.contains_key(&1));
    }
}
