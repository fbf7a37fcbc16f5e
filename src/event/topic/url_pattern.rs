//! URL patterns (WHATWG URL Pattern), relative to the URL of the hub.

use super::Topic;
use regex::{Regex, RegexBuilder};
use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;
use url::Url;
use urlpattern::component::Component;
use urlpattern::matcher::{InnerMatcher, Matcher};
use urlpattern::regexp::RegExp;
use urlpattern::{RegexSyntax, UrlPatternInit, UrlPatternOptions};

/// Maximum size of a compiled part of a pattern, in bytes. Matching takes time linear in the topic.
const MAX_COMPILED_BYTES: usize = 1 << 16;

/// A URL pattern.
pub(super) struct UrlPattern {
    base: Url,
    /// Text with which the host and path of every matching URL begin.
    prefix: String,
    protocol: Matcher<PartRegex>,
    username: Matcher<PartRegex>,
    password: Matcher<PartRegex>,
    hostname: Matcher<PartRegex>,
    port: Matcher<PartRegex>,
    pathname: Matcher<PartRegex>,
    search: Matcher<PartRegex>,
    hash: Matcher<PartRegex>,
}

impl UrlPattern {
    /// Parses a pattern. One that the library fails on is invalid: version 0.6.0 counts brackets that are closed and
    /// were never opened, which ends in a panic with overflow checks.
    pub(super) fn parse(text: &str, base: &Url) -> Result<Self, urlpattern::Error> {
        let parse = AssertUnwindSafe(|| Self::try_parse(text, base));
        std::panic::catch_unwind(parse).unwrap_or(Err(urlpattern::Error::RegExp(())))
    }

    fn try_parse(text: &str, base: &Url) -> Result<Self, urlpattern::Error> {
        let init = UrlPatternInit::parse_constructor_string::<PartRegex>(text, Some(base.clone()))?;
        let parsed =
            urlpattern::UrlPattern::<PartRegex>::parse(init, UrlPatternOptions::default())?;
        let prefix = prefix(&parsed.hostname, &parsed.pathname);
        let part = |component: Component<PartRegex>| -> Result<_, urlpattern::Error> {
            if let InnerMatcher::RegExp { regexp: Ok(regexp) } = &component.matcher.inner
                && regexp.compiled().is_none()
            {
                return Err(urlpattern::Error::RegExp(()));
            }
            Ok(component.matcher)
        };
        Ok(Self {
            base: base.clone(),
            prefix,
            protocol: part(parsed.protocol)?,
            username: part(parsed.username)?,
            password: part(parsed.password)?,
            hostname: part(parsed.hostname)?,
            port: part(parsed.port)?,
            pathname: part(parsed.pathname)?,
            search: part(parsed.search)?,
            hash: part(parsed.hash)?,
        })
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    pub(super) fn matches(&self, topic: &Topic<'_>) -> bool {
        let Some(url) = topic.url(&self.base) else { return false };
        let is_match = |matcher: &Matcher<PartRegex>, part| matcher.matches(part).is_some();
        // The part in which topics differ most comes first.
        is_match(&self.pathname, url.path())
            && is_match(&self.hostname, url.host_str().unwrap_or_default())
            && is_match(&self.protocol, url.scheme())
            && is_match(&self.port, url::quirks::port(url))
            && is_match(&self.search, url.query().unwrap_or_default())
            && is_match(&self.hash, url.fragment().unwrap_or_default())
            && is_match(&self.username, url.username())
            && is_match(&self.password, url.password().unwrap_or_default())
    }
}

/// Returns the host and the begin of the path that all matching URLs have; nothing if the host may differ.
fn prefix(hostname: &Component<PartRegex>, pathname: &Component<PartRegex>) -> String {
    let InnerMatcher::Literal { literal: host } = &hostname.matcher.inner else {
        return String::new();
    };
    let host =
        [&hostname.matcher.prefix, host, &hostname.matcher.suffix].map(String::as_str).concat();
    let path = &pathname.pattern_string;
    let end = path.find([':', '*', '{', '(', '\\']).unwrap_or(path.len());
    let literal = &path[..end];
    // A slash before a group belongs to the group, which may be optional.
    let literal = if end < path.len() { literal.trim_end_matches('/') } else { literal };
    format!("{host}{literal}")
}

/// Regular expression of a part. Most parts need none, so it is compiled when it is first needed.
#[derive(Debug)]
pub(super) struct PartRegex {
    text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl PartRegex {
    /// Returns the expression; `None` if it is invalid or too large.
    fn compiled(&self) -> Option<&Regex> {
        let compile = || {
            let mut builder = RegexBuilder::new(&self.text);
            builder.size_limit(MAX_COMPILED_BYTES).dfa_size_limit(MAX_COMPILED_BYTES).build().ok()
        };
        self.compiled.get_or_init(compile).as_ref()
    }
}

impl RegExp for PartRegex {
    fn syntax() -> RegexSyntax {
        RegexSyntax::Rust
    }

