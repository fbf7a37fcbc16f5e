//! Core types of the hub: stream name, selector, draft, entry, position, receipt.
//!
//! Promises: a value of any of these types is valid, because each can only be built by a
//! constructor that checks it; the checks name the field that is wrong.
//! Never: I/O, locks, clocks (the time is a parameter).

mod draft;
pub mod durable;
mod entry;
mod event_type;
#[cfg(feature = "search")]
mod filter;
mod interest;
mod invalid;
pub(crate) mod json;
mod level;
mod lines;
mod payload;
mod position;
mod receipt;
mod reserved;
mod selector;
mod shape;
mod stream_name;
mod timestamp;
#[cfg(feature = "mercure")]
pub mod topic;

pub use draft::{Draft, Key, MAX_STREAMS_PER_EVENT};
pub use entry::{Body, EndReason, Entry};
pub use event_type::EventType;
#[cfg(feature = "search")]
pub use filter::Filter;
pub use interest::{Interest, MAX_SELECTORS};
pub use invalid::Invalid;
#[cfg(any(feature = "cli", feature = "jobs", feature = "search", feature = "tail"))]
pub(crate) use level::level_of;
pub use lines::{Line, LineSplitter, MAX_LINE_BYTES};
pub use payload::{Payload, PayloadKind};
pub use position::{Epoch, EventId, MAX_ENTRIES_PER_BATCH, Position};
pub use receipt::Receipt;
pub use selector::Selector;
pub use stream_name::StreamName;
pub use timestamp::Timestamp;
