//! Index that finds the groups that select an entry: by its streams, and an update by its topics.

use super::selector_index::SelectorIndex;
#[cfg(feature = "mercure")]
use super::topic_index::TopicIndex;
#[cfg(feature = "mercure")]
use crate::event::topic::{Topic, Update};
use crate::event::{Entry, Interest, Selector, StreamName};
use crate::hub::ids::GroupId;

/// Groups by interest.
#[derive(Default)]
pub(in crate::hub) struct InterestIndex {
    pub(super) selectors: SelectorIndex<GroupId>,
    #[cfg(feature = "mercure")]
    topics: TopicIndex<GroupId>,
}

impl InterestIndex {
    pub(in crate::hub) fn insert(&mut self, interest: &Interest, id: GroupId) {
        for selector in selectors_by_stream(interest) {
            self.selectors.insert(selector, id);
        }
        #[cfg(feature = "mercure")]
        if let Some(topics) = interest.topics() {
            self.topics.insert(topics, id);
        }
    }

    pub(in crate::hub) fn remove(&mut self, interest: &Interest, id: GroupId) {
        for selector in selectors_by_stream(interest) {
            self.selectors.remove(selector, id);
        }
        #[cfg(feature = "mercure")]
        if let Some(topics) = interest.topics() {
            self.topics.remove(topics, id);
        }
    }

    /// Replaces `found` with the groups that select an entry, each once.
    pub(in crate::hub) fn find<'a>(
        &self,
        entry: &Entry,
        interest_of: impl Fn(GroupId) -> Option<&'a Interest>,
        found: &mut Vec<GroupId>,
    ) {
        found.clear();
        for stream in &entry.streams {
            self.selectors.matches(stream, found);
        }
        // A group whose selectors match the event more than once gets it once.
        found.sort_unstable();
        found.dedup();
        found.retain(|id| interest_of(*id).is_some_and(|interest| interest.passes(entry)));
        #[cfg(feature = "mercure")]
        if let Some(update) = Update::of(entry) {
            let topics: Vec<_> = update.topics().map(Topic::new).collect();
            let mut by_topic = Vec::new();
            self.topics.matches(&topics, &mut by_topic);
            by_topic.sort_unstable();
            by_topic.dedup();
            // Their matchers need not be tried again.
            let may_read = |id: &GroupId| {
                let interest = interest_of(*id).and_then(Interest::topics);
                interest.is_some_and(|interest| interest.may_read(&update, &topics))
            };
            found.extend(by_topic.into_iter().filter(may_read));
        }
    }
}

/// Returns the selectors of an interest by which the streams of entries are matched. Updates are matched by
/// their topics instead.
fn selectors_by_stream(interest: &Interest) -> impl Iterator<Item = &Selector> {
    #[cfg(feature = "mercure")]
    let has_topics = interest.topics().is_some();
    #[cfg(not(feature = "mercure"))]
    let has_topics = false;
    let is_of_updates =
        |selector: &Selector| selector.exact().is_some_and(StreamName::is_of_updates);
    let selectors = interest.selectors().iter();
    selectors.filter(move |selector| !(has_topics && is_of_updates(selector)))
}