    fn parse(pattern: &str, _flags: &str, _force_eval: bool) -> Result<Self, ()> {
        Ok(Self { text: pattern.to_owned(), compiled: OnceLock::new() })
    }

    fn matches<'a>(&self, text: &'a str) -> Option<Vec<Option<&'a str>>> {
        // The captures are not used.
        self.compiled()?.is_match(text).then(Vec::new)
    }

    fn pattern_string(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Url {
        Url::parse("https://hub.example/.well-known/mercure").expect("a URL")
    }

    #[test]
    fn patterns_match_urls_relative_to_the_hub() {
        for (pattern, topic, expected) in [
            ("https://example.com/books/:id", "https://example.com/books/1", true),
            ("https://example.com/books/:id", "https://EXAMPLE.com/books/1", true),
            ("https://example.com/books/:id", "https://example.com/Books/1", false),
            ("https://example.com/books/:id", "https://example.com/books/1/2", false),
            ("https://example.com/books/:id?", "https://example.com/books", true),
            ("https://example.com/books/*", "https://example.com/books/1/2", true),
            ("https://example.com/books/(\\d+)", "https://example.com/books/17", true),
            ("https://example.com/books/(\\d+)", "https://example.com/books/x", false),
            ("https://*.example.com/", "https://a.example.com/", true),
            ("/books/:id", "/books/1", true),
            ("/books/:id", "https://hub.example/books/1", true),
            ("/books/:id", "https://example.com/books/1", false),
            ("https://example.com/books/:id", "http://[", false),
            ("https://example.com/b?q=:q", "https://example.com/b?q=1", true),
        ] {
            let parsed = UrlPattern::parse(pattern, &base()).expect(pattern);
            assert_eq!(parsed.matches(&Topic::new(topic)), expected, "{pattern} {topic}");
            if let Some(url) = Topic::new(topic).url(&base()).filter(|_| expected) {
                let text = format!("{}{}", url.host_str().unwrap_or_default(), url.path());
                assert!(text.starts_with(parsed.prefix()), "{pattern}: {}", parsed.prefix());
            }
        }
    }

    #[test]
    fn invalid_and_too_large_patterns_are_refused() {
        for pattern in
            ["https://example.com/(", "https://example.com/(a{9999}{9999})", "(:", "https://]"]
        {
            assert!(UrlPattern::parse(pattern, &base()).is_err(), "{pattern}");
        }
    }

    #[test]
    fn prefix_is_the_host_and_what_precedes_the_first_group() {
        for (pattern, prefix) in [
            ("https://example.com/books/:id", "example.com/books"),
            ("https://example.com/books/1", "example.com/books/1"),
            ("https://example.com/books{/:id}?", "example.com/books"),
            ("https://*.example.com/books/1", ""),
            ("/books/*", "hub.example/books"),
            (r"http://[\:\:1]/books/*", "[::1]/books"),
        ] {
            let parsed = UrlPattern::parse(pattern, &base()).expect(pattern);
            assert_eq!(parsed.prefix(), prefix, "{pattern}");
        }
    }
}
