//! Events out of the text of a file: whole lines, joined where several belong together.

use crate::event::{Line, LineSplitter, MAX_LINE_BYTES};
use regex::Regex;

/// Lines that are joined at most.
const MAX_JOINED_LINES: usize = 500;

/// Rule for lines that continue the one before.
#[derive(Clone, Debug)]
pub enum JoinRule {
    /// None.
    Nothing,
    /// Lines that are indented, such as those of a stack trace.
    Indented,
    /// Lines that do not match this pattern of a first line.
    Until(Regex),
}

/// A rule that is not valid.
#[derive(Debug, thiserror::Error)]
#[error("{value:?} is not off, indented or a regular expression: {source}")]
pub struct JoinRuleError {
    /// Rule as it is written.
    value: String,
    source: regex::Error,
}

impl JoinRule {
    /// Parses the setting `multiline`.
    pub fn parse(text: &str) -> Result<Self, JoinRuleError> {
        match text {
            "off" => Ok(Self::Nothing),
            "indented" => Ok(Self::Indented),
            regex => Regex::new(regex)
                .map(Self::Until)
                .map_err(|source| JoinRuleError { value: regex.to_owned(), source }),
        }
    }

    fn goes_on(&self, line: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Indented => line.starts_with([' ', '\t']),
            Self::Until(first) => !first.is_match(line),
        }
    }
}

/// The text of one event.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct LineJoiner {
    pub(super) text: String,
    /// Bytes of the file up to its end, from where the reading began.
    pub(super) until: usize,
    /// Lines of it in which something was no UTF-8, and was replaced.
    pub(super) replaced: u64,
    lines: usize,
}

/// The events of `bytes`, as far as they are whole. `is_quiet` says that nothing has come for a while,
/// so that a last line is the last of its event; `is_last` that nothing will come any more, so that
/// also one without an end is a line.
pub(super) fn texts(
    bytes: &[u8],
    joins: &JoinRule,
    is_quiet: bool,
    is_last: bool,
) -> Vec<LineJoiner> {
    let mut texts: Vec<LineJoiner> = Vec::new();
    let (mut splitter, mut at) = (LineSplitter::default(), 0);
    let mut take = |line: Line<'_>| {
        at += line.bytes;
        let (replaced, until) = (u64::from(line.is_replaced()), at);
        let room = |text: &&mut LineJoiner| {
            text.lines < MAX_JOINED_LINES && text.text.len() + line.text.len() < MAX_LINE_BYTES
        };
        match texts.last_mut().filter(|_| joins.goes_on(&line.text)).filter(room) {
            Some(text) => {
                text.text.push('\n');
                text.text.push_str(&line.text);
                text.until = until;
                text.replaced += replaced;
                text.lines += 1;
            }
            None => {
                texts.push(LineJoiner { text: line.text.into_owned(), until, replaced, lines: 1 });
            }
        }
    };
    splitter.feed(bytes, &mut take);
    if is_last {
        splitter.finish(&mut take);
    }
    // More lines of the last one may come.
    if !is_quiet && !matches!(joins, JoinRule::Nothing) {
        texts.pop();
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(
        bytes: &str,
        joins: &JoinRule,
        is_quiet: bool,
        is_last: bool,
    ) -> (Vec<String>, usize) {
        let texts = texts(bytes.as_bytes(), joins, is_quiet, is_last);
        let until = texts.last().map_or(0, |text| text.until);
        (texts.into_iter().map(|text| text.text).collect(), until)
    }

    #[test]
    fn lines_are_events_and_what_has_no_end_waits_for_it() {
        let (texts, until) = joined("one\ntwo\r\nthr", &JoinRule::Nothing, true, false);
        assert_eq!((texts, until), (vec!["one".to_owned(), "two".to_owned()], 9));
        let (texts, until) = joined("one\ntwo", &JoinRule::Nothing, true, true);
        assert_eq!((texts.len(), until), (2, 7));
    }

    #[test]
    fn what_belongs_together_is_joined_once_it_is_known_to_be_whole() {
        let trace = "ERROR: a\n  at b\n\tat c\nINFO: d\n  e\n";
        let whole = vec!["ERROR: a\n  at b\n\tat c".to_owned(), "INFO: d\n  e".to_owned()];
        assert_eq!(joined(trace, &JoinRule::Indented, true, false), (whole.clone(), trace.len()));
        let (texts, until) = joined(trace, &JoinRule::Indented, false, false);
        assert_eq!((&texts[..], &trace[until..]), (&whole[..1], "INFO: d\n  e\n"));
        let stamped = "2026-01-01 a\nb\nc\n2026-01-02 d\n";
        let first = JoinRule::parse(r"^\d{4}-").expect("a regex");
        let (texts, _) = joined(stamped, &first, true, false);
        assert_eq!(texts, ["2026-01-01 a\nb\nc", "2026-01-02 d"]);
        let endless = "x\n".to_owned() + &" y\n".repeat(2 * MAX_JOINED_LINES);
        let (texts, until) = joined(&endless, &JoinRule::Indented, true, false);
        assert_eq!((texts.len(), until), (3, endless.len()));
    }

    #[test]
    fn what_is_no_text_is_counted() {
        let replaced: Vec<u64> = texts(b"a\xff\n  \xfe\nb\n", &JoinRule::Indented, true, false)
            .iter()
            .map(|text| text.replaced)
            .collect();
        assert_eq!(replaced, [2, 0]);
    }
}
