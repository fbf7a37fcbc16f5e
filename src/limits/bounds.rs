//! Configured bounds: one for each limit, for the hub and for some of its streams.

use super::Limit;
use crate::event::{Selector, StreamName};
use serde::{Deserialize, Serialize};

/// Bound of one limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// Maximum: a number or bytes; for a rate, per second.
    pub max: u64,
    /// True if it was configured. Defaults do not bind clients on the hub's own machine.
    pub is_explicit: bool,
}

/// Bounds of all limits; a missing one means no limit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bounds([Option<Bound>; Limit::COUNT]);

impl Bounds {
    /// Returns the bound of `limit`.
    pub fn get(&self, limit: Limit) -> Option<Bound> {
        self.0.get(limit as usize).copied().flatten()
    }

    /// Sets the bound of `limit`.
    pub fn set(&mut self, limit: Limit, bound: Option<Bound>) {
        if let Some(slot) = self.0.get_mut(limit as usize) {
            *slot = bound;
        }
    }
}

/// Bounds of some streams, which replace the hub's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Selectors of the streams.
    pub streams: Vec<Selector>,
    /// Bounds of the streams.
    pub bounds: Bounds,
}

/// All configured bounds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Bounds of the hub.
    pub hub: Bounds,
    /// Rules for some streams. The first rule that covers a stream applies; the hub's bounds apply
    /// to limits that it does not set.
    pub rules: Vec<Rule>,
}

/// Scope of a bound: the hub, or one of its rules. Each scope is counted separately.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize,
)]
pub struct Scope(u16);

impl Scope {
    /// The hub.
    pub const HUB: Self = Self(0);

    fn of_rule(index: usize) -> Self {
        Self(u16::try_from(index + 1).unwrap_or(u16::MAX))
    }
}

impl Limits {
    /// Returns only the bounds of one limit. Its rules cover the same streams.
    #[must_use]
    pub fn only(&self, limit: Limit) -> Self {
        let only = |bounds: &Bounds| {
            let mut only = Bounds::default();
            let bound = bounds.get(limit).map(|bound| Bound { max: bound.max, is_explicit: true });
            only.set(limit, bound);
            only
        };
        let rules = self.rules.iter();
        let rules =
            rules.map(|rule| Rule { streams: rule.streams.clone(), bounds: only(&rule.bounds) });
        Self { hub: only(&self.hub), rules: rules.collect() }
    }

    /// Returns the scope of a selector: the first rule that covers all of it, otherwise the hub.
    pub fn scope(&self, selector: &Selector) -> Scope {
        let is_within = |rule: &Rule| {
            rule.streams.iter().any(|rule_selector| {
                selector.intersection(rule_selector).as_ref() == Some(selector)
            })
        };
        self.rules.iter().position(is_within).map_or(Scope::HUB, Scope::of_rule)
    }

    /// Returns the scope of a stream.
    pub fn scope_of_stream(&self, stream: &StreamName) -> Scope {
        let is_within = |rule: &Rule| rule.streams.iter().any(|selector| selector.matches(stream));
        self.rules.iter().position(is_within).map_or(Scope::HUB, Scope::of_rule)
    }

    /// Returns the bound of `limit` in `scope`, and the scope that sets it.
    pub fn bound(&self, limit: Limit, scope: Scope) -> (Scope, Option<Bound>) {
        match self.bounds(scope).and_then(|bounds| bounds.get(limit)) {
            Some(bound) => (scope, Some(bound)),
            None => (Scope::HUB, self.hub.get(limit)),
        }
    }

    /// Returns the bounds of `scope`.
    pub fn bounds(&self, scope: Scope) -> Option<&Bounds> {
        match usize::from(scope.0).checked_sub(1) {
            None => Some(&self.hub),
            Some(index) => self.rules.get(index).map(|rule| &rule.bounds),
        }
    }

    /// Returns all scopes, the hub first.
    pub fn scopes(&self) -> impl Iterator<Item = Scope> + use<> {
        std::iter::once(Scope::HUB).chain((0..self.rules.len()).map(Scope::of_rule))
    }

    /// Returns the selectors of a rule; `None` for the hub.
    pub fn streams(&self, scope: Scope) -> Option<Vec<String>> {
        let index = usize::from(scope.0).checked_sub(1)?;
        let streams = &self.rules.get(index)?.streams;
        Some(streams.iter().map(ToString::to_string).collect())
    }
}

/// A limit with its use, as in `GET /stats`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, utoipa::ToSchema)]
pub struct Usage {
    /// Name of the limit.
    pub limit: &'static str,
    /// Streams that the limit applies to; missing if it applies to all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<Vec<String>>,
    /// Maximum; null if there is none.
    pub max: Option<u64>,
    /// Current use; for a limit per client, subject or stream, that of the largest.
    pub r#use: Option<u64>,
    /// Maximum use since the hub started.
    pub peak: Option<u64>,
    /// Number of refusals.
    pub refusals: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(rules: &[(&str, &[(Limit, u64)])]) -> Limits {
        let bound = |max| Some(Bound { max, is_explicit: true });
        let mut limits = Limits::default();
        limits.hub.set(Limit::ConnectionsPerClient, bound(100));
        for (streams, set) in rules {
            let mut bounds = Bounds::default();
            for (limit, max) in *set {
                bounds.set(*limit, bound(*max));
            }
            let streams = streams.split(',').map(|s| Selector::parse(s).expect("ok")).collect();
            limits.rules.push(Rule { streams, bounds });
        }
        limits
    }

    #[test]
    fn first_rule_that_covers_a_selector_applies_and_the_hub_for_unset_limits() {
        use Limit::{ConnectionsPerClient, ConnectionsPerStream};
        let limits = limits(&[
            ("a.b,c", &[(ConnectionsPerClient, 1)]),
            ("a.**", &[(ConnectionsPerStream, 2)]),
        ]);
        for (selector, of_client, of_stream) in [
            ("a.b", 1, None),
            ("c", 1, None),
            ("a.*", 100, Some(2)),
            ("a.x", 100, Some(2)),
            ("*.b", 100, None),
            ("**", 100, None),
        ] {
            let scope = limits.scope(&Selector::parse(selector).expect("ok"));
            let max = |limit| limits.bound(limit, scope).1.map(|bound| bound.max);
            assert_eq!(max(ConnectionsPerClient), Some(of_client), "{selector}");
            assert_eq!(max(ConnectionsPerStream), of_stream, "{selector}");
        }
        assert_eq!(limits.scopes().count(), 3);
    }
}
