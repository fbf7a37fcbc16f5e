//! The publishers' side of a journal.

use super::batch::{Placed, Refusal, Unit};
use super::health::Health;
use super::writer::WriterMessage;
use crate::event::Receipt;
use crate::telemetry::{BoundHit, Telemetry};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use tokio::sync::oneshot;

/// Publish requests that may wait for the writer.
pub const MAX_QUEUED_PUBLISHES: usize = 8_192;
/// Bytes of them.
pub const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;

/// Reason for which nothing was published.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PublishError {
    /// The publish contradicts the state of a stream or key.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too many publishes wait already.
    #[error("the publish queue is full")]
    QueueFull,
    /// The hub is stopping.
    #[error("the hub is draining")]
    Draining,
    /// The disk has too little room.
    #[error("{0}")]
    DiskFull(String),
    /// The journal takes no more until a restart.
    #[error("the journal is poisoned: {0}")]
    Poisoned(String),
}

/// Answer to a publisher, and the number of sessions that the events went to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) placed: Vec<Placed>,
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) reply: Reply,
}

/// Sender of an answer; a publisher that is gone does not matter.
pub(crate) type Reply = oneshot::Sender<Result<Vec<Receipt>, PublishError>>;

/// Hands units to the writer. Cheap to clone.
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

    /// Publishes a unit whole or not at all. Returns at once where it cannot be taken, and
    /// otherwise once it is as durable as the hub's mode promises; a receipt for each item.
    /// Dropping the future does not take the unit back.
    pub async fn publish(&self, unit: Unit, bytes: usize) -> Result<Vec<Receipt>, PublishError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(PublishError::Draining);
        }
        if let Some(why) = self.health.poisoned() {
            return Err(PublishError::Poisoned(why.to_owned()));
        }
        if !self.health.enqueue(bytes, MAX_QUEUED_PUBLISHES, MAX_QUEUED_BYTES) {
            return Err(self.is_full());
        }
        let (reply, answer) = oneshot::channel();
        if let Err(error) = self.queue.try_send(WriterMessage::Publish { unit, bytes, reply }) {
            self.health.dequeue(bytes);
            return Err(match error {
                TrySendError::Full(_) => self.is_full(),
                TrySendError::Disconnected(_) => self.writer_gone(),
            });
        }
        answer.await.unwrap_or_else(|_| Err(self.writer_gone()))
    }

    fn is_full(&self) -> PublishError {
        self.telemetry.bound_hit(BoundHit::PublishQueue);
        PublishError::QueueFull
    }

    fn writer_gone(&self) -> PublishError {
        if self.closed.load(Ordering::Relaxed) {
            return PublishError::Draining;
        }
        let why = "its writer is gone";
        self.health.poison(why, &self.telemetry);
        PublishError::Poisoned(why.to_owned())
    }

    /// Refuses every publish from now on as draining; those in flight are answered.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Has the writer stop once it has done what waits.
    pub(super) fn stop_writer(&self) {
        self.close();
        // A writer that is gone has stopped.
        let _ = self.queue.send(WriterMessage::Stop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Exposition, Sampled};
    use std::sync::mpsc::sync_channel;

    fn publisher() -> (Publisher, std::sync::mpsc::Receiver<WriterMessage>) {
        let (queue, waiting) = sync_channel(MAX_QUEUED_PUBLISHES);
        let telemetry = Telemetry::new().expect("metrics");
        (
            Publisher::new(
                queue,
                Arc::new(Health::new(Vec::new(), None, Arc::default())),
                telemetry,
            ),
            waiting,
        )
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let (publisher, _waiting) = publisher();
        let half = MAX_QUEUED_BYTES / 2 + 1;
        let mut first = Box::pin(publisher.publish(Vec::new(), half));
        // Nobody writes, so the first one waits.
        let polled = futures_util::future::poll_immediate(&mut first).await;
        assert!(polled.is_none());
        assert_eq!(publisher.publish(Vec::new(), half).await, Err(PublishError::QueueFull));
    }

    #[tokio::test]
    async fn a_writer_that_is_gone_is_a_failure_and_not_a_drain() {
        let (publisher, waiting) = publisher();
        drop(waiting);
        let refused = publisher.publish(Vec::new(), 1).await;
        assert!(matches!(refused, Err(PublishError::Poisoned(_))), "{refused:?}");
        assert!(publisher.health.poisoned().is_some());
        let text = publisher.telemetry.render(&Sampled::default(), Exposition::Text);
        let text = String::from_utf8(text.expect("renders")).expect("UTF-8");
        assert!(text.contains("\nfanfare_journal_poisoned 1\n"), "it shows where it is looked for");
        publisher.close();
        assert_eq!(publisher.publish(Vec::new(), 1).await, Err(PublishError::Draining));
    }
}
