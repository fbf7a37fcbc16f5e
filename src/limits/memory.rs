//! Memory budget of the process, and its use.

use super::{Limit, Usage};
use crate::platform;
use std::sync::atomic::{AtomicU64, Ordering};

/// Share of the budget, in percent, above which its use is checked more often.
const FILLING_PERCENT: u64 = 60;
/// Share of the budget, in percent, at which no subscriber or publisher is admitted; the rest is
/// reserved for admitted ones.
const NO_MORE_SESSIONS_PERCENT: u64 = 90;
/// Share of the budget, in percent, at which no connection is accepted.
const NO_MORE_CONNECTIONS_PERCENT: u64 = 95;

/// A memory budget and its last measured use.
#[derive(Debug)]
pub struct MemoryBudget {
    budget_bytes: AtomicU64,
    used_bytes: AtomicU64,
    peak_bytes: AtomicU64,
    refusals: AtomicU64,
}

impl MemoryBudget {
    /// Creates a budget.
    pub fn of(budget_bytes: u64) -> Self {
        let zero = || AtomicU64::new(0);
        let budget_bytes = AtomicU64::new(budget_bytes);
        Self { budget_bytes, used_bytes: zero(), peak_bytes: zero(), refusals: zero() }
    }

    /// Changes the budget.
    pub fn set(&self, budget_bytes: u64) {
        self.budget_bytes.store(budget_bytes, Ordering::Relaxed);
    }

    /// Records the resident memory of the process.
    pub fn record_usage(&self, used_bytes: u64) {
        self.used_bytes.store(used_bytes, Ordering::Relaxed);
        self.peak_bytes.fetch_max(used_bytes, Ordering::Relaxed);
    }

    /// Returns true if there is room for a subscriber or publisher; counts refusals.
    pub fn has_room(&self) -> bool {
        self.is_within(NO_MORE_SESSIONS_PERCENT)
    }

    /// Returns true if a connection may be accepted; counts refusals.
    pub fn may_accept(&self) -> bool {
        self.is_within(NO_MORE_CONNECTIONS_PERCENT)
    }

    /// Returns true if memory is short, without counting.
    pub fn is_short(&self) -> bool {
        !self.is_below(NO_MORE_SESSIONS_PERCENT)
    }

    /// Returns true if the use must be checked more often.
    pub fn is_filling(&self) -> bool {
        !self.is_below(FILLING_PERCENT)
    }

    fn is_within(&self, percent: u64) -> bool {
        let is_below = self.is_below(percent);
        if !is_below {
            self.refusals.fetch_add(1, Ordering::Relaxed);
        }
        is_below
    }

    fn is_below(&self, percent: u64) -> bool {
        let budget = self.budget_bytes.load(Ordering::Relaxed);
        self.used_bytes.load(Ordering::Relaxed) / percent < budget / 100
    }

    /// Returns the use of the budget.
    pub fn usage(&self) -> Usage {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Usage {
            limit: Limit::MemoryBudget.as_str(),
            streams: None,
            max: Some(read(&self.budget_bytes)),
            r#use: Some(read(&self.used_bytes)),
            peak: Some(read(&self.peak_bytes)),
            refusals: read(&self.refusals),
        }
    }
}

/// Returns the resident memory of this process, in bytes.
pub fn resident_bytes() -> Option<u64> {
    platform::resident_bytes()
}

/// Returns the maximum memory of the process, in bytes; `u64::MAX` if it is unknown.
pub fn machine_memory_bytes() -> u64 {
    platform::machine_memory_bytes().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_clients_and_connections_are_refused_before_the_budget_is_exhausted() {
        let budget = MemoryBudget::of(1_000_000);
        for (used, has_room, accepts) in [
            (0, true, true),
            (899_000, true, true),
            (900_000, false, true),
            (950_000, false, false),
        ] {
            budget.record_usage(used);
            assert_eq!((budget.has_room(), budget.may_accept()), (has_room, accepts), "{used}");
        }
        assert_eq!((budget.usage().peak, budget.usage().refusals), (Some(950_000), 3));
    }
}
