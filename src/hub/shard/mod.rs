//! A shard: the sessions of one worker thread.
//!
//! `actor` receives messages and runs the loops, `state` composes the parts, and each part has a file:
//! `members` (sessions and their queues), `dispatch` (new batches), `flush_scheduler` and
//! `flush_delay` (writes to sockets), `poll` (bytes that a connection asks for), `close` and
//! `expiry` (ends of sessions).

mod actor;
mod close;
mod delivery;
mod direct_sink;
mod dispatch;
mod expiry;
mod flush_delay;
mod flush_scheduler;
mod frames;
mod listing;
mod manager_link;
mod members;
pub(in crate::hub) mod page;
mod poll;
mod session;
mod settings;
mod shared_queue;
mod state;
mod timer_wheel;
mod views;

pub(in crate::hub) use actor::Shard;
pub use direct_sink::{DirectSink, WriteOutcome};
pub(in crate::hub) use flush_delay::FlushDelay;
pub use flush_delay::FlushOptions;
pub(in crate::hub) use session::{CatchUp, Mode, Session, SessionOrigin};
pub use session::{Heartbeat, SessionStart};
pub use settings::ShardSettings;
pub(in crate::hub) use state::ShardState;
