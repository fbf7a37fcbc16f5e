//! Limits: sessions, streams, events, bytes, files and memory.
//!
//! Promises: every limit has one name in its setting, refusals, metric and `GET /stats`; a limit
//! for some streams replaces the one for all. Never: refuses anything itself. The connection
//! manager counts sessions, the journal counts streams.

mod bounds;
mod client;
mod forwarded;
mod key_store;
mod memory;
mod quota_owner;
mod rates;
mod shared_count;

pub use bounds::{Bound, Bounds, Limits, Rule, Scope, Usage};
pub use client::{Client, ClientKey};
pub use forwarded::{ForwardedHeaders, client_of};
pub use memory::{MemoryBudget, machine_memory_bytes, resident_bytes};
pub use quota_owner::QuotaOwner;
pub use rates::{RateExceeded, RateSpent, Rates};
pub use shared_count::{CountedAs, SharedCount};

/// The limits by name.
pub use crate::telemetry::Limit;
