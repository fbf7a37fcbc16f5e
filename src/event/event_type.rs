//! The type of an event, which EventSource dispatches on.

use super::Invalid;
use std::{fmt, sync::Arc};

/// Maximum length of a type, in bytes.
const MAX_TYPE_BYTES: usize = 64;
/// The type EventSource gives to a block without an `event:` line (WHATWG HTML §9.2.6).
const DEFAULT: &str = "message";
/// Names that collide with EventSource's own events in a browser.
const BROWSER_EVENTS: [&str; 2] = ["open", "error"];
/// Prefix of the hub's own control events.
const RESERVED_PREFIX: &str = "hub-";

/// Type of an event: 1 to 64 bytes without control characters; never `open`, `error` or `hub-…`.
/// `message` is the default and costs no allocation.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct EventType(Option<Arc<str>>);

impl EventType {
    /// Parses `text`; an error names the field `type`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse = |reason: String| Err(Invalid::new("type", reason));
        if text == DEFAULT {
            return Ok(Self(None));
        }
        if text.is_empty() || text.len() > MAX_TYPE_BYTES {
            return refuse(format!("a type has 1 to {MAX_TYPE_BYTES} bytes"));
        }
        if text.chars().any(char::is_control) {
            return refuse("a type must not contain control characters".into());
        }
        if BROWSER_EVENTS.contains(&text) {
            return refuse(format!("{text:?} is reserved: EventSource has an event of that name"));
        }
        if text.starts_with(RESERVED_PREFIX) {
            return refuse(format!("types that start with {RESERVED_PREFIX:?} are reserved"));
        }
        Ok(Self(Some(text.into())))
    }

    /// Returns the type as text.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or(DEFAULT)
    }

    /// Returns true for the default type, which needs no `event:` line.
    pub fn is_default(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_never_collides_with_eventsource_or_the_hub() {
        assert!(EventType::parse("message").expect("ok").is_default());
        for good in ["log", "my event", "Ω", "hub", &"x".repeat(64)] {
            assert_eq!(EventType::parse(good).expect("ok").as_str(), good);
        }
        for bad in ["", "open", "error", "hub-open", "a\nb", "a\rb", &"x".repeat(65)] {
            assert!(EventType::parse(bad).is_err(), "{bad:?}");
        }
    }
}
