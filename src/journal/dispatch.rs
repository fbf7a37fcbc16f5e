//! Committed batches on their way from the writer to the connection manager.

use super::batch::Committed;
use super::publisher::Answer;
use std::sync::Arc;

/// A durable batch on its way to the readers, with the publishers to be answered.
#[derive(Debug)]
pub struct Dispatch {
    /// The committed batch; `None` if every item was a duplicate.
    pub batch: Option<Arc<Committed>>,
    pub(crate) answers: Vec<Answer>,
}

impl Dispatch {
    /// Answers its publishers as they are, without saying whom the events went to.
    pub fn answer(self) {
        for answer in self.answers {
            // A publisher that has gone does not matter.
            let _ = answer.reply.send(Ok(answer.receipts));
        }
    }
}
