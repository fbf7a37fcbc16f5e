//! The hub: who wants what, and the way of a committed batch to them.
//!
//! Promises: every session gets every event it selects once, in the journal's order; one that
//! falls behind reads on from history; every queue here has a named bound and a counter.
//! Never: waits for a client or a disk. The [`ConnectionManager`] matches, a [`Shard`] on each
//! worker thread frames and queues, a [`Session`](session) is a cursor.

mod group;
mod manager;
mod matching;
mod pace;
mod poll;
mod seat;
mod session;
mod shard;
mod wheel;

pub use manager::{
    ConnectionManager, CountSubscribers, Drain, MANAGER_MAILBOX, NamedStreams, Readers,
};
pub use pace::Pace;
pub use seat::{Limit, Seat, Subscribe};
pub use session::{Beat, Opening};
pub use shard::{ShardHandle, ShardSettings, Subscription};
