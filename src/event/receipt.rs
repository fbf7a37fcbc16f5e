//! Receipt of a publish, once its event is durable.

use super::{EventId, StreamName};

/// The answer to one published event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The event's id; the first one's where this was a duplicate.
    pub id: EventId,
    /// The streams it went to.
    pub streams: Box<[StreamName]>,
    /// Sessions it is going to; 0 on a duplicate.
    pub subscribers: u32,
    /// True if the idempotency key was known, so that nothing was published.
    pub duplicate: bool,
}
