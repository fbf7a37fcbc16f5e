//! Index that finds the matchers of an update without examining the others.

use crate::event::topic::{Place, Topic, TopicInterest, TopicMatcher};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use url::Url;

/// Maximum length of a prefix by which matchers are found, in bytes; it bounds the look-ups for a topic.
const MAX_PREFIX_BYTES: usize = 256;

/// Values by matcher.
pub(in crate::hub) struct TopicIndex<T> {
    wildcards: Vec<T>,
    exact: FxHashMap<Box<str>, Vec<T>>,
    url_patterns: PrefixIndex<T>,
    templates: PrefixIndex<T>,
}

impl<T> Default for TopicIndex<T> {
    fn default() -> Self {
        Self {
            wildcards: Vec::new(),
            exact: FxHashMap::default(),
            url_patterns: PrefixIndex::default(),
            templates: PrefixIndex::default(),
        }
    }
}

impl<T: Copy + PartialEq> TopicIndex<T> {
    pub(in crate::hub) fn insert(&mut self, interest: &TopicInterest, value: T) {
        for matcher in interest.matchers() {
            match matcher.place() {
                Place::All => self.wildcards.push(value),
                Place::Exact(topic) => match self.exact.get_mut(topic) {
                    Some(values) => values.push(value),
                    None => {
                        self.exact.insert(topic.into(), vec![value]);
                    }
                },
                Place::UrlPattern { prefix, .. } => {
                    self.url_patterns.insert(prefix, matcher, value);
                }
                Place::Template { prefix } => self.templates.insert(prefix, matcher, value),
            }
        }
    }

    pub(in crate::hub) fn remove(&mut self, interest: &TopicInterest, value: T) {
        for matcher in interest.matchers() {
            match matcher.place() {
                Place::All => remove_first(&mut self.wildcards, |found| *found == value),
                Place::Exact(topic) => {
                    if let Some(values) = self.exact.get_mut(topic) {
                        remove_first(values, |found| *found == value);
                        if values.is_empty() {
                            self.exact.remove(topic);
                        }
                    }
                }
                Place::UrlPattern { prefix, .. } => {
                    self.url_patterns.remove(prefix, matcher, value);
                }
                Place::Template { prefix } => self.templates.remove(prefix, matcher, value),
            }
        }
    }

    /// Appends the values of all matchers of some topics. A value may be appended several times.
    pub(in crate::hub) fn matches(&self, topics: &[Topic<'_>], out: &mut Vec<T>) {
        out.extend_from_slice(&self.wildcards);
        for topic in topics {
            if let Some(values) = self.exact.get(topic.as_str()) {
                out.extend_from_slice(values);
            }
            self.templates.matches(topic.as_str(), topic, out);
            if let Some(url) = self.base().and_then(|base| topic.url(base)) {
                let text = [url.host_str().unwrap_or_default(), url.path()].concat();
                self.url_patterns.matches(&text, topic, out);
            }
        }
    }

    /// Returns the URL that URL patterns are relative to, if there is a pattern.
    fn base(&self) -> Option<&Url> {
        let (matcher, _) = self.url_patterns.by_prefix.values().next()?.first()?;
        match matcher.place() {
            Place::UrlPattern { base, .. } => Some(base),
            _ => None,
        }
    }
}

/// Matchers by a text with which everything that they match begins.
struct PrefixIndex<T> {
    by_prefix: FxHashMap<Box<str>, Vec<(TopicMatcher, T)>>,
    /// Number of prefixes of each length.
    lengths: BTreeMap<usize, usize>,
}

impl<T> Default for PrefixIndex<T> {
    fn default() -> Self {
        Self { by_prefix: FxHashMap::default(), lengths: BTreeMap::new() }
    }
}

impl<T: Copy + PartialEq> PrefixIndex<T> {
    fn insert(&mut self, prefix: &str, matcher: &TopicMatcher, value: T) {
        let prefix = shortened(prefix);
        if let Some(matchers) = self.by_prefix.get_mut(prefix) {
            matchers.push((matcher.clone(), value));
            return;
        }
        self.by_prefix.insert(prefix.into(), vec![(matcher.clone(), value)]);
        *self.lengths.entry(prefix.len()).or_default() += 1;
    }

