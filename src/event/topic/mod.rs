//! Topics of updates, and what matches them (Mercure protocol).
//!
//! A topic is any clean text, often a URL, and not a stream. All updates are events of one stream, [`UPDATES`],
//! and their readers select them by topic.

mod interest;
mod matcher;
mod template;
mod update;
mod url_pattern;

pub use interest::TopicInterest;
pub use matcher::{MatcherKind, Place, TopicMatcher};
pub(crate) use update::{EARLIEST, GENERATED, RESERVED_TOPIC};
pub use update::{MAX_TOPICS, PublishedUpdate, UPDATE_TYPE, UPDATES, Update, updates};

use super::Invalid;
use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;
use std::cell::OnceCell;
use url::Url;

/// The matcher that matches every topic.
pub const WILDCARD: &str = "*";

/// Fails if a text has control characters, or invisible format characters, with which one text can pass for
/// another (Mercure protocol, "Terminology").
pub fn check_clean(field: &str, text: &str) -> Result<(), Invalid> {
    let is_format = |c: char| {
        !c.is_ascii()
            && CodePointMapData::<GeneralCategory>::new().get(c) == GeneralCategory::Format
    };
    match text.chars().find(|c| c.is_control() || is_format(*c)) {
        None => Ok(()),
        Some(c) => Err(Invalid::new(field, format!("{c:?} is not allowed"))),
    }
}

/// A topic that is matched. It is parsed as a URL when the first URL pattern is matched against it.
pub struct Topic<'a> {
    text: &'a str,
    url: OnceCell<Option<Url>>,
}

impl<'a> Topic<'a> {
    /// Creates a topic.
    pub fn new(text: &'a str) -> Self {
        Self { text, url: OnceCell::new() }
    }

    /// Returns the topic as text.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// Returns the topic as a URL, relative to `base`; `None` if it is none.
    pub fn url(&self, base: &Url) -> Option<&Url> {
        self.url.get_or_init(|| base.join(self.text).ok()).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_format_characters_are_refused() {
        for clean in ["", "a b", "https://example.com/é?x=1#y", "日本", "\u{a0}", "e\u{301}"] {
            assert!(check_clean("topic", clean).is_ok(), "{clean:?}");
        }
        for c in [
            '\0',
            '\n',
            '\u{7f}',
            '\u{80}',
            '\u{9f}',
            '\u{ad}',
            '\u{200b}',
            '\u{202e}',
            '\u{feff}',
            '\u{e0001}',
        ] {
            assert!(check_clean("topic", &format!("a{c}b")).is_err(), "{c:?}");
        }
    }
}
