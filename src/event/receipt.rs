//! Receipt of a publish, once its event is durable.

use super::{EventId, StreamName};

/// The answer to one published event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Id of the event; for a duplicate, that of the first publish.
    pub id: EventId,
    /// Streams of the event.
    pub streams: Box<[StreamName]>,
    /// Number of sessions that the event is sent to; 0 for a duplicate.
    pub subscribers: u32,
    /// True if the idempotency key was known, so that nothing was published.
    pub duplicate: bool,
}
