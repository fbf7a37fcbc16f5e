//! Index that finds the selectors matching a stream name without examining the others.

use crate::event::{Selector, StreamName};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::ops::Bound;

/// Values by selector.
pub(in crate::hub) struct SelectorIndex<T> {
    exact: FxHashMap<StreamName, Vec<T>>,
    /// Exact names in order, for lists that begin after any name.
    names: BTreeSet<StreamName>,
    patterns: Node<T>,
    pattern_count: usize,
}

struct Node<T> {
    children: FxHashMap<Box<str>, Node<T>>,
    /// Values of the selectors that end here.
    exact_values: Vec<T>,
    /// Values of the selectors that end here with `**`.
    deep_values: Vec<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { children: FxHashMap::default(), exact_values: Vec::new(), deep_values: Vec::new() }
    }
}

impl<T> Default for SelectorIndex<T> {
    fn default() -> Self {
        Self {
            exact: FxHashMap::default(),
            names: BTreeSet::new(),
            patterns: Node::default(),
            pattern_count: 0,
        }
    }
}

impl<T: Copy + PartialEq> SelectorIndex<T> {
    pub(in crate::hub) fn insert(&mut self, selector: &Selector, value: T) {
        match selector {
            Selector::Exact(name) => {
                let values = self.exact.entry(name.clone()).or_default();
                if values.is_empty() {
                    self.names.insert(name.clone());
                }
                values.push(value);
            }
            Selector::Pattern(_) => {
                self.pattern_count += 1;
                self.patterns.insert(selector.as_str(), value);
            }
        }
    }

    pub(in crate::hub) fn remove(&mut self, selector: &Selector, value: T) {
        match selector {
            Selector::Exact(name) => {
                if let Some(values) = self.exact.get_mut(name) {
                    values.retain(|v| *v != value);
                    if values.is_empty() {
                        self.exact.remove(name);
                        self.names.remove(name);
                    }
                }
            }
            Selector::Pattern(_) => {
                self.pattern_count -= 1;
                self.patterns.remove(selector.as_str(), value);
            }
        }
    }

    /// Appends the values of all selectors that reach `name`. A value may be appended twice: if a
    /// selector matches in two ways, or if it has two matching selectors.
    pub(in crate::hub) fn matches(&self, name: &StreamName, out: &mut Vec<T>) {
        if let Some(values) = self.exact.get(name) {
            out.extend_from_slice(values);
        }
        if self.pattern_count > 0 {
            self.patterns.append_reaching(name, out);
        }
    }

    /// Returns true if a selector is exactly this name.
    pub(in crate::hub) fn names(&self, name: &StreamName) -> bool {
        self.exact.contains_key(name)
    }

    /// Returns the exactly selected names that start with `prefix` and follow `after`, in order.
    pub(in crate::hub) fn exact_names<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a StreamName> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let names = self.names.range::<str, _>((from, Bound::Unbounded));
        names.take_while(move |name| name.as_str().starts_with(prefix))
    }
}

impl<T: Copy + PartialEq> Node<T> {
    fn insert(&mut self, pattern: &str, value: T) {
        let (part, rest) = split(pattern);
        match (part, rest) {
            ("**", _) => self.deep_values.push(value),
            (part, None) => self.children.entry(part.into()).or_default().exact_values.push(value),
            (part, Some(rest)) => self.children.entry(part.into()).or_default().insert(rest, value),
        }
    }

    fn remove(&mut self, pattern: &str, value: T) {
        let (part, rest) = split(pattern);
        if part == "**" {
            self.deep_values.retain(|v| *v != value);
            return;
        }
        let Some(node) = self.children.get_mut(part) else { return };
        match rest {
            None => node.exact_values.retain(|v| *v != value),
            Some(rest) => node.remove(rest, value),
        }
        if node.children.is_empty() && node.exact_values.is_empty() && node.deep_values.is_empty() {
            self.children.remove(part);
        }
    }

    /// Appends the values of the patterns that reach `name`, as [`Selector::reaches`] defines.
    /// Called on the root node.
    fn append_reaching(&self, name: &StreamName, out: &mut Vec<T>) {
        if name.is_reached_by_name_only() {
            return;
        }
        if !name.is_for_admins() {
            return self.matches(Some(name.as_str()), out);
        }
        let (part, rest) = split(name.as_str());
        if let Some(node) = self.children.get(part) {
            node.matches(rest, out);
        }
    }

    fn matches(&self, name: Option<&str>, out: &mut Vec<T>) {
        let Some(name) = name else {
            out.extend_from_slice(&self.exact_values);
            return;
        };
        out.extend_from_slice(&self.deep_values);
        let (part, rest) = split(name);
        for key in [part, "*"] {
            if let Some(node) = self.children.get(key) {
                node.matches(rest, out);
            }
        }
    }
}

fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once('.') {
        Some((part, rest)) => (part, Some(rest)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_in_order_after_any_name() {
        let mut index = SelectorIndex::default();
        for text in ["b.2", "a", "b.1", "b", "b.1", "c", "b.*"] {
            index.insert(&Selector::parse(text).expect("a selector"), 0);
        }
        for (prefix, after, expected) in [
            ("", None, &["a", "b", "b.1", "b.2", "c"][..]),
            ("b.", None, &["b.1", "b.2"]),
            ("b", Some("b"), &["b.1", "b.2"]),
            ("b", Some("a"), &["b", "b.1", "b.2"]),
            ("b", Some("c"), &[]),
            ("", Some("b.1"), &["b.2", "c"]),
        ] {
            let names: Vec<&str> = index.exact_names(prefix, after).map(|n| n.as_str()).collect();
            assert_eq!(names, expected, "{prefix:?} {after:?}");
        }
    }

    #[test]
    fn index_agrees_with_the_selectors_and_forgets_removed_ones() {
        let selectors: Vec<Selector> = [
            "a",
            "a.b",
            "*",
            "**",
            "a.*",
            "a.**",
            "*.b",
            "a.*.c",
            "*.*",
            "a.b.**",
            "b.*.**",
            "a..b",
            "hub.*",
            "hub.**",
            "hub.b",
            "hub.mercure",
            "chat.b",
            "chat.*",
            "chat.**",
        ]
        .iter()
        .map(|text| Selector::parse(text).expect("a selector"))
        .collect();
        let names: Vec<StreamName> = [
            "a",
            "b",
            "a.b",
            "a.b.c",
            "x.b",
            "a..b",
            "a.",
            "b.x.y",
            ".",
            "hub",
            "hub.b",
            "hub.b.c",
            "hub.mercure",
            "chat",
            "chat.b",
            "chat.b.c",
        ]
        .iter()
        .filter_map(|text| StreamName::parse(text).ok())
        .collect();
        let mut index = SelectorIndex::default();
        for (i, selector) in selectors.iter().enumerate() {
            index.insert(selector, i);
        }
        for remaining in (0..=selectors.len()).rev() {
            for name in &names {
                let mut found = Vec::new();
                index.matches(name, &mut found);
                found.sort_unstable();
                found.dedup();
                let expected: Vec<usize> =
                    (0..remaining).filter(|i| selectors[*i].reaches(name)).collect();
                assert_eq!(found, expected, "{name}");
            }
            if remaining > 0 {
                index.remove(&selectors[remaining - 1], remaining - 1);
            }
        }
        assert!(
            index.exact.is_empty() && index.names.is_empty() && index.patterns.children.is_empty()
        );
    }
}
