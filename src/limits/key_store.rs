//! Store of the rates of clients and subjects, with bounded memory.
//!
//! Promises: a key with a separate rate keeps it, however many other keys are used. Keys beyond the
//! maximum share the rates of a few groups until there is room.

use dashmap::DashMap;
use governor::nanos::Nanos;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use rustc_hash::FxBuildHasher;
use std::hash::{BuildHasher as _, Hash};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Number of groups that keys beyond the maximum are divided into, by their hash.
const SHARED_STATES: usize = 256;

/// States of a rate limiter, by key.
pub(super) struct BoundedKeyStore<K> {
    max_keys: usize,
    count: AtomicUsize,
    per_key: DashMap<K, InMemoryState>,
    shared_states: Vec<InMemoryState>,
}

impl<K: Hash + Eq> BoundedKeyStore<K> {
    /// Creates a store with separate rates for at most `max_keys` keys.
    pub(super) fn with_capacity(max_keys: usize) -> Self {
        let shared_states = (0..SHARED_STATES).map(|_| InMemoryState::default()).collect();
        Self { max_keys, count: AtomicUsize::new(0), per_key: DashMap::new(), shared_states }
    }
}

/// Returns the time at which a rate is fully replenished; governor computes it but does not expose
/// it.
fn replenished_at(state: &InMemoryState) -> Option<Nanos> {
    state.measure_and_replace(&NotKeyed::NonKey, Err::<((), Nanos), _>).err().flatten()
}

impl<K: Hash + Eq + Clone> StateStore for BoundedKeyStore<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if let Some(state) = self.per_key.get(key) {
            return state.measure_and_replace(&NotKeyed::NonKey, measure);
        }
        if self.count.load(Ordering::Relaxed) >= self.max_keys {
            let index = FxBuildHasher.hash_one(key) as usize % SHARED_STATES;
            return self.shared_states[index].measure_and_replace(&NotKeyed::NonKey, measure);
        }
        let state = self.per_key.entry(key.clone()).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
            InMemoryState::default()
        });
        state.measure_and_replace(&NotKeyed::NonKey, measure)
    }
}

impl<K: Hash + Eq + Clone> ShrinkableKeyedStateStore<K> for BoundedKeyStore<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        self.per_key.retain(|_, state| {
            let is_recent = replenished_at(state) > Some(drop_below);
            if !is_recent {
                self.count.fetch_sub(1, Ordering::Relaxed);
            }
            is_recent
        });
    }

    fn shrink_to_fit(&self) {
        self.per_key.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;
    use governor::middleware::NoOpMiddleware;
    use governor::{Quota, RateLimiter};
    use std::num::NonZeroU32;
    use std::time::Duration;

    type Limiter = RateLimiter<u32, BoundedKeyStore<u32>, FakeRelativeClock, NoOpMiddleware<Nanos>>;

    #[test]
    fn stored_keys_keep_their_rates_and_further_keys_share_groups() {
        let clock = FakeRelativeClock::default();
        let quota = Quota::per_second(NonZeroU32::new(2).expect("not 0"));
        let rates: Limiter =
            RateLimiter::new(quota, BoundedKeyStore::with_capacity(1000), clock.clone());
        assert!(rates.check_key(&0).is_ok());
        let served = (1..100_000).filter(|n| rates.check_key(n).is_ok()).count();
        assert_eq!(served, 999 + 2 * SHARED_STATES, "one for each stored key, two for each group");
        assert_eq!(rates.len(), 1000);
        assert!(rates.check_key(&0).is_ok(), "the second event of key 0 is unaffected");
        assert!(rates.check_key(&0).is_err());
        clock.advance(Duration::from_secs(2));
        rates.retain_recent();
        assert_eq!(rates.len(), 0, "idle keys are removed");
        assert!((0..1000).all(|n| rates.check_key(&(n + 500_000)).is_ok()));
    }
}
