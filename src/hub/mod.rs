//! The hub: who wants what, and the way of a committed batch to them.
//!
//! Promises: every session gets every event it selects once, in the journal's order; one that
//! falls behind reads on from history; every queue here has a named bound and a counter.
//! Never: waits for a client or a disk. The [`ConnectionManager`] matches, a shard on each
//! worker thread frames and queues, a session is a cursor. A seat is given between two batches.

mod admission;
mod close;
mod direct_sink;
mod expiry;
mod fallback;
mod flush_delay;
mod flush_scheduler;
mod frames;
mod listing;
mod liveness;
mod manager;
mod messages;
mod page;
mod pattern_metrics;
mod poll;
#[doc(hidden)]
pub mod probe;
mod retry_pacer;
mod selector_index;
mod session;
mod shard;
mod shard_slot;
mod shared_queue;
mod subscription;
mod timer_wheel;
mod views;

pub use admission::QuotaOwner;
pub use direct_sink::{DirectSink, WriteOutcome};
pub use flush_delay::FlushOptions;
pub use listing::{SessionFilter, SessionPage, SessionView, close, sessions};
pub use liveness::WorkerLiveness;
pub use manager::{
    ChangeLimits, ConnectionManager, CountSubscribers, Drain, FindNames, GetPresence, GetUsage,
    MANAGER_MAILBOX, SubscriberCount,
};
pub use messages::{PendingSession, Subscribe, SubscribeRejection};
pub use retry_pacer::RetryPacer;
pub use session::{Heartbeat, SessionStart};
pub use shard::ShardSettings;
pub use subscription::{ShardHandle, Subscription};