    fn remove(&mut self, prefix: &str, matcher: &TopicMatcher, value: T) {
        let prefix = shortened(prefix);
        let Some(matchers) = self.by_prefix.get_mut(prefix) else { return };
        remove_first(matchers, |(other, found)| *found == value && other == matcher);
        if !matchers.is_empty() {
            return;
        }
        self.by_prefix.remove(prefix);
        if let Some(count) = self.lengths.get_mut(&prefix.len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
    }

    /// Appends the values of the matchers of a topic that begins with their prefix in the form `text`.
    fn matches(&self, text: &str, topic: &Topic<'_>, out: &mut Vec<T>) {
        let lengths = self.lengths.range(..=text.len());
        for prefix in lengths.filter_map(|(length, _)| text.get(..*length)) {
            for (matcher, value) in self.by_prefix.get(prefix).into_iter().flatten() {
                if matcher.matches(topic) {
                    out.push(*value);
                }
            }
        }
    }
}

/// Returns the longest begin of a prefix that is not too long.
fn shortened(prefix: &str) -> &str {
    let end = (0..=MAX_PREFIX_BYTES.min(prefix.len())).rfind(|end| prefix.is_char_boundary(*end));
    &prefix[..end.unwrap_or(0)]
}

fn remove_first<T>(values: &mut Vec<T>, is_wanted: impl FnMut(&T) -> bool) {
    if let Some(at) = values.iter().position(is_wanted) {
        values.swap_remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::topic::MatcherKind;

    fn interest(kind: MatcherKind, text: &str) -> Option<TopicInterest> {
        let base = Url::parse("http://[::1]/.well-known/mercure").expect("a URL");
        let matcher = TopicMatcher::parse("match", kind, text, &base).ok()?;
        Some(TopicInterest::new(vec![matcher], Vec::new()))
    }

    #[test]
    fn index_agrees_with_the_matchers_and_forgets_removed_ones() {
        let long = format!("https://example.com/{}", "x".repeat(300));
        let texts = [
            "*",
            "a",
            "https://example.com/books/1",
            "https://example.com/books/:id",
            "https://example.com/books/{id}",
            "https://example.com/{+rest}",
            "https://*.example.com/books/:id",
            "https://:host/books/:id",
            "/books/:id",
            "/:all*",
            "{x}",
            "é{x}",
            &format!("{long}/:id"),
            &format!("{long}/{{id}}"),
        ];
        let kinds = [MatcherKind::Exact, MatcherKind::UrlPattern, MatcherKind::Selector];
        let interests: Vec<_> = kinds
            .iter()
            .flat_map(|kind| texts.map(|text| interest(*kind, text)))
            .flatten()
            .collect();
        let topics = [
            "a",
            "b",
            "éx",
            "%C3%A9x",
            "/books/1",
            "http://[::1]/books/1",
            "https://example.com/books/1",
            "https://EXAMPLE.com/books/1",
            "https://a.example.com/books/1",
            "https://example.com/books/1/2?x",
            "http://[",
            &format!("{long}/1"),
        ];
        let mut index = TopicIndex::default();
        for (value, interest) in interests.iter().enumerate() {
            index.insert(interest, value);
        }
        for remaining in (0..=interests.len()).rev() {
            for text in topics {
                let mut found = Vec::new();
                index.matches(&[Topic::new(text)], &mut found);
                found.sort_unstable();
                let matches = |n: &usize| {
                    interests[*n]
                        .matchers()
                        .iter()
                        .any(|matcher| matcher.matches(&Topic::new(text)))
                };
                let expected: Vec<_> = (0..remaining).filter(matches).collect();
                assert_eq!(found, expected, "{text}");
            }
            if let Some(last) = remaining.checked_sub(1) {
                index.remove(&interests[last], last);
            }
        }
        assert!(index.wildcards.is_empty() && index.exact.is_empty());
        for prefixes in [&index.url_patterns, &index.templates] {
            assert!(prefixes.by_prefix.is_empty() && prefixes.lengths.is_empty());
        }
    }
}
