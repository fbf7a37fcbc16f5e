//! Messages between the shards and the connection manager: their only interface to each other.

use super::ids::{GroupId, SessionKey, ShardId};
use super::session_view::{SessionFilter, SessionView};
use crate::event::{Interest, Position};
use crate::journal::CommittedBatch;
use crate::limits::Limit;
use crate::limits::QuotaOwner;
use crate::telemetry::CloseReason;
use actix::{Message, Recipient};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Request of a subscriber.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// Requested streams and event types.
    pub interest: Arc<Interest>,
    /// View of the events.
    pub view: crate::wire::View,
    /// Client and subject that it is counted for.
    pub owner: QuotaOwner,
}

/// Reason for which a subscriber was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubscribeRejection {
    /// The hub is stopping.
    Draining,
    /// The hub is cut off from the log of its cluster.
    Isolated,
    /// [`MANAGER_MAILBOX`](super::MANAGER_MAILBOX) requests wait for the manager.
    ManagerQueue,
    /// The worker thread of the session has ended.
    WorkerGone,
    /// The begin of the subscription could not be published.
    Unpublished,
    /// This limit is reached.
    Limit(Limit),
}

/// Answer of the manager to the registration of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registered {
    /// Group of sessions with the same interest.
    pub(super) group: GroupId,
    /// Position of the last event dispatched before the registration; all later ones arrive live.
    pub(super) through: Position,
}

/// Message from a shard to the manager.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum FromShard {
    /// A shard has started.
    ShardStarted { shard: ShardId, address: ShardAddress },
    /// A session registers.
    Register { shard: ShardId, key: SessionKey, interest: Arc<Interest>, owner: Arc<QuotaOwner> },
    /// A session has ended.
    Unregister { shard: ShardId, key: SessionKey },
}

/// Message from the manager to a shard.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum ToShard {
    /// Answer to a registration.
    Registered { key: SessionKey, answer: Result<Registered, SubscribeRejection> },
    /// Batch with the groups that receive its entries: pairs of entry index and group, in order.
    Deliver { batch: Arc<CommittedBatch>, recipients: Vec<(u32, GroupId)> },
    /// Batches up to `through` were left out because the mailbox was full: every session reads them
    /// from history.
    Resync { through: Position },
    /// Closes every session with a reason, spread over the window.
    Leave { window: Duration, reason: CloseReason },
}

/// Returns the sessions of a shard that match a filter.
#[derive(Message)]
#[rtype(result = "Vec<SessionView>")]
pub(super) struct ListSessions(pub(super) Arc<SessionFilter>);

/// Closes a session of a shard; returns true if the shard has it.
#[derive(Message)]
#[rtype(result = "bool")]
pub(super) struct CloseSession(pub(super) Uuid);

/// Returns the addresses of all shards.
#[derive(Message)]
#[rtype(result = "Vec<ShardAddress>")]
pub(super) struct GetShards;

/// Mailbox of a shard: a recipient for each type of message.
#[derive(Clone)]
pub(super) struct ShardAddress {
    pub(super) work: Recipient<ToShard>,
    pub(super) list: Recipient<ListSessions>,
    pub(super) close: Recipient<CloseSession>,
}
