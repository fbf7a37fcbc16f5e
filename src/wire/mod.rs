//! The spellings: how events, control events and publishes look on the wire.
//!
//! Promises: what is written here is read the same by every client (WHATWG HTML §9.2.6); what is
//! read here is either a checked [`Draft`](crate::event::Draft) or an error that names the place.
//! Never: I/O, and nothing of actix. Field names of the wire stand here and nowhere else.

mod body;
mod chunk;
mod control;
mod reply;
mod sse;

pub use body::{BodyError, MAX_EVENTS_PER_BODY, Publish, read_json, read_ndjson};
pub use chunk::{LAST_CHUNK, chunk};
pub use control::{Gap, Opening, Resume, hub_error, hub_gap, hub_notice, hub_open};
pub use reply::{end_receipt, receipt, receipts, summary};
pub use sse::{COMMENT, View, entry, heartbeat, retry};
