//! Topics that a subscriber selects, and those whose private updates it may read.

use super::{Topic, TopicMatcher, Update};

/// Topics that a subscriber selects, and those whose private updates it may read. Equal sets of matchers are
/// equal interests, in whatever order they were given.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TopicInterest {
    matchers: Box<[TopicMatcher]>,
    readable: Box<[TopicMatcher]>,
}

impl TopicInterest {
    /// Creates an interest in the topics of some matchers. `readable` are the grants to read private updates.
    pub fn new(matchers: Vec<TopicMatcher>, readable: Vec<TopicMatcher>) -> Self {
        Self { matchers: sorted(matchers), readable: sorted(readable) }
    }

    /// Returns the matchers, sorted.
    pub fn matchers(&self) -> &[TopicMatcher] {
        &self.matchers
    }

    /// Returns how much more it costs to try an entry than with exact matchers only.
    pub fn cost(&self) -> usize {
        /// Number of patterns that cost as much as the rest of a try.
        const PATTERNS: usize = 4;
        let all = self.matchers.iter().chain(&self.readable);
        1 + all.filter(|matcher| matcher.is_compiled()).count() / PATTERNS
    }

    /// Returns true if the subscriber gets an update.
    pub fn selects(&self, update: &Update<'_>) -> bool {
        let (mut is_selected, mut is_readable) = (false, !update.is_private);
        update.topics().map(Topic::new).any(|topic| {
            is_selected = is_selected || matches_any(&self.matchers, &topic);
            is_readable = is_readable || matches_any(&self.readable, &topic);
            is_selected && is_readable
        })
    }

    /// Returns true if the subscriber may read an update that it has selected.
    pub fn may_read(&self, update: &Update<'_>, topics: &[Topic<'_>]) -> bool {
        !update.is_private || topics.iter().any(|topic| matches_any(&self.readable, topic))
    }
}

fn sorted(mut matchers: Vec<TopicMatcher>) -> Box<[TopicMatcher]> {
    matchers.sort_unstable();
    matchers.dedup();
    matchers.into()
}

fn matches_any(matchers: &[TopicMatcher], topic: &Topic<'_>) -> bool {
    matchers.iter().any(|matcher| matcher.matches(topic))
}
