//! Admission: which of the waiting publishes the writer proposes, and which it refuses.

use super::clock::now;
use super::free_space::FreeSpaceGuard;
use super::health::Step;
use super::intake::PendingPublish;
use super::publisher::PublishError;
use super::sequencer::Proposal;
#[cfg(feature = "cluster")]
use super::sequencer::SequencerError;
use super::writer::Writer;
use crate::journal::error::JournalError;

impl Writer {
    /// Proposes the next batch.
    pub(super) fn propose_next(&mut self) {
        let waiting = self.intake.take_batch();
        self.health.begin(Step::Commit);
        waiting.iter().for_each(|pending| self.health.dequeue(pending.bytes));
        let waiting = match self.admit() {
            Ok(()) => waiting,
            // Ending or deleting a stream writes little, and the reserve exists for it.
            Err(full @ PublishError::DiskFull(_)) if !self.is_reserve_spent() => {
                let closes = |pending: &PendingPublish| pending.closes(&self.history);
                let (admitted, others) = waiting.into_iter().partition(closes);
                refuse(others, &full);
                admitted
            }
            Err(error) => return refuse(waiting, &error),
        };
        if waiting.is_empty() {
            return;
        }
        let mut units = Vec::with_capacity(waiting.len());
        let mut replies = Vec::with_capacity(waiting.len());
        let mut bytes = 0;
        for pending in waiting {
            bytes += pending.bytes;
            let streams = pending.streams();
            replies.push((pending.reply, streams));
            units.push(pending.unit);
        }
        let ticket = self.proposals.add(bytes, replies);
        let (emptied, stream_limits) = (Vec::new(), self.store.limits_for(&units));
        let proposal = Proposal { ticket, time: now(), emptied, units, stream_limits };
        match self.sequencer.propose(proposal) {
            Ok(()) => {}
            #[cfg(feature = "cluster")]
            Err(error @ SequencerError::TooLarge { .. }) => {
                self.proposals.refuse_last(&PublishError::TooLarge(error.to_string()));
            }
            Err(error) => self.fail(&error.into()),
        }
    }

    /// Proposes the removal of streams that retention has emptied.
    pub(super) fn propose_removal(&mut self) -> Result<(), JournalError> {
        if !self.sequencer.has_room() || !self.sequencer.is_reachable() || self.is_reserve_spent() {
            return Ok(());
        }
        let emptied = self.store.take_emptied();
        if emptied.is_empty() {
            return Ok(());
        }
        let ticket = self.proposals.add(0, Vec::new());
        let (units, stream_limits) = (Vec::new(), None);
        let proposal = Proposal { ticket, time: now(), emptied, units, stream_limits };
        Ok(self.sequencer.propose(proposal)?)
    }

    /// Answers the publishers that wait for a sequencer that does not answer.
    pub(super) fn refuse_stalled(&mut self) {
        self.proposals.answer_all(&PublishError::Unconfirmed);
        self.refuse_waiting(&PublishError::LogUnavailable);
    }

    /// Answers the publishers whose batch is not proposed yet.
    pub(super) fn refuse_waiting(&mut self, error: &PublishError) {
        while !self.intake.is_empty() {
            let waiting = self.intake.take_batch();
            waiting.iter().for_each(|pending| self.health.dequeue(pending.bytes));
            refuse(waiting, error);
        }
    }

    /// Returns an error if no commit may be attempted.
    pub(super) fn admit(&mut self) -> Result<(), PublishError> {
        if let Some(reason) = self.health.poisoned() {
            return Err(PublishError::Poisoned(reason.to_owned()));
        }
        if !self.sequencer.is_reachable() {
            return Err(PublishError::LogUnavailable);
        }
        let shortage = self.free_space.as_ref().and_then(FreeSpaceGuard::shortage);
        if shortage != self.health.disk_full() {
            match &shortage {
                Some(reason) => tracing::error!(reason, "disk is nearly full; refusing publishes"),
                None => tracing::info!("disk space is available again; accepting publishes"),
            }
            self.telemetry.journal_disk_full(shortage.is_some());
            self.health.set_disk_full(shortage.clone());
        }
        shortage.map_or(Ok(()), |reason| Err(PublishError::DiskFull(reason)))
    }
}

fn refuse(waiting: Vec<PendingPublish>, error: &PublishError) {
    waiting.into_iter().for_each(|pending| pending.refuse(error));
}
