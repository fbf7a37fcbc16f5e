//! Committed batches on their way from the writer to the connection manager.

use super::batch::CommittedBatch;
use super::publisher::Answer;
use std::sync::Arc;

/// A durable batch for fan-out, with the answers for its publishers.
#[derive(Debug)]
pub struct Dispatch {
    /// The committed batch; `None` if every item was a duplicate.
    pub batch: Option<Arc<CommittedBatch>>,
    pub(crate) answers: Vec<Answer>,
}

impl Dispatch {
    /// Answers the publishers with receipts that count no subscribers.
    pub fn answer(self) {
        for answer in self.answers {
            // The publisher may be gone, which does not matter.
            let _ = answer.reply.send(Ok(answer.receipts));
        }
    }
}
