//! The publishes that wait for the writer, and the batches that it makes of them.

use super::batch::{Item, PublishUnit};
use super::history::History;
use super::publisher::{PublishError, Reply};
use crate::event::durable::StreamChange;
use crate::event::{MAX_ENTRIES_PER_BATCH, StreamName};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Maximum bytes of publishes in one commit, so that a commit stays short.
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Message to the writer.
pub(super) enum WriterMessage {
    /// A unit to publish.
    Publish(PendingPublish),
    /// The sequencer has a batch.
    #[cfg(feature = "cluster")]
    Ordered,
    /// Stop after all earlier messages.
    Stop,
}

/// A publish that waits for its commit.
pub(super) struct PendingPublish {
    pub(super) unit: PublishUnit,
    pub(super) bytes: usize,
    pub(super) reply: Reply,
}

impl PendingPublish {
    /// Returns true if it deletes a stream or ends an existing one; ending another would create it.
    pub(super) fn closes(&self, history: &History) -> bool {
        self.unit.iter().any(|item| match item {
            Item::Event(_) => false,
            Item::End(stream) => history.has_history(stream),
            Item::Delete { .. } => true,
            Item::Command(command) => match &command.change {
                StreamChange::Append(append) => append.close && append.drafts.is_empty(),
                StreamChange::Expire { .. } => true,
                StreamChange::Create(_) | StreamChange::Touch { .. } => false,
            },
        })
    }

    /// Returns the streams of each item, for the receipts.
    pub(super) fn streams(&self) -> Vec<Box<[StreamName]>> {
        let streams = self.unit.iter().map(|item| match item {
            Item::Event(draft) => draft.streams().into(),
            Item::End(stream) | Item::Delete { stream, .. } => [stream.clone()].into(),
            Item::Command(command) => [command.stream.clone()].into(),
        });
        streams.collect()
    }

    /// Answers that nothing was published.
    pub(super) fn refuse(self, error: &PublishError) {
        let _ = self.reply.send(Err(error.clone()));
    }
}

/// The messages to the writer, and the publishes that were taken from them.
pub(super) struct Intake {
    queue: Receiver<WriterMessage>,
    /// Publishes that belong to no batch yet.
    waiting: VecDeque<PendingPublish>,
    is_stopping: bool,
}

impl Intake {
    pub(super) fn new(queue: Receiver<WriterMessage>) -> Self {
        Self { queue, waiting: VecDeque::new(), is_stopping: false }
    }

    /// Returns true if no publish waits that was taken from the queue.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns true if nothing comes after the publishes that wait.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Waits for a message. Returns false if there was none.
    pub(super) fn wait(&mut self, time: Duration) -> bool {
        match self.queue.recv_timeout(time) {
            Ok(message) => self.receive(message),
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => self.is_stopping = true,
        }
        true
    }

    fn receive(&mut self, message: WriterMessage) {
        match message {
            WriterMessage::Publish(pending) => self.waiting.push_back(pending),
            #[cfg(feature = "cluster")]
            WriterMessage::Ordered => {}
            WriterMessage::Stop => self.is_stopping = true,
        }
    }

    /// Takes the publishes that fit in one batch, also those that are still in the queue.
    pub(super) fn take_batch(&mut self) -> Vec<PendingPublish> {
        let (mut items, mut bytes) = (0, 0);
        let mut batch = Vec::new();
        loop {
            while let Some(next) = self.waiting.front() {
                items += next.unit.iter().map(Item::max_entries).sum::<usize>();
                bytes += next.bytes;
                let is_full = items > MAX_ENTRIES_PER_BATCH || bytes > MAX_BATCH_BYTES;
                if is_full && !batch.is_empty() {
                    return batch;
                }
                batch.extend(self.waiting.pop_front());
            }
            if self.is_stopping {
                return batch;
            }
            match self.queue.try_recv() {
                Ok(message) => self.receive(message),
                Err(_) => return batch,
            }
        }
    }
}
