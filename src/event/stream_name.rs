//! The name of a stream.

use super::Invalid;
use std::{borrow::Borrow, fmt, sync::Arc};

/// Maximum length of a name, in bytes: fits a path segment of every file system and proxy.
const MAX_NAME_BYTES: usize = 255;

/// Name of a stream: 1 to 255 bytes of UTF-8 without control characters, white space or `*`, and
/// neither `.` nor `..` (which clients and proxies would take for path segments). Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// Parses `text`; an error names the field `stream`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse = |reason: String| Err(Invalid::new("stream", reason));
        if text.is_empty() {
            return refuse("a stream name must not be empty".into());
        }
        if text.len() > MAX_NAME_BYTES {
            return refuse(format!(
                "a stream name has at most {MAX_NAME_BYTES} bytes, this one has {}",
                text.len()
            ));
        }
        if text == "." || text == ".." {
            return refuse(format!("{text:?} is not a valid stream name"));
        }
        match text.chars().find(|c| c.is_control() || c.is_whitespace() || *c == '*') {
            Some(c) => refuse(format!("a stream name must not contain {c:?}")),
            None => Ok(Self(text.into())),
        }
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_visible_text_without_stars_and_no_path_segment() {
        for good in ["a", "builds.42", "a..b", ".a", "…", "日本", "a/b", &"x".repeat(255)] {
            assert!(StreamName::parse(good).is_ok(), "{good:?}");
        }
        for bad in ["", ".", "..", "a b", "a\tb", "a\u{7f}", "a*", "a\u{a0}b", &"x".repeat(256)] {
            assert!(StreamName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
