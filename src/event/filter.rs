//! Filter of a search: terms that an event must match, all of them.
//!
//! ```text
//! level>=warn order=9088 user.name!=ann /time(d )?out/ "two words" -noise type=log stream=api.*
//! ```

use super::json::{self, MembersByName};
use super::level::severity;
use super::{EventType, Invalid, Payload, Selector, StreamName};
use regex::bytes::{Regex, RegexBuilder};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::cmp::Ordering;

/// Maximum bytes of a filter, and maximum number of its terms.
const MAX_BYTES: usize = 1_000;
const MAX_TERMS: usize = 20;
/// Maximum bytes of a compiled pattern.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// A parsed filter.
#[derive(Debug)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Debug)]
struct Term {
    /// True for a term after `-`, which must not match.
    is_negated: bool,
    condition: Condition,
}

#[derive(Debug)]
enum Condition {
    /// The text of the data matches a pattern.
    Text(Regex),
    Type(EventType),
    /// A stream of the event is selected.
    Stream(Selector),
    /// A member of the data, or the level, compares as given.
    Member {
        name: String,
        operator: Operator,
        value: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Operators in text; of two that begin alike the longer comes first.
const OPERATORS: [(&str, Operator); 6] = [
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl Operator {
    fn accepts(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Filter {
    /// Parses a filter. An empty one matches every event.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > MAX_BYTES {
            return Err(invalid(format!("a filter has at most {MAX_BYTES} bytes")));
        }
        let mut terms = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            if terms.len() == MAX_TERMS {
                return Err(invalid(format!("a filter has at most {MAX_TERMS} terms")));
            }
            let negated = rest.strip_prefix('-').filter(|after| !after.starts_with([' ', '-']));
            let (condition, after) = condition(negated.unwrap_or(rest))?;
            terms.push(Term { is_negated: negated.is_some(), condition });
            rest = after.trim_start();
        }
        Ok(Self { terms })
    }

    /// Returns true if an event matches. `streams` are those that the searcher may know.
    pub fn matches(&self, streams: &[&StreamName], kind: &EventType, payload: &Payload) -> bool {
        let members = OnceCell::new();
        let text = text_of(payload);
        self.terms.iter().all(|term| {
            let matches = match &term.condition {
                Condition::Text(pattern) => pattern.is_match(&text),
                Condition::Type(wanted) => kind == wanted,
                Condition::Stream(selector) => streams.iter().any(|name| selector.reaches(name)),
                Condition::Member { name, operator, value } => {
                    let members = members.get_or_init(|| MembersByName::of(payload));
                    compares(members.as_ref(), &text, name, *operator, value)
                }
            };
            matches != term.is_negated
        })
    }
}

/// Returns the text of the data: a JSON string is searched like the same data as plain text.
fn text_of(payload: &Payload) -> Cow<'_, [u8]> {
    let bytes = payload.as_bytes();
    let is_string = payload.is_json() && bytes.starts_with(b"\"");
    let decoded = is_string.then(|| serde_json::from_slice::<String>(bytes).ok()).flatten();
    decoded.map_or(Cow::Borrowed(bytes), |text| Cow::Owned(text.into_bytes()))
}

fn invalid(detail: String) -> Invalid {
    Invalid::new("q", detail)
}

/// Parses the first term of `text`, without a negation; returns it and the rest.
fn condition(text: &str) -> Result<(Condition, &str), Invalid> {
    if let Some(pattern) = text.strip_prefix('/') {
        let end = end_of_quoted(pattern, '/')
            .ok_or_else(|| invalid(format!("{text:?} has no closing /")))?;
        let (flags, rest) = split_word(&pattern[end + 1..]);
        let ignores_case = match flags {
            "" => false,
            "i" => true,
            _ => return Err(invalid(format!("{flags:?} after a pattern is not the flag i"))),
        };
        return Ok((Condition::Text(compile(&pattern[..end], ignores_case)?), rest));
    }
    if text.starts_with('"') {
        let (quoted, rest) = value(text)?;
        return Ok((words(&quoted)?, rest));
    }
    let (word, rest) = split_word(text);
    let operator = OPERATORS.iter().filter_map(|(sign, operator)| {
        word.find(sign).filter(|at| *at > 0).map(|at| (at, *sign, *operator))
    });
    // The longer sign is listed first, so `min_by_key`, which keeps the first minimum, prefers it.
    let Some((at, sign, operator)) = operator.min_by_key(|(at, _, _)| *at) else {
        return Ok((words(word)?, rest));
    };
    let (name, (value, rest)) = (&text[..at], value(&text[at + sign.len()..])?);
    let is_equal = operator == Operator::Equal;
    let condition = match name {
        "type" if is_equal => Condition::Type(EventType::parse(&value)?),
        "stream" if is_equal => Condition::Stream(Selector::parse(&value)?),
        _ => Condition::Member { name: name.to_owned(), operator, value: value.into_owned() },
    };
    Ok((condition, rest))
}

/// Returns the condition that the data contains a text, whatever its case.
fn words(text: &str) -> Result<Condition, Invalid> {
    compile(&regex::escape(text), true).map(Condition::Text)
}

fn compile(pattern: &str, ignores_case: bool) -> Result<Regex, Invalid> {
    RegexBuilder::new(pattern)
        .case_insensitive(ignores_case)
        .size_limit(MAX_PATTERN_BYTES)
        .build()
        .map_err(|error| invalid(format!("/{pattern}/: {error}")))
}

/// Returns the value at the beginning of `text`, a word or a quoted text, and the rest.
fn value(text: &str) -> Result<(Cow<'_, str>, &str), Invalid> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = split_word(text);
        return Ok((word.into(), rest));
    };
    let end = end_of_quoted(quoted, '"')
        .ok_or_else(|| invalid(format!("{text:?} has no closing quotation mark")))?;
    let (mut unescaped, mut chars) = (String::new(), quoted[..end].chars());
    while let Some(c) = chars.next() {
        unescaped.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    Ok((unescaped.into(), &quoted[end + 1..]))
}

/// Returns the index of the first `mark` that no backslash precedes.
fn end_of_quoted(text: &str, mark: char) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let ends = c == mark && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends.then_some(at)
    })
}

