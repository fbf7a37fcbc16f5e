//! Interest of a subscriber: selectors and types.

use super::{Body, Entry, EventType, Invalid, Selector, StreamName};

/// Maximum number of selectors of a subscription; each costs a look-up when it starts.
pub const MAX_SELECTORS: usize = 100;

/// A set of selectors and an optional set of types. Equal sets are equal interests, in whatever
/// order they were given.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Interest {
    selectors: Box<[Selector]>,
    types: Option<Box<[EventType]>>,
    /// Topics of selected updates; if there are none, updates are not distinguished.
    #[cfg(feature = "mercure")]
    topics: Option<super::topic::TopicInterest>,
}

impl Interest {
    /// Creates an interest in 1 to 100 selectors; `None` as types selects all of them.
    pub fn new(
        mut selectors: Vec<Selector>,
        types: Option<Vec<EventType>>,
    ) -> Result<Self, Invalid> {
        if selectors.is_empty() || selectors.len() > MAX_SELECTORS {
            return Err(Invalid::new(
                "stream",
                format!("1 to {MAX_SELECTORS} selectors are needed, got {}", selectors.len()),
            ));
        }
        selectors.sort_unstable();
        selectors.dedup();
        let types = types.map(|mut types| {
            types.sort_unstable();
            types.dedup();
            types.into()
        });
        Ok(Self {
            selectors: selectors.into(),
            types,
            #[cfg(feature = "mercure")]
            topics: None,
        })
    }

    /// Replaces the selectors and keeps the types.
    pub fn narrowed(self, selectors: Vec<Selector>) -> Result<Self, Invalid> {
        Ok(Self {
            types: self.types,
            #[cfg(feature = "mercure")]
            topics: self.topics,
            ..Self::new(selectors, None)?
        })
    }

    /// Creates an interest in the updates of some topics, and in the events of `streams`, of which there are no more
    /// than topics.
    #[cfg(feature = "mercure")]
    pub fn in_updates(topics: super::topic::TopicInterest, streams: Vec<StreamName>) -> Self {
        let updates = Selector::Exact(super::topic::updates().clone());
        let mut selectors: Vec<_> = streams.into_iter().map(Selector::Exact).collect();
        selectors.push(updates);
        selectors.sort_unstable();
        selectors.dedup();
        Self { selectors: selectors.into(), types: None, topics: Some(topics) }
    }

    /// Returns the number of entries that a read may examine, of at most `max`: fewer if many matchers are tried
    /// for each.
    pub fn examined(&self, max: usize) -> usize {
        #[cfg(feature = "mercure")]
        if let Some(topics) = &self.topics {
            return (max / topics.cost()).max(1);
        }
        max
    }

    /// Returns the topics to which its updates are restricted, if they are.
    #[cfg(feature = "mercure")]
    pub fn topics(&self) -> Option<&super::topic::TopicInterest> {
        self.topics.as_ref()
    }

    /// Returns its matchers of topics as text; none if it selects streams only.
    pub fn topic_texts(&self) -> Vec<String> {
        #[cfg(feature = "mercure")]
        if let Some(topics) = &self.topics {
            return topics.matchers().iter().map(|matcher| matcher.as_str().to_owned()).collect();
        }
        Vec::new()
    }

    /// Returns the selectors, sorted.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// Returns the selected streams; `None` if a selector is a pattern.
    pub fn exact_streams(&self) -> Option<Vec<&StreamName>> {
        self.selectors.iter().map(Selector::exact).collect()
    }

    /// Returns true if a selector reaches `stream`.
    pub fn selects(&self, stream: &StreamName) -> bool {
        self.selectors.iter().any(|s| s.reaches(stream))
    }

    /// Returns true if the filters of types and topics pass the entry; ends always pass.
    pub fn passes(&self, entry: &Entry) -> bool {
        #[cfg(feature = "mercure")]
        if let Some(topics) = &self.topics
            && entry.is_event()
            && entry.streams.iter().any(StreamName::is_of_updates)
        {
            // A damaged update is sent to nobody: it may be private.
            let update = super::topic::Update::of(entry);
            return update.is_some_and(|update| topics.selects(&update));
        }
        match (&entry.body, &self.types) {
            (Body::Event { kind, .. }, Some(types)) => types.contains(kind),
            _ => true,
        }
    }

    /// Returns true if there is no filter of types or topics.
    pub fn selects_all_types(&self) -> bool {
        #[cfg(feature = "mercure")]
        if self.topics.is_some() {
            return false;
        }
        self.types.is_none()
    }

    /// Returns true if the subscriber gets the entry.
    pub fn selects_entry(&self, entry: &Entry) -> bool {
        self.passes(entry) && entry.streams.iter().any(|s| self.selects(s))
    }
}
