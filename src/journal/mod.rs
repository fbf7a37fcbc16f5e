//! The journal: one durable order of all published events, readable from any position.
//!
//! Promises: only the journal assigns positions; an acknowledged publish survives what the
//! durability mode covers (`sync`: power loss, `os`: a killed process); a loss is found and
//! reported, never silent.
//! Never: knows of clients or HTTP. `sequencer` decides which batch comes next, `store` applies it,
//! the writer thread drives both, [`History`] reads.

mod admission;
mod backup;
mod batch;
mod check;
mod clean_stop;
mod clock;
mod data_dir;
mod dispatch;
mod error;
mod free_space;
mod health;
mod high_water;
mod history;
mod intake;
mod keys;
mod kv;
#[cfg(feature = "cluster")]
mod log_copy;
mod loss;
mod metrics;
mod open;
mod order;
#[doc(hidden)]
pub mod probe;
mod proposals;
mod publisher;
mod recent;
mod reclaim;
mod recovery;
mod salvage;
mod sealing;
mod sequencer;
mod store;
mod stream_record;
#[cfg(test)]
mod testing;
mod tombstone;
mod watermark;
mod writer;

#[cfg(feature = "cluster")]
pub use backup::restore_snapshot;
pub use backup::{Backup, BackupError, restore, verify_backup};
pub use batch::{CommittedBatch, Item, PublishUnit, Refusal};
pub use check::{CheckReport, StreamSummary, check};
pub use clock::now;
pub use data_dir::{DataDirError, FORMAT};
pub use dispatch::Dispatch;
pub use error::{Damaged, JournalError};
pub use health::Health;
pub use history::{FirstEntry, History, MAX_FORK_DEPTH, Start, StreamState};
#[cfg(feature = "cluster")]
pub use log_copy::{LogComparison, LogCopy};
pub use loss::Loss;
pub use open::{Durability, Journal, OpenError, Settings};
pub use publisher::{MAX_QUEUED_BYTES, MAX_QUEUED_PUBLISHES, PublishError, Publisher};
pub use salvage::{Salvaged, salvage};
pub use store::{RetentionLimits, RetentionPolicy, StreamUsage, StreamView};
pub use stream_record::StreamRecord;
#[cfg(test)]
pub(crate) use testing::memory_journal;
