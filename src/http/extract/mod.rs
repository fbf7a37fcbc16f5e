//! Parts of a request that several handlers need.

pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod cookie;
pub(crate) mod idempotency_key;
pub(crate) mod identity;
pub(crate) mod last_event_id;
#[cfg(feature = "mercure")]
pub(crate) mod mercure;
pub(crate) mod query;
