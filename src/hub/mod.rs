//! The hub: who wants what, and the way of a committed batch to them.
//!
//! Promises: every session gets every event it selects once, in the journal's order; one that
//! falls behind reads on from history; every queue here has a named bound and a counter.
//! Never: waits for a client or a disk. The [`ConnectionManager`] matches, a shard on each
//! worker thread frames and queues, a session is a cursor. A seat is given between two batches.

mod ids;
mod liveness;
mod manager;
mod messages;
mod operators;
#[doc(hidden)]
pub mod probe;
mod quota_owner;
mod retry_pacer;
mod session_view;
mod shard;
mod subscription;

pub use liveness::WorkerLiveness;
pub use manager::{
    ChangeLimits, ConnectionManager, CountSubscribers, Drain, FindNames, GetPresence, GetUsage,
    MANAGER_MAILBOX, SubscriberCount,
};
pub use messages::{Subscribe, SubscribeRejection};
pub use operators::{SessionPage, close, sessions};
pub use quota_owner::QuotaOwner;
pub use retry_pacer::RetryPacer;
pub use session_view::{SessionFilter, SessionView};
pub use shard::{DirectSink, FlushOptions, Heartbeat, SessionStart, ShardSettings, WriteOutcome};
pub use subscription::{PendingSession, ShardHandle, Subscription};
