//! Splits the text of a file into events: complete lines, joined if several belong together.

use crate::event::{Line, LineSplitter, MAX_LINE_BYTES};
use regex::Regex;

/// Maximum number of joined lines.
const MAX_JOINED_LINES: usize = 500;

/// Rule for lines that continue the one before.
#[derive(Clone, Debug)]
pub enum JoinRule {
    /// No lines are joined.
    Nothing,
    /// Lines that are indented, such as those of a stack trace.
    Indented,
    /// Lines that do not match this pattern of a first line.
    Until(Regex),
}

/// Error in the setting `multiline`.
#[derive(Debug, thiserror::Error)]
#[error("{value:?} is not off, indented or a regular expression: {source}")]
pub struct JoinRuleError {
    /// Rule as configured.
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

    fn is_continuation(&self, line: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Indented => line.starts_with([' ', '\t']),
            Self::Until(first) => !first.is_match(line),
        }
    }
}

/// The text of one event.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct JoinedLines {
    pub(super) text: String,
    /// Number of bytes from the start of the read to the end of the event.
    pub(super) until: usize,
    /// Number of lines in which invalid UTF-8 was replaced.
    pub(super) replaced: u64,
    lines: usize,
}

/// Returns the complete events in `bytes`. `is_quiet` means that nothing has arrived for a while,
/// so that the last line completes its event. `is_last` means that nothing more will arrive, so
/// that a last line without a line end is complete, too.
pub(super) fn split_events(
    bytes: &[u8],
    joins: &JoinRule,
    is_quiet: bool,
    is_last: bool,
) -> Vec<JoinedLines> {
    let mut texts: Vec<JoinedLines> = Vec::new();
    let (mut splitter, mut at) = (LineSplitter::default(), 0);
    let mut take = |line: Line<'_>| {
        at += line.bytes;
        let (replaced, until) = (u64::from(line.is_replaced()), at);
        let room = |text: &&mut JoinedLines| {
            text.lines < MAX_JOINED_LINES && text.text.len() + line.text.len() < MAX_LINE_BYTES
        };
        match texts.last_mut().filter(|_| joins.is_continuation(&line.text)).filter(room) {
            Some(text) => {
                text.text.push('\n');
                text.text.push_str(&line.text);
                text.until = until;
                text.replaced += replaced;
                text.lines += 1;
            }
            None => {
                texts.push(JoinedLines { text: line.text.into_owned(), until, replaced, lines: 1 });
            }
        }
    };
    splitter.feed(bytes, &mut take);
    if is_last {
        splitter.finish(&mut take);
    }
    // The last event may have more lines.
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
        let texts = split_events(bytes.as_bytes(), joins, is_quiet, is_last);
        let until = texts.last().map_or(0, |text| text.until);
        (texts.into_iter().map(|text| text.text).collect(), until)
    }

    #[test]
    fn complete_lines_are_events_and_an_incomplete_line_waits() {
        let (texts, until) = joined("one\ntwo\r\nthr", &JoinRule::Nothing, true, false);
        assert_eq!((texts, until), (vec!["one".to_owned(), "two".to_owned()], 9));
        let (texts, until) = joined("one\ntwo", &JoinRule::Nothing, true, true);
        assert_eq!((texts.len(), until), (2, 7));
    }

    #[test]
    fn continuation_lines_are_joined_once_the_event_is_complete() {
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
    fn lines_with_invalid_utf8_are_counted() {
        let replaced: Vec<u64> =
            split_events(b"a\xff\n  \xfe\nb\n", &JoinRule::Indented, true, false)
                .iter()
                .map(|text| text.replaced)
                .collect();
        assert_eq!(replaced, [2, 0]);
    }
}
