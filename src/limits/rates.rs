//! Publish rates: events and bytes per second, by client and by subject.
//!
//! A client may use a second's worth at once, or one whole request if that is more: a batch of the
//! maximum size passes on a quiet hub.

use super::Limit;
use super::bounds::{Bound, Limits, Scope, Usage};
use super::client::ClientKey;
use super::key_store::BoundedKeyStore;
use super::quota_owner::QuotaOwner;
use crate::event::{MAX_ENTRIES_PER_BATCH, StreamName};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::{Quota, RateLimiter};
use rustc_hash::FxHashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Maximum number of clients and subjects with separate rates. One is forgotten once its burst is
/// fully replenished.
const MAX_REMEMBERED: usize = 100_000;
/// Unit of byte rates that do not fit in 32 bits.
const LARGE_UNIT_BYTES: u64 = 1024;

type Limiter = RateLimiter<Key, BoundedKeyStore<Key>, DefaultClock, StateInformationMiddleware>;

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Client(ClientKey),
    Subject(Arc<str>),
}

/// Events and bytes of one request, for the same scopes.
#[derive(Clone, Copy, Default, Debug)]
pub struct RateSpent {
    events: u64,
    bytes: u64,
}

/// Refusal of a publish that exceeds a rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateExceeded {
    /// The limit.
    pub limit: Limit,
    /// Time until it would be accepted.
    pub wait: Duration,
}

/// Publish rates of all clients and subjects.
pub struct Rates {
    limits: Arc<Limits>,
    clock: DefaultClock,
    meters: Vec<Meter>,
}

/// A configured rate.
struct Meter {
    limit: Limit,
    scope: Scope,
    bound: Bound,
    /// Size of the counted unit: 1, or [`LARGE_UNIT_BYTES`].
    unit: u64,
    burst: NonZeroU32,
    limiter: Limiter,
    usage: Arc<MeterUsage>,
}

#[derive(Default)]
struct MeterUsage {
    /// Largest part of a burst that a client or subject has recently spent; `peak` is the maximum.
    used: AtomicU64,
    peak: AtomicU64,
    refusals: AtomicU64,
}

/// Limits in the order of their checks: subjects before clients, so that a refused subject spends
/// nothing of the others at its address.
const RATES: [Limit; 4] = [
    Limit::PublishEventsPerSubject,
    Limit::PublishBytesPerSubject,
    Limit::PublishEventsPerClient,
    Limit::PublishBytesPerClient,
];

fn counts_bytes(limit: Limit) -> bool {
    matches!(limit, Limit::PublishBytesPerClient | Limit::PublishBytesPerSubject)
}

impl Rates {
    /// Creates the rates of `limits`, for requests whose body has at most `max_body_bytes`.
    pub fn of(limits: Arc<Limits>, max_body_bytes: usize) -> Self {
        let meters = limits.scopes().flat_map(|scope| {
            let bounds = limits.bounds(scope).cloned().unwrap_or_default();
            RATES.into_iter().filter_map(move |limit| {
                Some(Meter::new(limit, scope, bounds.get(limit)?, max_body_bytes))
            })
        });
        Self { meters: meters.collect(), clock: DefaultClock::default(), limits }
    }

    /// Returns the rates of other limits; the counted use of the hub's bounds is kept.
    #[must_use]
    pub fn changed(&self, limits: Arc<Limits>, max_body_bytes: usize) -> Self {
        let mut rates = Self::of(limits, max_body_bytes);
        for meter in rates.meters.iter_mut().filter(|meter| meter.scope == Scope::HUB) {
            let is_same_rate = |old: &&Meter| old.scope == Scope::HUB && old.limit == meter.limit;
            if let Some(old) = self.meters.iter().find(is_same_rate) {
                meter.usage = old.usage.clone();
            }
        }
        rates
    }

    /// Deducts a request's events, each with its streams and bytes, from the rates of `owner`;
    /// fails with the time to wait if a rate is exceeded.
    pub fn spend<'a>(
        &self,
        owner: &QuotaOwner,
        events: impl Iterator<Item = (&'a [StreamName], usize)>,
    ) -> Result<(), RateExceeded> {
        if self.meters.iter().all(|meter| meter.key(owner).is_none()) {
            return Ok(());
        }
        let spent = self.group_by_scopes(events);
        for meter in &self.meters {
            let Some(key) = meter.key(owner) else { continue };
            let is_in_scope =
                |scope: &Scope| self.limits.bound(meter.limit, *scope).0 == meter.scope;
            let in_scope = spent.iter().filter(|(scopes, _)| scopes.iter().any(is_in_scope));
            let amount = in_scope.map(|(_, spent)| {
                if counts_bytes(meter.limit) {
                    spent.bytes.div_ceil(meter.unit)
                } else {
                    spent.events
                }
            });
            meter.spend(&key, amount.sum(), &self.clock)?;
        }
        Ok(())
    }

