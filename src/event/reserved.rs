//! Reserved streams of the hub: who may write to them, and which wildcards reach them.

use super::{Selector, StreamName};

/// Streams that only the hub writes.
const HUB_WRITES: [&str; 2] = ["system", "heartbeats"];
/// Prefixes of further streams that only the hub writes.
const HUB_WRITTEN_PREFIXES: [&str; 4] = [JOBS, CHAT, HUB, "system"];

const JOBS: &str = "jobs";
/// Prefix of the streams of chats. Each is reached by its name, and by no wildcard.
const CHAT: &str = "chat";
/// Prefix of the hub's own streams, for admins. A wildcard as the first part does not reach them.
const HUB: &str = "hub";
/// Stream of the updates of the Mercure protocol. Admins reach it by its name only.
const UPDATES: &str = "hub.mercure";

/// Returns the first part of a name or selector, if more parts follow.
fn first_part(text: &str) -> Option<&str> {
    text.split_once('.').map(|(first, _)| first)
}

impl StreamName {
    /// Returns true if only the hub publishes to it.
    pub fn is_written_by_hub(&self) -> bool {
        let is_below =
            first_part(self.as_str()).is_some_and(|first| HUB_WRITTEN_PREFIXES.contains(&first));
        is_below || HUB_WRITES.contains(&self.as_str())
    }

    /// Returns true if only admins may read it.
    pub fn is_for_admins(&self) -> bool {
        first_part(self.as_str()) == Some(HUB)
    }

    /// Returns true if no wildcard reaches it.
    pub fn is_reached_by_name_only(&self) -> bool {
        self.is_hidden() || self.is_of_updates()
    }

    /// Returns true for the stream of the updates of the Mercure protocol.
    pub fn is_of_updates(&self) -> bool {
        self.as_str() == UPDATES
    }

    /// Returns true if it belongs to a chat. Its data are encrypted in the journal.
    pub fn is_hidden(&self) -> bool {
        first_part(self.as_str()) == Some(CHAT)
    }
}

impl Selector {
    /// Returns true if it reaches only streams for admins.
    pub fn is_for_admins(&self) -> bool {
        first_part(self.as_str()) == Some(HUB)
    }

    /// Returns true for wildcards over streams that no wildcard reaches.
    pub fn matches_nothing(&self) -> bool {
        self.exact().is_none() && first_part(self.as_str()) == Some(CHAT)
    }

    /// Returns true if a subscriber of this selector gets `name`: it matches, and wildcards reach
    /// `name`.
    pub fn reaches(&self, name: &StreamName) -> bool {
        self.matches(name) && (self.exact().is_some() || self.may_reach_below(name.as_str()))
    }

    /// Returns true if a pattern may reach streams that begin with `text`.
    fn may_reach_below(&self, text: &str) -> bool {
        match first_part(text) {
            Some(CHAT) => false,
            Some(HUB) => self.is_for_admins() && text != UPDATES,
            _ => true,
        }
    }

    /// Returns the selector that reaches exactly the streams that both reach; `None` if there are
    /// none.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        match (self.exact(), other.exact()) {
            (Some(name), _) => return other.reaches(name).then(|| self.clone()),
            (_, Some(name)) => return self.reaches(name).then(|| other.clone()),
            _ => {}
        }
        let text = intersect_patterns(self.as_str(), other.as_str())?;
        let is_reached = self.may_reach_below(&text) && other.may_reach_below(&text);
        is_reached.then(|| Self::parse(&text).ok()).flatten()
    }
}

/// Returns the pattern that matches exactly the names that two patterns match.
fn intersect_patterns(first: &str, second: &str) -> Option<String> {
    let (mut parts, mut other_parts) = (first.split('.'), second.split('.'));
    let mut common = Vec::new();
    loop {
        match (parts.next(), other_parts.next()) {
            (None, None) => return Some(common.join(".")),
            (Some("**"), Some(part)) => {
                common.push(part);
                common.extend(other_parts);
                return Some(common.join("."));
            }
            (Some(part), Some("**")) => {
                common.push(part);
                common.extend(parts);
                return Some(common.join("."));
            }
            (Some("*"), Some(part)) | (Some(part), Some("*")) => common.push(part),
            (Some(part), Some(other)) if part == other => common.push(part),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StreamName {
        StreamName::parse(text).expect("a name")
    }

    fn selector(text: &str) -> Selector {
        Selector::parse(text).expect("a selector")
    }

    #[test]
    fn intersection_reaches_the_streams_that_both_reach() {
        let parts = ["a", "b", "c", "chat", "hub", "mercure"];
        let mut names: Vec<StreamName> = parts.iter().map(|part| name(part)).collect();
        for one in parts {
            for two in parts {
                names.push(name(&format!("{one}.{two}")));
                names.extend(parts.map(|three| name(&format!("{one}.{two}.{three}"))));
            }
        }
        let selectors: Vec<Selector> = [
            "a",
            "a.b",
            "a.b.c",
            "**",
            "*",
            "*.*",
            "*.b",
            "a.*",
            "a.**",
            "*.**",
            "*.*.**",
            "*.b.**",
            "a.*.c",
            "a.b.**",
            "chat.a",
            "chat.*",
            "chat.**",
            "hub.a",
            "hub.*",
            "hub.**",
            "*.*.c",
            "hub.mercure",
        ]
        .map(selector)
        .into();
        for one in &selectors {
            for other in &selectors {
                let intersection = one.intersection(other);
                assert_eq!(intersection, other.intersection(one), "{one} and {other}");
                for name in &names {
                    let expected = one.reaches(name) && other.reaches(name);
                    let reached = intersection
                        .as_ref()
                        .is_some_and(|intersection| intersection.reaches(name));
                    assert_eq!(reached, expected, "{one} and {other} at {name}: {intersection:?}");
                }
            }
        }
    }

    #[test]
    fn streams_that_the_hub_writes_are_recognized() {
        for own in ["system", "system.node", "heartbeats", "jobs.a.1", "chat.x", "hub.logs"] {
            assert!(name(own).is_written_by_hub(), "{own}");
        }
        for free in ["systems", "jobs", "chat", "hub", "chats.a", "a.hub.b", ".hub"] {
            assert!(!name(free).is_written_by_hub(), "{free}");
        }
    }

    #[test]
    fn hidden_streams_are_reached_only_by_name() {
        for (text, stream, reached) in [
            ("**", "chat.a", false),
            ("chat.*", "chat.a", false),
            ("chat.a", "chat.a", true),
            ("**", "hub.logs", false),
            ("*.logs", "hub.logs", false),
            ("hub.*", "hub.logs", true),
            ("hub.*", "hub.mercure", false),
            ("hub.**", "hub.mercure", false),
            ("hub.mercure", "hub.mercure", true),
            ("*", "hub", true),
        ] {
            assert_eq!(selector(text).reaches(&name(stream)), reached, "{text} at {stream}");
        }
        assert!(selector("chat.**").matches_nothing() && !selector("chat.a").matches_nothing());
    }
}