fn split_word(text: &str) -> (&str, &str) {
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

/// Compares a member as numbers if both sides are numbers, levels by their severity, and otherwise
/// as text. A missing member differs from every value.
fn compares(
    members: Option<&MembersByName<'_>>,
    data: &[u8],
    name: &str,
    operator: Operator,
    value: &str,
) -> bool {
    // A log has its further members in `fields`.
    let raw = members
        .and_then(|members| members.get(name).or_else(|| members.get(&format!("fields.{name}"))));
    let text = raw.map(|raw| json::string(raw).unwrap_or(Cow::Borrowed(raw.get())));
    if name == "level"
        && let Some(wanted) = severity(value)
    {
        let line = || std::str::from_utf8(data).ok().filter(|_| members.is_none());
        let level = text.or_else(|| line().and_then(super::level_of).map(Cow::Borrowed));
        let found = level.and_then(|level| severity(&level));
        return found.map_or(operator == Operator::NotEqual, |f| operator.accepts(f.cmp(&wanted)));
    }
    let Some(text) = text else { return operator == Operator::NotEqual };
    let numbers = text.parse::<f64>().ok().zip(value.parse::<f64>().ok());
    let ordering = match numbers {
        Some((found, wanted)) => found.partial_cmp(&wanted),
        None => Some(text.as_ref().cmp(value)),
    };
    ordering.is_some_and(|ordering| operator.accepts(ordering))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PayloadKind;
    use crate::properties::cases;
    use proptest::prelude::*;

    fn is_match(filter: &str, kind: &str, data: &str) -> bool {
        let filter = Filter::parse(filter).unwrap_or_else(|e| panic!("{filter}: {}", e.detail));
        let streams = [StreamName::parse("api.eu").expect("a name")];
        let payload = match serde_json::from_str::<serde_json::Value>(data) {
            Ok(_) => Payload::from_stored(data.to_owned().into(), PayloadKind::Json),
            Err(_) => Payload::text(data),
        };
        let kind = EventType::parse(kind).expect("a type");
        filter.matches(&streams.iter().collect::<Vec<_>>(), &kind, &payload)
    }

    #[test]
    fn all_terms_must_match() {
        const LOG: &str = r#"{"level":"warn","message":"Timed out, two  words","order":9088,"user":{"name":"ann"},"rate":"0.5"}"#;
        for (filter, expected) in [
            ("", true),
            ("timed", true),
            ("TIMED -nothing", true),
            ("timed nothing", false),
            ("-timed", false),
            ("/time(d )?out/", false),
            ("/time(d )?out/i", true),
            (r"/\d{4}/", true),
            (r#""timed out""#, true),
            (r#""two words""#, false),
            ("order=9088", true),
            ("order=9088.0", true),
            ("order>9087 order<9089 order>=9088 order<=9088 order!=1", true),
            ("order>9088", false),
            ("rate<1", true),
            ("user.name=ann", true),
            (r#"user.name="ann""#, true),
            ("user.name=Ann", false),
            ("-user.name=bob", true),
            ("missing=1", false),
            ("missing!=1", true),
            ("missing>1", false),
            ("level>=warn", true),
            ("level=WARNING", true),
            ("level>warn", false),
            ("level<error", true),
            ("type=log stream=api.*", true),
            ("type=metric", false),
            ("-stream=api.us", true),
            ("stream=db", false),
        ] {
            assert_eq!(is_match(filter, "log", LOG), expected, "{filter}");
        }
    }

    #[test]
    fn text_is_searched_and_its_level_is_found() {
        assert!(is_match("level>=error /db/", "message", "ERROR app.db: lost"));
        assert!(!is_match("level>=error", "message", "all is well"));
        assert!(is_match("level=error /^ERROR: a.b$/", "message", "\"ERROR: a\\tb\""));
        assert!(is_match("É", "message", "né"));
        assert!(is_match("order>9", "log", r#"{"message":"m","fields":{"order":10}}"#));
    }

    #[test]
    fn malformed_filters_are_refused_with_a_reason() {
        let long = "x".repeat(MAX_BYTES + 1);
        let many = "x ".repeat(MAX_TERMS + 1);
        for (filter, reason) in [
            ("/open", "no closing /"),
            ("/(/", "unclosed group"),
            ("/a/x", "not the flag i"),
            ("\"open", "no closing quotation mark"),
            ("a=\"open", "no closing quotation mark"),
            ("stream=a**", "stream"),
            (long.as_str(), "1000 bytes"),
            (many.as_str(), "20 terms"),
        ] {
            let error = Filter::parse(filter).expect_err(filter);
            assert!(error.detail.contains(reason) || error.field.contains(reason), "{error:?}");
        }
    }

    proptest! {
        #![proptest_config(cases(500))]

        #[test]
        fn parsing_and_matching_never_panic(filter in ".{0,40}", data in ".{0,40}") {
            if let Ok(filter) = Filter::parse(&filter) {
                let kind = EventType::parse("message").expect("a type");
                filter.matches(&[], &kind, &Payload::text(&data));
            }
        }

        #[test]
        fn quoted_text_is_found_literally(text in "[a-z\"\\\\ ./()*=<>-]{1,20}") {
            let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            prop_assert!(is_match(&quoted, "message", &format!("<{text}>")), "{}", quoted);
        }
    }
}
