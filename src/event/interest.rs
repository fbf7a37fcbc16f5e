//! Interest of a subscriber: selectors and types.

use super::{Body, Entry, EventType, Invalid, Selector, StreamName};

/// Selectors a subscription may name: each costs a look-up when it starts.
pub const MAX_SELECTORS: usize = 100;

/// A set of selectors and, optionally, the types wanted. Two subscribers that asked for the same
/// have equal interests, whatever the order they said it in.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Interest {
    selectors: Box<[Selector]>,
    types: Option<Box<[EventType]>>,
}

impl Interest {
    /// 1 to 100 selectors; no types mean all of them.
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
        Ok(Self { selectors: selectors.into(), types })
    }

    /// The same of other selectors.
    pub fn narrowed(self, selectors: Vec<Selector>) -> Result<Self, Invalid> {
        Ok(Self { types: self.types, ..Self::new(selectors, None)? })
    }

    /// The selectors, sorted.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// The streams named, where no selector is a pattern.
    pub fn exact_streams(&self) -> Option<Vec<&StreamName>> {
        self.selectors.iter().map(Selector::exact).collect()
    }

    /// Returns true if a selector reaches `stream`.
    pub fn selects(&self, stream: &StreamName) -> bool {
        self.selectors.iter().any(|s| s.reaches(stream))
    }

    /// Returns true if the type filter passes the entry; ends always pass.
    pub fn passes(&self, entry: &Entry) -> bool {
        match (&entry.body, &self.types) {
            (Body::Event { kind, .. }, Some(types)) => types.contains(kind),
            _ => true,
        }
    }

    /// Returns true if there is no type filter.
    pub fn selects_all_types(&self) -> bool {
        self.types.is_none()
    }

    /// Returns true if the subscriber gets the entry.
    pub fn selects_entry(&self, entry: &Entry) -> bool {
        self.passes(entry) && entry.streams.iter().any(|s| self.selects(s))
    }
}
