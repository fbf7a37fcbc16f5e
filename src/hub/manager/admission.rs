//! Admission of sessions: counters for every limit on sessions.
//!
//! Promises: a session is counted in every bucket from its admission to its end; a full bucket
//! admits no session. The counts are exact, because only the manager counts. Those of other hubs of a
//! cluster are some seconds old.

use crate::event::{Interest, Selector};
use crate::limits::{
    Bound, ClientKey, CountedAs, Limit, Limits, QuotaOwner, Scope, SharedCount, Usage,
};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Key of a counter of sessions.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Bucket {
    All(Scope),
    Client(Scope, ClientKey),
    Subject(Scope, Arc<str>),
    /// A stream, or a pattern as written.
    Stream(Selector),
}

/// A bucket that a session counts towards, and its maximum.
struct QuotaSlot {
    limit: Limit,
    scope: Scope,
    bucket: Bucket,
    max: u64,
}

/// Slots of one session, with each bucket once.
struct QuotaSlots(Vec<QuotaSlot>);

impl Bucket {
    /// Returns the bucket of a count of another hub, if it is one.
    fn of(count: &CountedAs) -> Option<Self> {
        Some(match count {
            CountedAs::Subject { scope, name } => Self::Subject(*scope, name.as_str().into()),
            CountedAs::Stream(selector) => Self::Stream(Selector::parse(selector).ok()?),
        })
    }

    /// Returns the subject or stream that other hubs count, too.
    fn shared(&self) -> Option<CountedAs> {
        match self {
            Self::All(_) | Self::Client(..) => None,
            Self::Subject(scope, name) => {
                Some(CountedAs::Subject { scope: *scope, name: name.as_ref().to_owned() })
            }
            Self::Stream(selector) => Some(CountedAs::Stream(selector.to_string())),
        }
    }
}

impl QuotaSlots {
    fn add(
        &mut self,
        limit: Limit,
        scope: Scope,
        bound: Option<Bound>,
        bucket: impl FnOnce() -> Bucket,
    ) {
        let Some(Bound { max, .. }) = bound else { return };
        let bucket = bucket();
        if self.0.iter().all(|slot| slot.bucket != bucket) {
            self.0.push(QuotaSlot { limit, scope, bucket, max });
        }
    }
}

#[derive(Clone, Copy, Default)]
struct SlotUsage {
    peak: u32,
    refusals: u64,
}

/// Counts of sessions, and the limits that apply to them.
pub(in crate::hub) struct Admission {
    limits: Arc<Limits>,
    counts: FxHashMap<Bucket, (Limit, Scope, u32)>,
    /// Counts of the other hubs of the cluster.
    elsewhere: FxHashMap<Bucket, u64>,
    usage_by_slot: FxHashMap<(Limit, Scope), SlotUsage>,
}

/// Part of a limit, for each hub, from which on a count is shared.
const SHARED_FROM_PART: u64 = 8;
/// Maximum number of counts that are shared, and bytes of a name, so that a report fits into a message.
const MAX_SHARED_COUNTS: usize = 4_096;
const MAX_SHARED_NAME_BYTES: usize = 256;

/// Limits that count sessions.
const SESSION_LIMITS: [Limit; 4] = [
    Limit::Connections,
    Limit::ConnectionsPerClient,
    Limit::ConnectionsPerSubject,
    Limit::ConnectionsPerStream,
];

