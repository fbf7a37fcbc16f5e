//! How much of the hub anybody may take: sessions, streams, events and bytes, files and memory.
//!
//! Promises: every limit has a name that its refusals, its metric and `GET /stats` call it by; one
//! that is set for some streams takes the place of the one for all.
//! Never: refuses anybody itself. The connection manager counts sessions, the journal streams.

mod bounds;
mod client;
mod forwarded;
mod key_store;
mod memory;
mod rates;

pub use bounds::{Bound, Bounds, Limits, Rule, Scope, Usage};
pub use client::{Client, ClientKey};
pub use forwarded::{ForwardedHeaders, client_of};
pub use memory::{MemoryBudget, machine_memory_bytes, resident_bytes};
pub use rates::{RateExceeded, RateSpent, Rates};

/// The limits by name.
pub use crate::telemetry::Limit;
