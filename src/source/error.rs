//! Errors of sources.

use crate::access::RevokeError;
use crate::event::Invalid;
use crate::journal::{JournalError, PublishError};
use tokio::task::JoinError;

/// Failure of a source, which is then restarted.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Earlier events of the source cannot be read.
    #[error("cannot read the journal: {0}")]
    Journal(#[from] JournalError),
    /// An event was refused.
    #[error("cannot publish: {0}")]
    Publish(#[from] PublishError),
    /// An event that the source formed is not valid.
    #[error("cannot create an event: {0}")]
    Invalid(#[from] Invalid),
    /// The data of an event cannot be written as JSON.
    #[error("cannot serialize the data of an event: {0}")]
    Data(#[from] serde_json::Error),
    /// A blocking task panicked.
    #[error("a task panicked")]
    Panicked(#[from] JoinError),
    /// A revocation of another hub cannot be stored.
    #[error(transparent)]
    Revoke(#[from] RevokeError),
    /// The input of the source has ended.
    #[error("the input has ended")]
    Ended,
}
