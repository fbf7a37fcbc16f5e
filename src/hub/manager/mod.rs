//! The connection manager: matches events to sessions and counts the sessions.
//!
//! Promises: batches are dispatched in order, each entry to every group that selects it; a session
//! is registered exactly between two batches, so that it knows the position after which it gets
//! everything; limits are exact, because only this actor counts.
//! Never: waits for a shard, a client or a disk.

mod admission;
mod interest_index;
mod pattern_metrics;
mod queries;
mod selector_index;
mod shard_slot;
#[cfg(feature = "mercure")]
mod topic_index;

pub(in crate::hub) use interest_index::InterestIndex;
pub use queries::{
    ChangeLimits, CountSubscribers, FindNames, GetPresence, GetSharedCounts, GetUsage,
    SetCountsElsewhere, SubscriberCount,
};
pub(in crate::hub) use selector_index::SelectorIndex;

use crate::event::{Body, Interest, Position, Selector, StreamName};
use crate::hub::ids::{GroupId, SessionKey, ShardId};
use crate::hub::messages::{FromShard, Registered, SubscribeRejection, ToShard};
use crate::journal::{CommittedBatch, Dispatch};
use crate::limits::Limits;
use crate::limits::QuotaOwner;
use crate::telemetry::{CloseReason, Published, Telemetry};
use actix::prelude::{Actor, AsyncContext, Context, Handler, Message, StreamHandler};
use admission::Admission;
use pattern_metrics::PatternMetrics;
use rustc_hash::FxHashMap;
use shard_slot::ShardSlot;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Maximum number of registrations, departures and queries that wait for the manager.
pub const MANAGER_MAILBOX: usize = 16_384;
/// Interval at which a shard with a full mailbox is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(5);
/// Interval at which the sessions of dead worker threads are released.
const GONE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Actor that dispatches committed batches to the shards and admits sessions.
pub struct ConnectionManager {
    telemetry: Telemetry,
    pattern_metrics: PatternMetrics,
    admission: Admission,
    shards: FxHashMap<ShardId, ShardSlot>,
    groups: FxHashMap<GroupId, SubscribedGroup>,
    by_interest: FxHashMap<Arc<Interest>, GroupId>,
    index: InterestIndex,
    next_group: GroupId,
    sessions: usize,
    /// Position of the last dispatched event.
    dispatched_watermark: Position,
    draining: Option<Duration>,
    drained: Option<oneshot::Sender<()>>,
    retrying: bool,
    batches: Option<mpsc::Receiver<Dispatch>>,
}

/// Sessions with the same interest.
struct SubscribedGroup {
    interest: Arc<Interest>,
    sessions_by_shard: FxHashMap<ShardId, u32>,
    total: u32,
}

impl ConnectionManager {
    /// Creates a manager that dispatches `batches`, which follow the position `dispatched`. Streams
    /// that match a pattern in `patterns` have separate metrics.
    pub fn new(
        batches: mpsc::Receiver<Dispatch>,
        dispatched: Position,
        limits: Arc<Limits>,
        telemetry: Telemetry,
        patterns: &[Selector],
    ) -> Self {
        Self {
            pattern_metrics: PatternMetrics::new(patterns, &telemetry),
            telemetry,
            admission: Admission::new(limits),
            shards: FxHashMap::default(),
            groups: FxHashMap::default(),
            by_interest: FxHashMap::default(),
            index: InterestIndex::default(),
            next_group: GroupId::of(1),
            sessions: 0,
            dispatched_watermark: dispatched,
            draining: None,
            drained: None,
            retrying: false,
            batches: Some(batches),
        }
    }

    fn dispatch(&mut self, dispatch: Dispatch) {
        let mut counts = Vec::new();
        let mut first = Position::ZERO;
        if let Some(batch) = dispatch.batch {
            first = batch.first;
            counts = self.fan_out(batch);
        }
        for answer in dispatch.answers {
            let mut receipts = answer.receipts;
            for (receipt, result) in receipts.iter_mut().zip(answer.results) {
                if !result.duplicate {
                    let index = result.position.get() - first.get();
                    receipt.subscribers = counts.get(index as usize).copied().unwrap_or(0);
                }
            }
            // The publisher may have disconnected.
            let _ = answer.reply.send(Ok(receipts));
        }
    }

