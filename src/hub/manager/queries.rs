//! Queries to the connection manager.

use super::ConnectionManager;
use crate::event::StreamName;
use crate::hub::ids::GroupId;
use crate::hub::messages::{GetShards, ShardAddress};
use crate::limits::{Limits, SharedCount, Usage};
use actix::prelude::{Handler, Message, MessageResult};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// Counts the subscribers of each stream, in the given order.
#[derive(Message)]
#[rtype(result = "Vec<SubscriberCount>")]
pub struct CountSubscribers(pub Vec<StreamName>);

/// Number of subscribers of one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubscriberCount {
    /// Sessions that would get an event on the stream.
    pub subscribers: u32,
    /// True if one of them selects it by name, not only by a pattern.
    pub named: bool,
}

impl Handler<CountSubscribers> for ConnectionManager {
    type Result = Vec<SubscriberCount>;

    fn handle(&mut self, query: CountSubscribers, _: &mut Self::Context) -> Vec<SubscriberCount> {
        let count = |stream| SubscriberCount {
            subscribers: self.subscribers(stream),
            named: self.index.selectors.names(stream),
        };
        query.0.iter().map(count).collect()
    }
}

/// Returns the names of streams that sessions select by name, sorted.
#[derive(Message)]
#[rtype(result = "Vec<StreamName>")]
pub struct FindNames {
    /// Prefix of the names.
    pub prefix: String,
    /// Name after which the list begins.
    pub after: Option<String>,
    /// Maximum number of names.
    pub limit: usize,
}

impl Handler<FindNames> for ConnectionManager {
    type Result = Vec<StreamName>;

    fn handle(&mut self, query: FindNames, _: &mut Self::Context) -> Vec<StreamName> {
        let names = self.index.selectors.exact_names(&query.prefix, query.after.as_deref());
        names.take(query.limit).cloned().collect()
    }
}

/// Returns the use of the limits on sessions.
#[derive(Message)]
#[rtype(result = "Vec<Usage>")]
pub struct GetUsage;

impl Handler<GetUsage> for ConnectionManager {
    type Result = Vec<Usage>;

    fn handle(&mut self, _: GetUsage, _: &mut Self::Context) -> Vec<Usage> {
        self.admission.usage()
    }
}

/// Gets the counts that the other hubs of the cluster need, of which there are `others`.
#[derive(Message)]
#[rtype(result = "Vec<SharedCount>")]
pub struct GetSharedCounts {
    /// Number of other hubs.
    pub others: usize,
}

impl Handler<GetSharedCounts> for ConnectionManager {
    type Result = Vec<SharedCount>;

    fn handle(&mut self, query: GetSharedCounts, _: &mut Self::Context) -> Vec<SharedCount> {
        self.admission.shared_counts(query.others + 1)
    }
}

/// Replaces the counts of the other hubs of the cluster.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SetCountsElsewhere(pub Vec<SharedCount>);

impl Handler<SetCountsElsewhere> for ConnectionManager {
    type Result = ();

    fn handle(&mut self, SetCountsElsewhere(counts): SetCountsElsewhere, _: &mut Self::Context) {
        self.admission.set_elsewhere(&counts);
    }
}

/// Counts the sessions that would get an event on a stream, by subject.
#[derive(Message)]
#[rtype(result = "FxHashMap<Option<Arc<str>>, u32>")]
pub struct GetPresence(pub StreamName);

impl Handler<GetPresence> for ConnectionManager {
    type Result = MessageResult<GetPresence>;

    fn handle(&mut self, query: GetPresence, _: &mut Self::Context) -> Self::Result {
        let mut groups = Vec::new();
        self.index.selectors.matches(&query.0, &mut groups);
        let groups: FxHashSet<GroupId> = groups.into_iter().collect();
        let mut by_subject: FxHashMap<Option<Arc<str>>, u32> = FxHashMap::default();
        let sessions = self.shards.values().flat_map(|slot| slot.sessions.values());
        for (_, owner) in sessions.filter(|(group, _)| groups.contains(group)) {
            *by_subject.entry(owner.subject.clone()).or_default() += 1;
        }
        MessageResult(by_subject)
    }
}

impl Handler<GetShards> for ConnectionManager {
    type Result = Vec<ShardAddress>;

    fn handle(&mut self, _: GetShards, _: &mut Self::Context) -> Vec<ShardAddress> {
        self.shards.values().map(|slot| slot.address.clone()).collect()
    }
}

/// Replaces the limits on sessions; existing sessions stay.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ChangeLimits(pub Arc<Limits>);

impl Handler<ChangeLimits> for ConnectionManager {
    type Result = ();

    fn handle(&mut self, change: ChangeLimits, _: &mut Self::Context) {
        let sessions = self.shards.values().flat_map(|slot| slot.sessions.values());
        let existing = sessions
            .filter_map(|(group, owner)| Some((&**owner, &*self.groups.get(group)?.interest)));
        self.admission.change(change.0, existing);
    }
}
