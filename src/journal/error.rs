//! Errors of the journal.

use super::sealing::SealingError;
use super::sequencer::SequencerError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Failure to read or write the journal. Cheap to clone: one failure may answer many publishes.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// An earlier write or sync failed; the journal accepts no more writes.
    #[error("an earlier write or sync failed; repair the disk, then restart the hub")]
    Poisoned,
    /// Another process has the data directory open.
    #[error("it is in use by another process")]
    Locked,
    /// Stored bytes are damaged.
    #[error("{0}")]
    Damaged(Damaged),
    /// The system failed a read or a write of the store.
    #[error(transparent)]
    Io(Arc<io::Error>),
    /// A file beside the store could not be written.
    #[error("cannot write {file}: {source}")]
    File {
        /// Name in the data directory.
        file: &'static str,
        /// Failure of the system.
        source: Arc<io::Error>,
    },
    /// The store failed in another way.
    #[error(transparent)]
    Store(Arc<dyn std::error::Error + Send + Sync>),
    /// An event of a hidden stream could not be encrypted.
    #[error(transparent)]
    Sealing(Arc<SealingError>),
    /// A read on another thread was not finished.
    #[error("the read was not finished: {0}")]
    Unfinished(Arc<dyn std::error::Error + Send + Sync>),
    /// All stream numbers are used up.
    #[error("all stream numbers are used up")]
    NoStreamNumber,
    /// The sequencer refused a batch.
    #[error(transparent)]
    Sequencer(Arc<SequencerError>),
}

/// A damaged part of the journal.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Damaged {
    /// The value under a key.
    #[error("the journal entry at key {} is damaged", .0.escape_ascii())]
    Entry(Vec<u8>),
    /// An idempotency key.
    #[error("the idempotency key {0:?} is damaged")]
    IdempotencyKey(String),
    /// The last append of a producer.
    #[error("the record of the producer {0:?} is damaged")]
    Producer(String),
    /// A table or record of the journal.
    #[error("{0} is damaged")]
    Record(&'static str),
    /// Keys of hidden streams.
    #[error("{count} keys in {} are damaged; their chats cannot be read", .path.display())]
    StreamKeys {
        /// Number of damaged keys.
        count: usize,
        /// File that holds them.
        path: PathBuf,
    },
}

impl JournalError {
    /// Returns the error for a record that cannot be decoded.
    pub(super) fn damaged(record: &'static str) -> Self {
        Self::Damaged(Damaged::Record(record))
    }

    /// Returns a function that wraps a failure to write `file`.
    pub(super) fn writing(file: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::File { file, source: Arc::new(source) }
    }

    /// Returns the error for a read on another thread that was not finished.
    pub fn unfinished(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unfinished(Arc::new(error))
    }
}

impl From<SequencerError> for JournalError {
    fn from(error: SequencerError) -> Self {
        Self::Sequencer(Arc::new(error))
    }
}

impl From<SealingError> for JournalError {
    fn from(error: SealingError) -> Self {
        Self::Sealing(Arc::new(error))
    }
}