    /// Sends each shard the entries that its groups select; returns the number of sessions that
    /// get each entry.
    fn fan_out(&mut self, batch: Arc<CommittedBatch>) -> Vec<u32> {
        let mut recipients: FxHashMap<ShardId, Vec<(u32, GroupId)>> = FxHashMap::default();
        let mut counts = Vec::with_capacity(batch.entries.len());
        let mut matched = Vec::new();
        let mut published = Published::default();
        for (index, entry) in batch.entries.iter().enumerate() {
            let interest_of = |id| self.groups.get(&id).map(|group| &*group.interest);
            self.index.find(entry, interest_of, &mut matched);
            let mut count = 0;
            for id in &matched {
                let Some(group) = self.groups.get(id) else { continue };
                count += group.total;
                for shard in group.sessions_by_shard.keys() {
                    recipients.entry(*shard).or_default().push((index as u32, *id));
                }
            }
            counts.push(count);
            if let Body::Event { kind, payload } = &entry.body {
                published.add(kind.as_str(), payload.as_bytes().len(), count);
                self.pattern_metrics.record(entry, count);
            }
        }
        self.telemetry.events_published(&published);
        self.dispatched_watermark = batch.last;
        for (id, recipients) in recipients {
            let Some(shard) = self.shards.get_mut(&id) else { continue };
            let batch = batch.clone();
            shard.deliver(ToShard::Deliver { batch, recipients }, &self.telemetry);
        }
        counts
    }

    fn register(
        &mut self,
        shard: ShardId,
        key: SessionKey,
        interest: Arc<Interest>,
        owner: Arc<QuotaOwner>,
    ) -> Result<Registered, SubscribeRejection> {
        if self.draining.is_some() {
            return Err(SubscribeRejection::Draining);
        }
        if !self.shards.contains_key(&shard) {
            // The shard's thread has ended; this message is late.
            return Err(SubscribeRejection::WorkerGone);
        }
        self.admission.acquire(&owner, &interest).map_err(SubscribeRejection::Limit)?;
        let group = match self.by_interest.get(&interest) {
            Some(id) => *id,
            None => self.new_group(interest),
        };
        if let Some(subscribed_group) = self.groups.get_mut(&group) {
            subscribed_group.total += 1;
            *subscribed_group.sessions_by_shard.entry(shard).or_insert(0) += 1;
        }
        if let Some(slot) = self.shards.get_mut(&shard) {
            slot.sessions.insert(key, (group, owner));
        }
        self.sessions += 1;
        Ok(Registered { group, through: self.dispatched_watermark })
    }

    fn new_group(&mut self, interest: Arc<Interest>) -> GroupId {
        let id = self.next_group;
        self.next_group = id.next();
        self.index.insert(&interest, id);
        self.by_interest.insert(interest.clone(), id);
        self.groups.insert(
            id,
            SubscribedGroup { interest, sessions_by_shard: FxHashMap::default(), total: 0 },
        );
        id
    }

    fn unregister(&mut self, shard: ShardId, key: SessionKey) {
        let registration = self.shards.get_mut(&shard).and_then(|slot| slot.sessions.remove(&key));
        let Some((group, owner)) = registration else { return };
        self.release(shard, group, &owner);
    }

