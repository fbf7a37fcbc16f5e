//! Limits on the number of streams: of the whole hub, and of the streams that a rule covers.

use super::Streams;
use crate::event::StreamName;
use crate::limits::{Limit, Limits, Scope, Usage};
use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Number of new streams by scope; streams of a rule also count for the hub.
pub(super) type NewStreams = FxHashMap<Scope, u64>;

/// Number of streams, readable from any thread.
#[derive(Default, Debug)]
pub struct StreamUsage {
    usage: Mutex<FxHashMap<Scope, ScopeUsage>>,
}

#[derive(Clone, Copy, Default, Debug)]
struct ScopeUsage {
    streams: u64,
    peak: u64,
    refusals: u64,
}

impl StreamUsage {
    /// Returns the usage of the limits on streams.
    pub fn usage(&self, limits: &Limits) -> Vec<Usage> {
        let usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        let scopes = limits.scopes().filter_map(|scope| {
            let bound = limits.bounds(scope)?.get(Limit::Streams)?;
            let usage = usage.get(&scope).copied().unwrap_or_default();
            Some(Usage {
                limit: Limit::Streams.as_str(),
                streams: limits.streams(scope),
                max: Some(bound.max),
                r#use: Some(usage.streams),
                peak: Some(usage.peak),
                refusals: usage.refusals,
            })
        });
        scopes.collect()
    }

    fn with<T>(&self, update: impl FnOnce(&mut FxHashMap<Scope, ScopeUsage>) -> T) -> T {
        update(&mut self.usage.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Counts the streams, and refuses new ones beyond the limits.
pub(super) struct Quota {
    current_limits: Arc<ArcSwap<Limits>>,
    /// Limits that the counts are based on.
    limits: Arc<Limits>,
    usage: Arc<StreamUsage>,
}

impl Quota {
    pub(super) fn new(current_limits: Arc<ArcSwap<Limits>>, streams: &Streams) -> Self {
        let limits = current_limits.load_full();
        let quota = Self { current_limits, limits, usage: Arc::default() };
        quota.recount(streams);
        quota
    }

    /// Returns a quota with other limits.
    pub(super) fn with(limits: Limits, streams: &Streams) -> Self {
        Self::new(Arc::new(ArcSwap::from_pointee(limits)), streams)
    }

    /// Returns a quota that refuses nothing.
    pub(super) fn unlimited() -> Self {
        Self { current_limits: Arc::default(), limits: Arc::default(), usage: Arc::default() }
    }

    /// Returns the limits on the number of streams.
    pub(super) fn limits(&self) -> Limits {
        self.limits.only(Limit::Streams)
    }

    pub(super) fn usage(&self) -> Arc<StreamUsage> {
        self.usage.clone()
    }

    /// Switches to the current limits and recounts, if they have changed.
    pub(super) fn refresh(&mut self, streams: &Streams) {
        if !Arc::ptr_eq(&self.limits, &self.current_limits.load()) {
            self.limits = self.current_limits.load_full();
            self.recount(streams);
        }
    }

    fn recount(&self, streams: &Streams) {
        self.usage.with(|usage| {
            usage.retain(|scope, _| *scope == Scope::HUB);
            usage.entry(Scope::HUB).or_default().streams = 0;
        });
        streams.for_each(|name, _| self.add_stream(name));
    }

    fn scopes(&self, name: &StreamName) -> impl Iterator<Item = Scope> + use<> {
        let scope = if self.limits.rules.is_empty() {
            Scope::HUB
        } else {
            self.limits.scope_of_stream(name)
        };
        std::iter::once(Scope::HUB).chain((scope != Scope::HUB).then_some(scope))
    }

    pub(super) fn add_stream(&self, name: &StreamName) {
        self.usage.with(|usage| {
            for scope in self.scopes(name) {
                let usage = usage.entry(scope).or_default();
                usage.streams += 1;
                usage.peak = usage.peak.max(usage.streams);
            }
        });
    }

    pub(super) fn remove_stream(&self, name: &StreamName) {
        self.usage.with(|usage| {
            for scope in self.scopes(name) {
                let usage = usage.entry(scope).or_default();
                usage.streams = usage.streams.saturating_sub(1);
            }
        });
    }

    /// Counts the streams `names` in `new_streams`, the new streams of the batch so far; fails with
    /// the limit if they exceed it.
    pub(super) fn acquire(
        &self,
        names: &[StreamName],
        new_streams: &mut NewStreams,
    ) -> Result<(), u64> {
        let mut requested = NewStreams::default();
        for scope in names.iter().flat_map(|name| self.scopes(name)) {
            *requested.entry(scope).or_default() += 1;
        }
        self.usage.with(|usage| {
            for (scope, count) in &requested {
                let bound = self.limits.bounds(*scope).and_then(|b| b.get(Limit::Streams));
                let Some(bound) = bound else { continue };
                let usage = usage.entry(*scope).or_default();
                let before = usage.streams + new_streams.get(scope).copied().unwrap_or(0);
                if before + count > bound.max {
                    usage.refusals += 1;
                    return Err(bound.max);
                }
            }
            Ok(())
        })?;
        for (scope, count) in requested {
            *new_streams.entry(scope).or_default() += count;
        }
        Ok(())
    }
}
