//! The handle that publishes to a journal.

use super::batch::{Item, ItemResult, PublishUnit, Refusal};
use super::health::Health;
use super::intake::{PendingPublish, WriterMessage};

use crate::event::{MAX_ENTRIES_PER_BATCH, Receipt};
use crate::telemetry::{BoundHit, Telemetry};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use tokio::sync::oneshot;

/// Maximum number of publish requests that wait for the writer.
pub const MAX_QUEUED_PUBLISHES: usize = 8_192;
/// Maximum number of bytes of publish requests that wait for the writer.
pub const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;

/// Reason why nothing was published.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PublishError {
    /// The publish contradicts the state of a stream or key.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too many publishes already wait.
    #[error("the publish queue is full")]
    QueueFull,
    /// The hub is stopping.
    #[error("the hub is draining")]
    Draining,
    /// The disk has too little free space.
    #[error("{0}")]
    DiskFull(String),
    /// The publish is larger than the log of the cluster accepts.
    #[error("{0}; publish fewer events at once")]
    TooLarge(String),
    /// The log of the cluster does not answer.
    #[error("the log of the cluster does not answer; nothing was published")]
    LogUnavailable,
    /// The log of the cluster has not confirmed the publish, which it may still do.
    #[error("the log of the cluster has not confirmed the publish; it may still be published")]
    Unconfirmed,
    /// The journal accepts no publishes until a restart.
    #[error("the journal is poisoned: {0}")]
    Poisoned(String),
}

/// Answer to a publisher; the connection manager adds the number of sessions that got the events.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) results: Vec<ItemResult>,
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) reply: Reply,
}

/// Sender of an answer; if the publisher is gone, the answer is dropped.
pub(crate) type Reply = oneshot::Sender<Result<Vec<Receipt>, PublishError>>;

/// Sends units to the writer. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    queue: SyncSender<WriterMessage>,
    health: Arc<Health>,
    telemetry: Telemetry,
    closed: Arc<AtomicBool>,
}

impl Publisher {
    pub(super) fn new(
        queue: SyncSender<WriterMessage>,
        health: Arc<Health>,
        telemetry: Telemetry,
    ) -> Self {
        Self { queue, health, telemetry, closed: Arc::default() }
    }

    /// Publishes a whole unit or nothing; returns a receipt for each item. Fails immediately if the
    /// unit cannot be accepted, and otherwise returns once the unit is as durable as the hub's mode
    /// promises. Dropping the future does not withdraw the unit.
    pub async fn publish(
        &self,
        unit: PublishUnit,
        bytes: usize,
    ) -> Result<Vec<Receipt>, PublishError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(PublishError::Draining);
        }
        if let Some(reason) = self.health.poisoned() {
            return Err(PublishError::Poisoned(reason.to_owned()));
        }
        let entries: usize = unit.iter().map(Item::max_entries).sum();
        if entries > MAX_ENTRIES_PER_BATCH {
            let why = format!("{entries} entries are more than a batch can have");
            return Err(PublishError::TooLarge(why));
        }
        if !self.health.enqueue(bytes, MAX_QUEUED_PUBLISHES, MAX_QUEUED_BYTES) {
            return Err(self.queue_full_error());
        }
        let (reply, answer) = oneshot::channel();
        let pending = PendingPublish { unit, bytes, reply };
        if let Err(error) = self.queue.try_send(WriterMessage::Publish(pending)) {
            self.health.dequeue(bytes);
            return Err(match error {
                TrySendError::Full(_) => self.queue_full_error(),
                TrySendError::Disconnected(_) => self.writer_gone(),
            });
        }
        answer.await.unwrap_or_else(|_| Err(self.writer_gone()))
    }

    fn queue_full_error(&self) -> PublishError {
        self.telemetry.bound_hit(BoundHit::PublishQueue);
        PublishError::QueueFull
    }

    fn writer_gone(&self) -> PublishError {
        if self.closed.load(Ordering::Relaxed) {
            return PublishError::Draining;
        }
        let reason = "the journal writer has stopped";
        self.health.poison(reason, &self.telemetry);
        PublishError::Poisoned(reason.to_owned())
    }

    /// Refuses all further publishes with [`PublishError::Draining`]; those in flight are answered.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Stops the writer after all queued messages.
    pub(super) fn stop_writer(&self) {
        self.close();
        // The send fails only if the writer has already stopped.
        let _ = self.queue.send(WriterMessage::Stop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Exposition, Sampled};
    use std::sync::mpsc::sync_channel;

    fn publisher() -> (Publisher, std::sync::mpsc::Receiver<WriterMessage>) {
        let (queue, messages) = sync_channel(MAX_QUEUED_PUBLISHES);
        let telemetry = Telemetry::new().expect("metrics");
        (
            Publisher::new(
                queue,
                Arc::new(Health::new(Vec::new(), None, Arc::default())),
                telemetry,
            ),
            messages,
        )
    }

    #[tokio::test]
    async fn full_queue_refuses_publishes_immediately() {
        let (publisher, _messages) = publisher();
        let half = MAX_QUEUED_BYTES / 2 + 1;
        let mut first = Box::pin(publisher.publish(Vec::new(), half));
        // There is no writer, so the first publish waits.
        let polled = futures_util::future::poll_immediate(&mut first).await;
        assert!(polled.is_none());
        assert_eq!(publisher.publish(Vec::new(), half).await, Err(PublishError::QueueFull));
    }

    #[tokio::test]
    async fn missing_writer_is_a_failure_and_not_a_drain() {
        let (publisher, messages) = publisher();
        drop(messages);
        let refused = publisher.publish(Vec::new(), 1).await;
        assert!(matches!(refused, Err(PublishError::Poisoned(_))), "{refused:?}");
        assert!(publisher.health.poisoned().is_some());
        let text = publisher.telemetry.render(&Sampled::default(), Exposition::Text);
        let text = String::from_utf8(text.expect("renders")).expect("UTF-8");
        assert!(text.contains("\nfanfare_journal_poisoned 1\n"), "the metric shows it");
        publisher.close();
        assert_eq!(publisher.publish(Vec::new(), 1).await, Err(PublishError::Draining));
    }
}