impl Admission {
    pub(in crate::hub) fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            counts: FxHashMap::default(),
            elsewhere: FxHashMap::default(),
            usage_by_slot: FxHashMap::default(),
        }
    }

    /// Counts a session; fails with the limit that it would exceed.
    pub(in crate::hub) fn acquire(
        &mut self,
        owner: &QuotaOwner,
        interest: &Interest,
    ) -> Result<(), Limit> {
        let slots = self.slots(owner, interest);
        let is_full = |slot: &&QuotaSlot| {
            let here = self.counts.get(&slot.bucket).map_or(0, |(.., n)| u64::from(*n));
            let elsewhere = self.elsewhere.get(&slot.bucket).copied().unwrap_or_default();
            here + elsewhere >= slot.max.max(1)
        };
        if let Some(full) = slots.iter().find(is_full) {
            let (limit, scope) = (full.limit, full.scope);
            self.usage_by_slot.entry((limit, scope)).or_default().refusals += 1;
            return Err(limit);
        }
        self.count(slots);
        Ok(())
    }

    /// Returns the counts that another hub needs to know if there are `hubs`: all but those that are so low that
    /// they change little.
    pub(in crate::hub) fn shared_counts(&self, hubs: usize) -> Vec<SharedCount> {
        let share = SHARED_FROM_PART * hubs.max(1) as u64;
        let mut high: Vec<(u64, &Bucket, u32)> = Vec::new();
        for (bucket, (limit, scope, sessions)) in &self.counts {
            let bound = self.limits.bounds(*scope).and_then(|bounds| bounds.get(*limit));
            let Some(max) = bound.map(|bound| bound.max.max(1)) else { continue };
            let parts = u64::from(*sessions).saturating_mul(share) / max;
            if parts > 0 && matches!(bucket, Bucket::Subject(..) | Bucket::Stream(_)) {
                high.push((parts, bucket, *sessions));
            }
        }
        // The highest of too many.
        if high.len() > MAX_SHARED_COUNTS {
            high.select_nth_unstable_by_key(MAX_SHARED_COUNTS, |(parts, ..)| {
                std::cmp::Reverse(*parts)
            });
            high.truncate(MAX_SHARED_COUNTS);
        }
        let shared = |(_, bucket, sessions): (u64, &Bucket, u32)| {
            let of = bucket.shared().filter(|of| of.name().len() <= MAX_SHARED_NAME_BYTES)?;
            Some(SharedCount { of, sessions })
        };
        high.into_iter().filter_map(shared).collect()
    }

    /// Replaces the counts of all other hubs.
    pub(in crate::hub) fn set_elsewhere(&mut self, counts: &[SharedCount]) {
        self.elsewhere.clear();
        for count in counts {
            if let Some(bucket) = Bucket::of(&count.of) {
                *self.elsewhere.entry(bucket).or_default() += u64::from(count.sessions);
            }
        }
    }

    fn count(&mut self, slots: Vec<QuotaSlot>) {
        for slot in slots {
            let (.., count) = self.counts.entry(slot.bucket).or_insert((slot.limit, slot.scope, 0));
            *count += 1;
            let usage = self.usage_by_slot.entry((slot.limit, slot.scope)).or_default();
            usage.peak = usage.peak.max(*count);
        }
    }

    /// Removes a counted session from the counts.
    pub(in crate::hub) fn release(&mut self, owner: &QuotaOwner, interest: &Interest) {
        for slot in self.slots(owner, interest) {
            if let Some((.., count)) = self.counts.get_mut(&slot.bucket) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&slot.bucket);
                }
            }
        }
    }

    /// Replaces the limits. The `existing` sessions stay even if they exceed the new limits.
    /// Refusals and peaks of rules are reset, because rules have no names to match them by.
    pub(in crate::hub) fn change<'a>(
        &mut self,
        limits: Arc<Limits>,
        existing: impl Iterator<Item = (&'a QuotaOwner, &'a Interest)>,
    ) {
        self.limits = limits;
        self.counts.clear();
        self.usage_by_slot.retain(|(_, scope), _| *scope == Scope::HUB);
        for (owner, interest) in existing {
            let slots = self.slots(owner, interest);
            self.count(slots);
        }
    }

    /// Returns the buckets of a session; they stay the same until the limits change.
    fn slots(&self, owner: &QuotaOwner, interest: &Interest) -> Vec<QuotaSlot> {
        let selectors = interest.selectors();
        let scopes: Vec<Scope> = if self.limits.rules.is_empty() {
            vec![Scope::HUB; selectors.len()]
        } else {
            selectors.iter().map(|selector| self.limits.scope(selector)).collect()
        };
        let mut slots = QuotaSlots(Vec::with_capacity(4));
        // A rule's limit on sessions applies in addition to the hub's, not instead of it.
        for scope in std::iter::once(&Scope::HUB).chain(&scopes) {
            let bound = self.limits.bounds(*scope).and_then(|b| b.get(Limit::Connections));
            slots.add(Limit::Connections, *scope, bound, || Bucket::All(*scope));
        }
        for scope in &scopes {
            self.add_owner(&mut slots, owner, *scope);
        }
        for (selector, scope) in selectors.iter().zip(&scopes) {
            let (from, bound) = self.limits.bound(Limit::ConnectionsPerStream, *scope);
            let bucket = || Bucket::Stream(selector.clone());
            slots.add(Limit::ConnectionsPerStream, from, bound, bucket);
        }
        slots.0
    }

    fn add_owner(&self, slots: &mut QuotaSlots, owner: &QuotaOwner, scope: Scope) {
        let limit = Limit::ConnectionsPerClient;
        let (from, bound) = self.limits.bound(limit, scope);
        let bound = bound.filter(|bound| bound.is_explicit || !owner.client.is_local);
        slots.add(limit, from, bound, || Bucket::Client(from, owner.client.key()));
        if let Some(subject) = &owner.subject {
            let limit = Limit::ConnectionsPerSubject;
            let (from, bound) = self.limits.bound(limit, scope);
            slots.add(limit, from, bound, || Bucket::Subject(from, subject.clone()));
        }
    }

    /// Returns the use of every limit.
    pub(in crate::hub) fn usage(&self) -> Vec<Usage> {
        let mut max_counts: FxHashMap<(Limit, Scope), u32> = FxHashMap::default();
        for (limit, scope, count) in self.counts.values() {
            let max_count = max_counts.entry((*limit, *scope)).or_default();
            *max_count = (*max_count).max(*count);
        }
        let mut usage = Vec::new();
        for scope in self.limits.scopes() {
            for limit in SESSION_LIMITS {
                let bound = self.limits.bounds(scope).and_then(|bounds| bounds.get(limit));
                if bound.is_none() && scope != Scope::HUB {
                    continue;
                }
                let slot = self.usage_by_slot.get(&(limit, scope)).copied().unwrap_or_default();
                let counted = |n: u32| bound.map(|_| u64::from(n));
                usage.push(Usage {
                    limit: limit.as_str(),
                    streams: self.limits.streams(scope),
                    max: bound.map(|bound| bound.max),
                    r#use: counted(max_counts.get(&(limit, scope)).copied().unwrap_or(0)),
                    peak: counted(slot.peak),
                    refusals: slot.refusals,
                });
            }
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Client;
    use crate::limits::{Bounds, Rule};

    fn bounds(set: &[(Limit, u64)]) -> Bounds {
        let mut bounds = Bounds::default();
        for (limit, max) in set {
            bounds.set(*limit, Some(Bound { max: *max, is_explicit: true }));
        }
        bounds
    }

    fn owner(last: u8, subject: &str) -> QuotaOwner {
        let client = Client::at([192, 0, 2, last].into(), false);
        QuotaOwner { client, subject: (!subject.is_empty()).then(|| subject.into()) }
    }

    fn interest(selectors: &str) -> Interest {
        let selectors = selectors.split(',').map(|s| Selector::parse(s).expect("ok")).collect();
        Interest::new(selectors, None).expect("ok")
    }

    fn admission() -> Admission {
        use Limit::{
            Connections, ConnectionsPerClient, ConnectionsPerStream, ConnectionsPerSubject,
        };
        let rule = |streams: &str, set: &[(Limit, u64)]| Rule {
            streams: vec![Selector::parse(streams).expect("ok")],
            bounds: bounds(set),
        };
        Admission::new(Arc::new(Limits {
            hub: bounds(&[
                (Connections, 10),
                (ConnectionsPerClient, 3),
                (ConnectionsPerSubject, 2),
                (ConnectionsPerStream, 4),
            ]),
            rules: vec![
                rule("few.**", &[(Connections, 2)]),
                rule("one", &[(ConnectionsPerStream, 1)]),
                rule("many.**", &[(ConnectionsPerClient, 100), (ConnectionsPerStream, 100)]),
            ],
        }))
    }

    #[test]
    fn each_limit_refuses_by_name_and_admits_again_after_a_release() {
        let mut admission = admission();
        let a = interest("a");
        for subject in ["", "ann", "bob"] {
            assert_eq!(admission.acquire(&owner(1, subject), &a), Ok(()));
        }
        assert_eq!(admission.acquire(&owner(1, ""), &a), Err(Limit::ConnectionsPerClient));
        assert_eq!(admission.acquire(&owner(2, "ann"), &interest("b")), Ok(()));
        assert_eq!(
            admission.acquire(&owner(3, "ann"), &interest("b")),
            Err(Limit::ConnectionsPerSubject)
        );
        assert_eq!(admission.acquire(&owner(3, ""), &a), Ok(()));
        assert_eq!(
            admission.acquire(&owner(4, ""), &interest("b,a")),
            Err(Limit::ConnectionsPerStream)
        );
        admission.release(&owner(3, ""), &a);
        assert_eq!(admission.acquire(&owner(4, ""), &interest("b,a")), Ok(()));
    }

    #[test]
    fn sessions_at_other_hubs_count_towards_limits_of_subjects_and_streams() {
        let (mut here, mut there) = (admission(), admission());
        for (last, stream) in [(1, "a"), (2, "a"), (3, "one")] {
            let subject = if last == 3 { "" } else { "ann" };
            assert_eq!(there.acquire(&owner(last, subject), &interest(stream)), Ok(()));
        }
        let counts = there.shared_counts(2);
        assert_eq!(counts.len(), 3, "a subject and two streams, no clients: {counts:?}");
        let text = serde_json::to_string(&counts).expect("JSON");
        here.set_elsewhere(&serde_json::from_str::<Vec<SharedCount>>(&text).expect("counts"));
        let ann = owner(4, "ann");
        assert_eq!(here.acquire(&ann, &interest("b")), Err(Limit::ConnectionsPerSubject));
        let other = owner(5, "");
        assert_eq!(here.acquire(&other, &interest("one")), Err(Limit::ConnectionsPerStream));
        for _ in 0..2 {
            assert_eq!(here.acquire(&other, &interest("a")), Ok(()));
        }
        assert_eq!(here.acquire(&owner(6, ""), &interest("a")), Err(Limit::ConnectionsPerStream));
        here.set_elsewhere(&[]);
        assert_eq!(here.acquire(&ann, &interest("b")), Ok(()));
    }

    #[test]
    fn low_counts_are_not_shared() {
        let mut hub = Bounds::default();
        let bound = Bound { max: 100, is_explicit: true };
        hub.set(Limit::ConnectionsPerStream, Some(bound));
        let mut admission = Admission::new(Arc::new(Limits { hub, rules: Vec::new() }));
        for _ in 0..4 {
            admission.acquire(&owner(1, ""), &interest("low")).expect("admitted");
        }
        assert_eq!(admission.shared_counts(3), []);
        admission.acquire(&owner(1, ""), &interest("low")).expect("admitted");
        assert_eq!(admission.shared_counts(3).len(), 1, "5 of 100 are an eighth of its third");
    }

    #[test]
    fn rule_replaces_the_hub_limits_except_for_total_sessions() {
        let mut admission = admission();
        for _ in 0..5 {
            assert_eq!(admission.acquire(&owner(1, ""), &interest("many.x")), Ok(()));
        }
        assert_eq!(admission.acquire(&owner(1, ""), &interest("one")), Ok(()));
        assert_eq!(
            admission.acquire(&owner(2, ""), &interest("one")),
            Err(Limit::ConnectionsPerStream)
        );
        for last in [3, 4] {
            assert_eq!(admission.acquire(&owner(last, ""), &interest("few.x")), Ok(()));
        }
        assert_eq!(admission.acquire(&owner(5, ""), &interest("few.y")), Err(Limit::Connections));
        for last in [6, 7] {
            assert_eq!(admission.acquire(&owner(last, ""), &interest("x")), Ok(()));
        }
        assert_eq!(admission.acquire(&owner(8, ""), &interest("many.x")), Err(Limit::Connections));
        let used = |limit: Limit, streams: Option<&str>| {
            let usage = admission.usage();
            let is_requested = |u: &&Usage| {
                u.limit == limit.as_str() && u.streams == streams.map(|s| vec![s.to_owned()])
            };
            let usage = usage.iter().find(is_requested).expect("usage").clone();
            (usage.max, usage.r#use, usage.peak, usage.refusals)
        };
        assert_eq!(used(Limit::Connections, None), (Some(10), Some(10), Some(10), 1));
        assert_eq!(used(Limit::Connections, Some("few.**")), (Some(2), Some(2), Some(2), 1));
        assert_eq!(used(Limit::ConnectionsPerStream, Some("one")).3, 1);
        assert_eq!(
            used(Limit::ConnectionsPerClient, Some("many.**")),
            (Some(100), Some(5), Some(5), 0)
        );
    }

    #[test]
    fn all_counts_are_released_after_the_limits_change() {
        let mut admission = admission();
        let existing = [
            (owner(1, "ann"), interest("a,b.*")),
            (owner(1, ""), interest("few.x,one")),
            (owner(2, "ann"), interest("many.x")),
        ];
        for (owner, interest) in &existing {
            assert_eq!(admission.acquire(owner, interest), Ok(()));
        }
        let limits = Limits { hub: bounds(&[(Limit::Connections, 1)]), rules: Vec::new() };
        admission.change(Arc::new(limits), existing.iter().map(|(h, i)| (h, i)));
        assert_eq!(admission.acquire(&owner(9, ""), &interest("a")), Err(Limit::Connections));
        assert_eq!(admission.usage()[0].r#use, Some(3), "existing sessions stay");
        for (owner, interest) in &existing {
            admission.release(owner, interest);
        }
        assert!(admission.counts.is_empty());
        assert_eq!(admission.acquire(&owner(9, ""), &interest("a")), Ok(()));
    }

    #[test]
    fn default_limit_does_not_apply_to_local_clients() {
        let mut hub = Bounds::default();
        hub.set(Limit::ConnectionsPerClient, Some(Bound { max: 1, is_explicit: false }));
        let mut admission = Admission::new(Arc::new(Limits { hub, rules: Vec::new() }));
        let local = QuotaOwner { client: Client::at([127, 0, 0, 1].into(), true), subject: None };
        let other = owner(1, "");
        for _ in 0..3 {
            assert_eq!(admission.acquire(&local, &interest("a")), Ok(()));
        }
        assert_eq!(admission.acquire(&other, &interest("a")), Ok(()));
        assert_eq!(admission.acquire(&other, &interest("a")), Err(Limit::ConnectionsPerClient));
    }
}
