//! URI templates (RFC 6570) as matchers: a text matches if it is an expansion of the template.

use regex::{Regex, RegexBuilder};
use std::fmt::Write as _;

/// Maximum size of a compiled template, in bytes. Matching takes time linear in the topic.
const MAX_COMPILED_BYTES: usize = 1 << 17;
/// Maximum number of variables of an expression whose variables have names in the URI.
const MAX_NAMED_VARIABLES: usize = 32;
/// A character of a value that is not reserved (RFC 6570 §1.5).
const UNRESERVED: &str = r"[A-Za-z0-9\-._~]|%[0-9A-Fa-f]{2}";
/// A character of a value of an expression that keeps reserved characters.
const RESERVED: &str = r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2}";

/// A URI template with at least one expression.
pub(super) struct Template {
    prefix: String,
    regex: Regex,
}

/// Reason for which a template is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("an expression has more than {MAX_NAMED_VARIABLES} variables")]
    Variables,
    #[error(transparent)]
    Size(#[from] regex::Error),
}

/// Kind of an expression (RFC 6570 §2.2 and appendix A).
struct Operator {
    first: &'static str,
    separator: &'static str,
    value: &'static str,
    is_named: bool,
    /// Pattern between the name and its value.
    assignment: &'static str,
}

/// A variable of an expression.
struct Variable<'a> {
    name: &'a str,
    /// Maximum number of characters of the value.
    max_length: Option<u16>,
    is_exploded: bool,
}

impl Template {
    /// Parses a template; `None` if the text is none, or has no expression.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, TemplateError> {
        let Some(prefix) = text.find('{').map(|at| &text[..at]) else { return Ok(None) };
        let mut pattern = String::from(r"\A");
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (literal, expression) = rest.split_at(open);
            let Some(end) = expression.find('}').filter(|end| *end > 0) else { return Ok(None) };
            push_literal(&mut pattern, literal);
            let Some(parsed) = parse_expression(&expression[1..end]) else { return Ok(None) };
            push_expression(&mut pattern, &parsed.0, &parsed.1)?;
            rest = &expression[end + 1..];
        }
        push_literal(&mut pattern, rest);
        pattern.push_str(r"\z");
        let mut builder = RegexBuilder::new(&pattern);
        let regex =
            builder.size_limit(MAX_COMPILED_BYTES).dfa_size_limit(MAX_COMPILED_BYTES).build()?;
        // Other characters than those of a URI may be escaped in a topic.
        let plain = prefix.find(|c: char| !c.is_ascii_graphic()).unwrap_or(prefix.len());
        Ok(Some(Self { prefix: prefix[..plain].to_owned(), regex }))
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn matches(&self, topic: &str) -> bool {
        self.regex.is_match(topic)
    }
}

/// Appends a literal. Characters that no URI has may be percent-encoded, as an expansion has them.
fn push_literal(pattern: &mut String, literal: &str) {
    for c in literal.chars() {
        let escaped = regex::escape(c.encode_utf8(&mut [0; 4]));
        if c.is_ascii_graphic() {
            pattern.push_str(&escaped);
        } else {
            let mut buffer = [0; 4];
            let bytes = c.encode_utf8(&mut buffer).bytes();
            let encoded: String = bytes.map(|byte| format!("%{byte:02x}")).collect();
            let _ = write!(pattern, "(?:{escaped}|(?i:{encoded}))");
        }
    }
}

fn parse_expression(text: &str) -> Option<(Operator, Vec<Variable<'_>>)> {
    let operator = |first, separator, value, is_named, assignment| Operator {
        first,
        separator,
        value,
        is_named,
        assignment,
    };
    let (operator, rest) = match text.chars().next()? {
        '+' => (operator("", ",", RESERVED, false, ""), &text[1..]),
        '#' => (operator("#", ",", RESERVED, false, ""), &text[1..]),
        '.' => (operator(r"\.", r"\.", UNRESERVED, false, ""), &text[1..]),
        '/' => (operator("/", "/", UNRESERVED, false, ""), &text[1..]),
        ';' => (operator(";", ";", UNRESERVED, true, "=?"), &text[1..]),
        '?' => (operator(r"\?", "&", UNRESERVED, true, "="), &text[1..]),
        '&' => (operator("&", "&", UNRESERVED, true, "="), &text[1..]),
        _ => (operator("", ",", UNRESERVED, false, ""), text),
    };
    let variables: Option<Vec<_>> = rest.split(',').map(parse_variable).collect();
    Some((operator, variables?))
}

fn parse_variable(text: &str) -> Option<Variable<'_>> {
    let (name, max_length, is_exploded) = match (text.strip_suffix('*'), text.split_once(':')) {
        (Some(name), _) => (name, None, true),
        (None, Some((name, length))) => {
            let is_length = (1..=4).contains(&length.len()) && !length.starts_with('0');
            (name, Some(length.parse().ok().filter(|_| is_length)?), false)
        }
        (None, None) => (text, None, false),
    };
    let is_name = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'%');
    let is_valid = !name.is_empty() && name.bytes().all(is_name);
    is_valid.then_some(Variable { name, max_length, is_exploded })
}

