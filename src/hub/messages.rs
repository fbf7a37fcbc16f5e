//! Messages between shards and the connection manager.

use super::admission::QuotaOwner;
use super::session::SessionKey;
use super::shard::Shard;
use crate::event::{Interest, Position};
use crate::journal::Committed;
use crate::limits::Limit;
use actix::{Addr, Message};
use std::sync::Arc;
use std::time::Duration;

/// A shard's name; never used twice.
pub(super) type ShardId = u64;
/// An interest's name; never used twice.
pub(super) type GroupId = u64;

/// Request of a subscriber.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// The streams and types it wants.
    pub interest: Arc<Interest>,
    /// View of the events.
    pub view: crate::wire::View,
    /// Client and subject that it is counted for.
    pub holder: QuotaOwner,
}

/// A place at the hub: everything dispatched after `through` will come.
pub struct PendingSession {
    /// The session, which has not begun to read.
    pub subscription: super::subscription::Subscription,
    /// The last place that was dispatched before the seat counted.
    pub through: Position,
}

/// Reason for which a subscriber was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubscribeRejection {
    /// The hub is stopping.
    Draining,
    /// [`MANAGER_MAILBOX`](super::MANAGER_MAILBOX) requests wait for the manager.
    ManagerQueue,
    /// This limit is reached.
    Limit(Limit),
}

/// Answer of the manager to the registration of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registered {
    /// Group of sessions with the same interest.
    pub(super) group: GroupId,
    /// The last place that was dispatched before.
    pub(super) through: Position,
}

/// Message from a shard to the manager.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum FromShard {
    /// A shard is there.
    Join { shard: ShardId, addr: Addr<Shard> },
    /// A session wants a seat.
    Seat { shard: ShardId, key: SessionKey, interest: Arc<Interest>, holder: Arc<QuotaOwner> },
    /// A session gives its seat back.
    Leave { shard: ShardId, key: SessionKey },
}

/// Message from the manager to a shard.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum ToShard {
    /// A seat, or why there is none.
    Seated { key: SessionKey, answer: Result<Registered, SubscribeRejection> },
    /// Entries of a batch and who takes them: pairs of index and group, in order.
    Deliver { batch: Arc<Committed>, takers: Vec<(u32, GroupId)> },
    /// Batches were left out because the mailbox was full: everybody reads on from history, up
    /// to `through`.
    Resync { through: Position },
    /// Tell every session to go, spread over the window.
    Drain { window: Duration },
}
