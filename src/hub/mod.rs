//! The hub: who wants what, and the way of a committed batch to them.
//!
//! Promises: every session gets every event it selects once, in the journal's order; one that
//! falls behind reads on from history; every queue here has a named bound and a counter.
//! Never: waits for a client or a disk. The [`ConnectionManager`] matches, a shard on each
//! worker thread frames and queues, a session is a cursor. A seat is given between two batches.

mod admission;
mod behind;
mod expiry;
mod farewell;
mod frames;
mod group;
mod hold;
mod listing;
mod manager;
mod matching;
mod outlet;
mod pace;
mod page;
mod poll;
#[doc(hidden)]
pub mod probe;
mod pulse;
mod round;
mod seat;
mod session;
mod shard;
mod shown;
mod slot;
mod subscription;
mod views;
mod wheel;

pub use admission::Holder;
pub use hold::Flush;
pub use listing::{Listed, SessionView, Wanted, close, sessions};
pub use manager::{
    AskPresence, AskUsage, ChangeLimits, ConnectionManager, CountSubscribers, Drain,
    MANAGER_MAILBOX, NamedStreams, Readers,
};
pub use outlet::{Outlet, Written};
pub use pace::Pace;
pub use pulse::Pulses;
pub use seat::{Refusal, Seat, Subscribe};
pub use session::{Beat, Opening};
pub use shard::ShardSettings;
pub use subscription::{ShardHandle, Subscription};
