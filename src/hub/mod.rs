//! Subscriptions and the fan-out of committed batches.
//!
//! Promises: every session gets each event that it selects exactly once, in the journal's order; a
//! session that falls behind reads from history; every queue has a named bound and a counter.
//! Never: waits for a client or a disk. The [`ConnectionManager`] matches events, a shard on each
//! worker thread frames and queues them, and a session is a cursor. A session is registered
//! between two batches.

mod ids;
mod liveness;
mod manager;
mod messages;
mod operators;
#[doc(hidden)]
pub mod probe;
mod retry_pacer;
mod session_view;
mod shard;
mod subscription;

pub use liveness::WorkerLiveness;
pub use manager::{
    ChangeLimits, ConnectionManager, CountSubscribers, DisconnectAll, Drain, FindNames,
    GetPresence, GetSharedCounts, GetUsage, MANAGER_MAILBOX, SetCountsElsewhere, SubscriberCount,
};
pub use messages::{Subscribe, SubscribeRejection};
pub use operators::{SessionPage, close, sessions};
pub use retry_pacer::RetryPacer;
pub use session_view::{SessionFilter, SessionView};
pub use shard::{DirectSink, FlushOptions, Heartbeat, SessionStart, ShardSettings, WriteOutcome};
pub use subscription::{PendingSession, ShardHandle, Subscription};