    /// Groups events by the scopes they belong to: an event counts once in each.
    fn group_by_scopes<'a>(
        &self,
        events: impl Iterator<Item = (&'a [StreamName], usize)>,
    ) -> FxHashMap<Vec<Scope>, RateSpent> {
        let mut spent: FxHashMap<Vec<Scope>, RateSpent> = FxHashMap::default();
        let has_rules = !self.limits.rules.is_empty();
        for (streams, bytes) in events {
            let mut scopes = if has_rules {
                streams.iter().map(|s| self.limits.scope_of_stream(s)).collect()
            } else {
                vec![Scope::HUB]
            };
            scopes.sort_unstable();
            scopes.dedup();
            let scope_spent = spent.entry(scopes).or_default();
            scope_spent.events += 1;
            scope_spent.bytes += bytes as u64;
        }
        spent
    }

    /// Forgets idle clients and subjects. Called about once a second.
    pub fn remove_idle(&self) {
        for meter in &self.meters {
            meter.usage.used.store(0, Ordering::Relaxed);
            if !meter.limiter.is_empty() {
                meter.limiter.retain_recent();
                meter.limiter.shrink_to_fit();
            }
        }
    }

    /// Returns the use of all rates.
    pub fn usage(&self) -> Vec<Usage> {
        self.meters.iter().map(|meter| meter.usage(&self.limits)).collect()
    }
}

impl Meter {
    fn new(limit: Limit, scope: Scope, bound: Bound, max_body_bytes: usize) -> Self {
        let max_request =
            if counts_bytes(limit) { max_body_bytes as u64 } else { MAX_ENTRIES_PER_BATCH as u64 };
        let is_large = bound.max.max(max_request) > u64::from(u32::MAX);
        let unit = if is_large { LARGE_UNIT_BYTES } else { 1 };
        let (rate, max_request) = (bound.max.div_ceil(unit), max_request.div_ceil(unit));
        let number = |n: u64| NonZeroU32::new(n.clamp(1, u64::from(u32::MAX)) as u32);
        let (rate, burst) = (number(rate), number(rate.max(max_request)));
        let (rate, burst) = (rate.unwrap_or(NonZeroU32::MAX), burst.unwrap_or(NonZeroU32::MAX));
        let quota = Quota::per_second(rate).allow_burst(burst);
        let store = BoundedKeyStore::with_capacity(MAX_REMEMBERED);
        let limiter = Limiter::new(quota, store, DefaultClock::default());
        Self { limit, scope, bound, unit, burst, limiter, usage: Arc::default() }
    }

    /// Returns the key to count by, if the rate binds the client or subject.
    fn key(&self, owner: &QuotaOwner) -> Option<Key> {
        if owner.client.is_local && !self.bound.is_explicit {
            return None;
        }
        match self.limit {
            Limit::PublishEventsPerClient | Limit::PublishBytesPerClient => {
                Some(Key::Client(owner.client.key()))
            }
            _ => owner.subject.clone().map(Key::Subject),
        }
    }

    fn spend(&self, key: &Key, amount: u64, clock: &DefaultClock) -> Result<(), RateExceeded> {
        let Some(amount) = NonZeroU32::new(u32::try_from(amount).unwrap_or(u32::MAX)) else {
            return Ok(());
        };
        let refuse = |wait| {
            self.usage.refusals.fetch_add(1, Ordering::Relaxed);
            Err(RateExceeded { limit: self.limit, wait })
        };
        match self.limiter.check_key_n(key, amount.min(self.burst)) {
            Ok(Ok(state)) => {
                let used = u64::from(self.burst.get() - state.remaining_burst_capacity());
                self.usage.used.fetch_max(used, Ordering::Relaxed);
                self.usage.peak.fetch_max(used, Ordering::Relaxed);
                Ok(())
            }
            Ok(Err(not_until)) => refuse(not_until.wait_time_from(clock.now())),
            // Unreachable: the amount is at most the burst.
            Err(_) => refuse(Duration::from_secs(1)),
        }
    }

