//! Selectors of streams: an exact name or a pattern.

use super::{Invalid, StreamName};
use std::fmt;

/// An exact stream name, or a pattern over the parts of names (split on `.`): `*` stands for one
/// part, a last `**` for one or more, `**` alone for every stream.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Selector {
    /// A stream, by its name.
    Exact(StreamName),
    /// Every stream that matches.
    Pattern(Pattern),
}

/// A selector with at least one star.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern {
    text: Box<str>,
}

impl Selector {
    /// Parses `text`; an error names the field `stream`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if !text.contains('*') {
            return StreamName::parse(text).map(Self::Exact);
        }
        let refuse =
            |reason: &str| Err(Invalid::new("stream", format!("selector {text:?}: {reason}")));
        StreamName::parse(&text.replace('*', "x"))
            .map_err(|e| Invalid::new("stream", format!("selector {text:?}: {}", e.detail)))?;
        let mut parts = text.split('.').peekable();
        while let Some(part) = parts.next() {
            match part {
                "" => return refuse("a part between dots must not be empty"),
                "**" if parts.peek().is_some() => return refuse("`**` must be the last part"),
                "*" | "**" => {}
                p if p.contains('*') => return refuse("a star must be a whole part"),
                _ => {}
            }
        }
        Ok(Self::Pattern(Pattern { text: text.into() }))
    }

    /// Returns true if it matches `name`.
    pub fn matches(&self, name: &StreamName) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Pattern(pattern) => pattern.matches(name.as_str()),
        }
    }

    /// Returns the selected stream; `None` for a pattern.
    pub fn exact(&self) -> Option<&StreamName> {
        match self {
            Self::Exact(name) => Some(name),
            Self::Pattern(_) => None,
        }
    }

    /// Returns the selector as it was written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(name) => name.as_str(),
            Self::Pattern(pattern) => &pattern.text,
        }
    }
}

impl Pattern {
    fn matches(&self, name: &str) -> bool {
        let mut parts = name.split('.');
        for pattern_part in self.text.split('.') {
            match (pattern_part, parts.next()) {
                (_, None) => return false,
                ("**", Some(_)) => return true,
                ("*", Some(_)) => {}
                (literal, Some(part)) if literal == part => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, name: &str) -> bool {
        let name = StreamName::parse(name).expect("a name");
        Selector::parse(selector).expect("a selector").matches(&name)
    }

    #[test]
    fn stars_stand_for_whole_parts() {
        assert!(matches("builds.*", "builds.42"));
        assert!(!matches("builds.*", "builds"));
        assert!(!matches("builds.*", "builds.42.log"));
        assert!(matches("builds.*.log", "builds.42.log"));
        assert!(matches("builds.**", "builds.42.log"));
        assert!(!matches("builds.**", "builds"));
        assert!(matches("**", "anything.at.all"));
        assert!(matches("*", "anything"));
        assert!(!matches("*", "any.thing"));
        assert!(matches("a.b", "a.b"));
        assert!(!matches("a.b", "a.bb"));
    }

    #[test]
    fn malformed_selector_is_refused() {
        for bad in ["", "a*", "**.a", "a..*", "*.", ".*", "a.**.b", "a b.*", "***"] {
            assert!(Selector::parse(bad).is_err(), "{bad:?}");
        }
    }
}