    fn release(&mut self, shard: ShardId, id: GroupId, owner: &QuotaOwner) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        self.admission.release(owner, &group.interest);
        self.sessions -= 1;
        group.total -= 1;
        if let Some(shard_sessions) = group.sessions_by_shard.get_mut(&shard) {
            *shard_sessions -= 1;
            if *shard_sessions == 0 {
                group.sessions_by_shard.remove(&shard);
            }
        }
        if group.total == 0
            && let Some(group) = self.groups.remove(&id)
        {
            self.index.remove(&group.interest, id);
            self.by_interest.remove(&group.interest);
        }
        self.check_drained();
    }

    fn check_drained(&mut self) {
        if self.draining.is_some()
            && self.sessions == 0
            && let Some(drained) = self.drained.take()
        {
            let _ = drained.send(());
        }
    }

    fn disconnect_all(&mut self, window: Duration, reason: CloseReason) {
        for shard in self.shards.values_mut() {
            shard.send(ToShard::Leave { window, reason }, self.dispatched_watermark);
        }
    }

    /// Schedules another attempt to send the messages that wait for room in a shard's mailbox.
    fn retry_later(&mut self, ctx: &mut Context<Self>) {
        if self.retrying || !self.shards.values().any(ShardSlot::has_pending) {
            return;
        }
        self.retrying = true;
        ctx.run_later(RETRY_AFTER, |manager, ctx| {
            manager.retrying = false;
            for shard in manager.shards.values_mut() {
                shard.flush(manager.dispatched_watermark);
            }
            manager.retry_later(ctx);
        });
    }

    /// Releases the sessions of shards whose thread has ended.
    fn remove_gone_shards(&mut self) {
        let gone: Vec<ShardId> = self
            .shards
            .iter()
            .filter(|(_, shard)| !shard.address.work.connected())
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            if self.draining.is_none() {
                tracing::warn!(shard = %id, "a worker thread has ended; released its sessions");
            }
            let Some(slot) = self.shards.remove(&id) else { continue };
            for (group, owner) in slot.sessions.into_values() {
                self.release(id, group, &owner);
            }
        }
    }

    /// Returns the number of sessions that would get an event on `stream`.
    fn subscribers(&self, stream: &StreamName) -> u32 {
        let mut matched = Vec::new();
        self.index.selectors.matches(stream, &mut matched);
        matched.sort_unstable();
        matched.dedup();
        matched.iter().filter_map(|id| self.groups.get(id)).map(|group| group.total).sum()
    }
}

impl Actor for ConnectionManager {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MANAGER_MAILBOX);
        ctx.run_interval(GONE_CHECK_INTERVAL, |manager, _| manager.remove_gone_shards());
        if let Some(mut batches) = self.batches.take() {
            ctx.add_stream(futures_util::stream::poll_fn(move |cx| batches.poll_recv(cx)));
        }
    }
}

impl StreamHandler<Dispatch> for ConnectionManager {
    fn handle(&mut self, dispatch: Dispatch, ctx: &mut Self::Context) {
        self.dispatch(dispatch);
        self.retry_later(ctx);
    }

    /// Keeps the actor running after the journal is closed: sessions may still be leaving.
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl Handler<FromShard> for ConnectionManager {
    type Result = ();

    fn handle(&mut self, message: FromShard, ctx: &mut Self::Context) {
        match message {
            FromShard::ShardStarted { shard, address } => {
                let mut slot = ShardSlot::new(address);
                if let Some(window) = self.draining {
                    let reason = CloseReason::Draining;
                    slot.send(ToShard::Leave { window, reason }, self.dispatched_watermark);
                }
                self.shards.insert(shard, slot);
            }
            FromShard::Register { shard, key, interest, owner } => {
                let answer = self.register(shard, key, interest, owner);
                if let Some(slot) = self.shards.get_mut(&shard) {
                    slot.send(ToShard::Registered { key, answer }, self.dispatched_watermark);
                }
            }
            FromShard::Unregister { shard, key } => self.unregister(shard, key),
        }
        self.retry_later(ctx);
    }
}

/// Closes all sessions, spread over `window`, and refuses new ones.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// Time over which sessions are closed.
    pub window: Duration,
    /// Notified once the last session has ended.
    pub drained: oneshot::Sender<()>,
}

impl Handler<Drain> for ConnectionManager {
    type Result = ();

    fn handle(&mut self, drain: Drain, _: &mut Self::Context) {
        self.draining = Some(drain.window);
        self.drained = Some(drain.drained);
        self.disconnect_all(drain.window, CloseReason::Draining);
        self.check_drained();
    }
}

/// Closes all sessions, spread over `window`, because other hubs serve them better.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DisconnectAll {
    /// Time over which sessions are closed.
    pub window: Duration,
}

impl Handler<DisconnectAll> for ConnectionManager {
    type Result = ();

    fn handle(&mut self, DisconnectAll { window }: DisconnectAll, _: &mut Self::Context) {
        if self.draining.is_none() {
            self.disconnect_all(window, CloseReason::Isolated);
        }
    }
}
