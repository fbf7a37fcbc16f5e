//! Matchers of topics, in both dialects of the protocol.

use super::template::Template;
use super::url_pattern::UrlPattern;
use super::{Topic, WILDCARD, check_clean};
use crate::event::Invalid;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use url::Url;

/// Maximum length of a matcher, in bytes.
const MAX_MATCHER_BYTES: usize = 4_096;

/// Interpretation of a matcher.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MatcherKind {
    /// Equal bytes.
    Exact,
    /// A URL pattern (WHATWG URL Pattern).
    UrlPattern,
    /// A topic selector of the dialect 0.x: equal bytes, or a URI template (RFC 6570).
    Selector,
}

impl MatcherKind {
    /// Returns the name in parameters, tokens and subscriptions; that of a selector appears nowhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::UrlPattern => "urlpattern",
            Self::Selector => "selector",
        }
    }

    /// Returns the kind with a name in the dialect 1.0.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Exact, Self::UrlPattern].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// An expression that topics are matched against. Equal expressions of a kind are equal matchers.
#[derive(Clone)]
pub struct TopicMatcher {
    kind: MatcherKind,
    text: Arc<str>,
    form: Form,
}

#[derive(Clone)]
enum Form {
    All,
    Exact,
    UrlPattern(Arc<UrlPattern>),
    Template(Arc<Template>),
}

impl TopicMatcher {
    /// Parses a matcher; an error names `field`. `base` is the URL of the hub.
    pub fn parse(field: &str, kind: MatcherKind, text: &str, base: &Url) -> Result<Self, Invalid> {
        if text.len() > MAX_MATCHER_BYTES {
            let why =
                format!("a matcher has at most {MAX_MATCHER_BYTES} bytes, not {}", text.len());
            return Err(Invalid::new(field, why));
        }
        check_clean(field, text)?;
        let form = match kind {
            _ if text == WILDCARD => Form::All,
            MatcherKind::Exact => Form::Exact,
            MatcherKind::UrlPattern => {
                let pattern = UrlPattern::parse(text, base).map_err(|why| {
                    Invalid::new(field, format!("{text:?} is not a URL pattern: {why}"))
                })?;
                Form::UrlPattern(Arc::new(pattern))
            }
            MatcherKind::Selector => match Template::parse(text) {
                Ok(template) => template.map_or(Form::Exact, |found| Form::Template(found.into())),
                Err(why) => {
                    let why = format!("the URI template {text:?} is too complex: {why}");
                    return Err(Invalid::new(field, why));
                }
            },
        };
        Ok(Self { kind, text: text.into(), form })
    }

    /// Returns the kind.
    pub fn kind(&self) -> MatcherKind {
        self.kind
    }

    /// Returns the expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns true if it matches every topic.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.form, Form::All)
    }

    /// Returns true for patterns and templates, which cost more than texts.
    pub fn is_compiled(&self) -> bool {
        matches!(self.form, Form::UrlPattern(_) | Form::Template(_))
    }

    /// Returns true if it matches a topic.
    pub fn matches(&self, topic: &Topic<'_>) -> bool {
        match &self.form {
            Form::All => true,
            Form::Exact => *self.text == *topic.as_str(),
            Form::UrlPattern(pattern) => pattern.matches(topic),
            Form::Template(template) => {
                *self.text == *topic.as_str() || template.matches(topic.as_str())
            }
        }
    }

    /// Returns the place of the matcher in an index.
    pub fn place(&self) -> Place<'_> {
        match &self.form {
            Form::All => Place::All,
            Form::Exact => Place::Exact(&self.text),
            Form::UrlPattern(pattern) => {
                Place::UrlPattern { prefix: pattern.prefix(), base: pattern.base() }
            }
            Form::Template(template) => Place::Template { prefix: template.prefix() },
        }
    }
}

/// Place of a matcher in an index: the topics that it may match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place<'a> {
    /// All topics.
    All,
    /// The topic of this text.
    Exact(&'a str),
    /// Topics whose host and path, relative to `base`, begin with `prefix`.
    UrlPattern {
        /// Begin of the host and the path.
        prefix: &'a str,
        /// URL of the hub.
        base: &'a Url,
    },
    /// Topics that begin with `prefix`.
    Template {
        /// Begin of the topic.
        prefix: &'a str,
    },
}

impl PartialEq for TopicMatcher {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for TopicMatcher {}

impl PartialOrd for TopicMatcher {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TopicMatcher {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.kind, &self.text).cmp(&(other.kind, &other.text))
    }
}

impl Hash for TopicMatcher {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.hash(state);
        self.text.hash(state);
    }
}

impl fmt::Debug for TopicMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:?}", self.kind.as_str(), self.text)
    }
}