/// Appends a pattern of the expansions of an expression. Each variable may be undefined, a text or a list; an
/// exploded one may have names and values.
fn push_expression(
    pattern: &mut String,
    operator: &Operator,
    variables: &[Variable<'_>],
) -> Result<(), TemplateError> {
    let Operator { first, separator, value, .. } = operator;
    let any_value = format!("(?:{value}|,)*");
    if !operator.is_named {
        let has_pairs = variables.iter().any(|variable| variable.is_exploded);
        let pairs = if has_pairs { "|=" } else { "" };
        let value = match variables {
            [Variable { max_length: Some(length), .. }] => format!("(?:{value}){{0,{length}}}"),
            _ => format!("(?:{value}|,{pairs})*"),
        };
        let further =
            if has_pairs { "*".to_owned() } else { format!("{{0,{}}}", variables.len() - 1) };
        let _ = write!(pattern, "(?:{first}{value}(?:{separator}{value}){further})?");
        return Ok(());
    }
    if variables.len() > MAX_NAMED_VARIABLES {
        return Err(TemplateError::Variables);
    }
    let one = |variable: &Variable<'_>| {
        let name = regex::escape(variable.name);
        let value = match variable.max_length {
            Some(length) => format!("(?:{value}){{0,{length}}}"),
            None => any_value.clone(),
        };
        let assignment = operator.assignment;
        if variable.is_exploded {
            format!("(?:{value}{assignment}{value}(?:{separator}{value}{assignment}{value})*)")
        } else {
            format!("{name}{assignment}{value}")
        }
    };
    let parts: Vec<_> = variables.iter().map(one).collect();
    // The variables that are defined are in their order; any of them may be the first.
    let from = |start: usize| {
        let later = parts[start + 1..].iter().map(|part| format!("(?:{separator}{part})?"));
        format!("{}{}", parts[start], later.collect::<String>())
    };
    let all: Vec<_> = (0..parts.len()).map(from).collect();
    let _ = write!(pattern, "(?:{first}(?:{}))?", all.join("|"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(template: &str, topic: &str) -> bool {
        let template = Template::parse(template).expect("small enough").expect("a template");
        template.matches(topic)
    }

    #[test]
    fn a_value_has_the_characters_of_its_operator() {
        for (template, topic, expected) in [
            ("https://a/{id}", "https://a/1", true),
            ("https://a/{id}", "https://a/", true),
            ("https://a/{id}", "https://a/1,2", true),
            ("https://a/{id}", "https://a/%C3%A9", true),
            ("https://a/{id}", "https://a/é", false),
            ("https://a/{id}", "https://a/b c", false),
            ("https://a/{id}", "https://a/b/c", false),
            ("https://a/{id}", "https://a/1\n", false),
            ("https://a/{+id}", "https://a/b/c?d#e", true),
            ("https://a/{+id}", "https://a/b c", false),
            ("{#x}", "#a/b", true),
            ("a{.x}", "a.b", true),
            ("a{/x,y}", "a/b/c", true),
            ("a{/x,y}", "a/b/c/d", false),
            ("a{/x*}", "a/b/c/d", true),
            ("a{?x}", "a?x=1", true),
            ("a{?x}", "a", true),
            ("a{?x}", "a?y=1", false),
            ("a{?x,y}", "a?y=1", true),
            ("a{?x,y}", "a?x=1&y=2", true),
            ("a{?x,y}", "a?y=2&x=1", false),
            ("a{?x*}", "a?b=1&c=2", true),
            ("a?b=1{&x}", "a?b=1&x=2", true),
            ("a{;x}", "a;x", true),
            ("a{;x}", "a;x=1", true),
            ("{x:3}", "abc", true),
            ("{x:3}", "abcd", false),
            ("é{x}", "%c3%a9y", true),
            ("é{x}", "éy", true),
        ] {
            assert_eq!(matches(template, topic), expected, "{template} {topic}");
        }
    }

    #[test]
    fn other_texts_are_no_templates() {
        for text in [
            "",
            "a",
            "{",
            "}",
            "a}b{",
            "{}",
            "{a",
            "{a b}",
            "{a:0}",
            "{a:12345}",
            "{{a}}",
            "{=a}",
            "{a,}",
        ] {
            assert!(Template::parse(text).expect("small enough").is_none(), "{text}");
        }
    }

    #[test]
    fn a_template_that_would_need_much_memory_is_refused() {
        let names: Vec<_> = (0..33).map(|n| format!("v{n}")).collect();
        assert!(Template::parse(&format!("{{?{}}}", names.join(","))).is_err());
        assert!(Template::parse("{a:9999}{b:9999}{c:9999}").is_err());
    }

    #[test]
    fn a_text_that_matches_begins_with_the_prefix() {
        for (template, prefix) in [("https://a/{x}", "https://a/"), ("{x}", ""), ("aé{x}", "a")] {
            let parsed = Template::parse(template).expect("small enough").expect("a template");
            assert_eq!(parsed.prefix(), prefix);
        }
    }
}