    fn usage(&self, limits: &Limits) -> Usage {
        let read = |number: &AtomicU64| Some(number.load(Ordering::Relaxed) * self.unit);
        Usage {
            limit: self.limit.as_str(),
            streams: limits.streams(self.scope),
            max: Some(self.bound.max),
            r#use: read(&self.usage.used),
            peak: read(&self.usage.peak),
            refusals: self.usage.refusals.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bounds::{Bounds, Rule};
    use super::super::client::Client;
    use super::*;
    use crate::event::Selector;

    fn bounds(limit: Limit, max: u64, is_explicit: bool) -> Bounds {
        let mut bounds = Bounds::default();
        bounds.set(limit, Some(Bound { max, is_explicit }));
        bounds
    }

    fn client(last: u8, is_local: bool) -> Client {
        Client::at([192, 0, 2, last].into(), is_local)
    }

    fn events(stream: &str, count: usize, bytes: usize) -> Vec<(Vec<StreamName>, usize)> {
        vec![(vec![StreamName::parse(stream).expect("a name")], bytes); count]
    }

    fn spend(rates: &Rates, client: &Client, sent: &[(Vec<StreamName>, usize)]) -> bool {
        let sent = sent.iter().map(|(streams, bytes)| (streams.as_slice(), *bytes));
        rates.spend(&QuotaOwner { client: *client, subject: None }, sent).is_ok()
    }

    #[test]
    fn each_client_has_a_burst_of_one_second_or_one_batch() {
        let hub = bounds(Limit::PublishEventsPerClient, 10_000, false);
        let rates = Rates::of(Arc::new(Limits { hub, rules: Vec::new() }), 1 << 20);
        let batch = events("a", 4096, 1);
        assert!(spend(&rates, &client(1, false), &batch));
        assert!(spend(&rates, &client(1, false), &batch));
        assert!(!spend(&rates, &client(1, false), &batch), "8,192 of 10,000 are spent");
        assert!(spend(&rates, &client(2, false), &batch), "rates are per client");
        for _ in 0..10 {
            assert!(spend(&rates, &client(1, true), &batch), "local clients have no default");
        }
        let usage = rates.usage().remove(0);
        assert!(usage.peak >= Some(8_192 - 500) && usage.refusals == 1, "{usage:?}");
    }

    #[test]
    fn rate_of_a_rule_replaces_the_hub_rate_and_applies_to_local_clients() {
        let rule = Rule {
            streams: vec![Selector::parse("slow.**").expect("ok")],
            bounds: bounds(Limit::PublishBytesPerClient, 1024, true),
        };
        let hub = bounds(Limit::PublishBytesPerClient, 1 << 30, false);
        let rates = Rates::of(Arc::new(Limits { hub, rules: vec![rule] }), 4096);
        let local = client(1, true);
        assert!(spend(&rates, &local, &events("slow.x", 4, 1024)), "a whole body passes");
        assert!(!spend(&rates, &local, &events("slow.x", 1, 1024)));
        assert!(spend(&rates, &local, &events("fast.x", 100, 1024)));
        let both = vec![(
            vec![events("slow.x", 1, 0)[0].0[0].clone(), events("f", 1, 0)[0].0[0].clone()],
            1024,
        )];
        assert!(!spend(&rates, &local, &both), "an event in both scopes counts in both");
    }

    #[test]
    fn event_counts_once_and_by_its_bytes() {
        let rule = |streams: &str| Rule {
            streams: vec![Selector::parse(streams).expect("ok")],
            bounds: bounds(Limit::Connections, 1, true),
        };
        let mut hub = bounds(Limit::PublishEventsPerClient, 10, true);
        hub.set(Limit::PublishBytesPerClient, Some(Bound { max: 1024, is_explicit: true }));
        let rules = vec![rule("a.**"), rule("b.**")];
        let rates = Rates::of(Arc::new(Limits { hub, rules }), 1024);
        let names = ["a.x", "b.x", "c"].map(|name| StreamName::parse(name).expect("a name"));
        for n in 0..1024 {
            let sent = [(names.to_vec(), 1)];
            assert!(spend(&rates, &client(1, false), &sent), "bytes are not rounded up: {n}");
        }
        let usage = rates.usage();
        let usage_of =
            |limit: Limit| usage.iter().find(|u| u.limit == limit.as_str()).expect("a limit");
        assert!(usage_of(Limit::PublishEventsPerClient).peak <= Some(1024));
        assert!(!spend(&rates, &client(1, false), &[(names.to_vec(), 1000)]));
    }

    #[test]
    fn refused_subject_spends_nothing_of_its_address() {
        let mut hub = bounds(Limit::PublishEventsPerClient, 100, true);
        hub.set(Limit::PublishEventsPerSubject, Some(Bound { max: 1, is_explicit: true }));
        let rates = Rates::of(Arc::new(Limits { hub, rules: Vec::new() }), 1);
        let batch = events("a", 2_000, 0);
        let post = |subject: &str| {
            let sent = batch.iter().map(|(streams, bytes)| (streams.as_slice(), *bytes));
            let owner = QuotaOwner { client: client(1, false), subject: Some(subject.into()) };
            rates.spend(&owner, sent).map_err(|e| e.limit)
        };
        assert_eq!((post("ann"), post("ann").is_ok()), (Ok(()), true));
        for _ in 0..5 {
            assert_eq!(post("ann"), Err(Limit::PublishEventsPerSubject));
        }
        let mut usage = rates.usage();
        usage.retain(|line| line.limit == Limit::PublishEventsPerClient.as_str());
        assert!(usage[0].peak <= Some(4_000), "{usage:?}");
    }

    #[test]
    fn idle_clients_are_forgotten() {
        let hub = bounds(Limit::PublishEventsPerClient, 1_000_000, true);
        let rates = Rates::of(Arc::new(Limits { hub, rules: Vec::new() }), 1);
        for last in 0..100 {
            assert!(spend(&rates, &client(last, false), &events("a", 1, 1)));
        }
        assert_eq!(rates.meters[0].limiter.len(), 100);
        let started_at = std::time::Instant::now();
        while !rates.meters[0].limiter.is_empty() {
            rates.remove_idle();
            assert!(started_at.elapsed() < Duration::from_secs(60), "idle clients stay");
        }
    }
}
