//! Detection of the level of an unparsed log line.

use super::shape::LEVELS;

/// Number of words at the beginning of a line that are examined: a time, a host or a program may
/// precede the level.
const MAX_WORDS: usize = 8;

/// Other words for levels, as programs write them.
const ALIASES: [(&str, &str); 8] = [
    ("notice", "info"),
    ("err", "error"),
    ("severe", "error"),
    ("crit", "critical"),
    ("alert", "critical"),
    ("emerg", "critical"),
    ("panic", "critical"),
    ("dbg", "debug"),
];

/// Returns the level that a line names in its first words: a word in capitals, in brackets or
/// before a colon, or `level=…`.
pub(crate) fn level_of(line: &str) -> Option<&'static str> {
    line.split_ascii_whitespace().take(MAX_WORDS).find_map(|word| {
        if let Some((name, value)) = word.split_once('=') {
            let is_level =
                ["level", "lvl", "severity"].contains(&name.to_ascii_lowercase().as_str());
            return is_level.then(|| named(value.trim_matches('"'))).flatten();
        }
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphabetic());
        let is_marked =
            bare.len() < word.len() && (word.starts_with(['[', '<', '(']) || word.ends_with(':'));
        let is_uppercase = bare.bytes().all(|byte| byte.is_ascii_uppercase());
        (is_marked || is_uppercase).then(|| named(bare)).flatten()
    })
}

/// Returns the rank of a level, by any of its names; a higher rank is more severe.
#[cfg(feature = "search")]
pub(super) fn severity(word: &str) -> Option<usize> {
    let level = named(word)?;
    LEVELS.iter().position(|(name, _)| *name == level)
}

/// Returns the level of a name or of another word for it.
fn named(word: &str) -> Option<&'static str> {
    let is_same_word = |known: &&str| known.eq_ignore_ascii_case(word);
    let level = LEVELS
        .iter()
        .find(|(level, others)| is_same_word(level) || others.iter().any(is_same_word));
    let synonym_level =
        || ALIASES.iter().find(|(word, _)| is_same_word(word)).map(|(_, level)| *level);
    level.map(|(level, _)| *level).or_else(synonym_level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_is_found_in_common_log_formats() {
        for (line, level) in [
            ("2026-11-25 03:00:01,123 ERROR app.db: lost", Some("error")),
            ("WARNING: disk nearly full", Some("warn")),
            ("[info] listening", Some("info")),
            ("2026/11/25 03:00:01 [crit] 7#7: open() failed", Some("critical")),
            ("time=\"2026\" level=debug msg=\"x\"", Some("debug")),
            ("ts=1 severity=\"Fatal\" x", Some("critical")),
            ("error: could not compile", Some("error")),
            ("<err> kernel", Some("error")),
            ("there was no error at all", None),
            ("information about INFORMATION", None),
            ("level=loud", None),
            ("1 2 3 4 5 6 7 8 ERROR", None),
            ("", None),
        ] {
            assert_eq!(level_of(line), level, "{line}");
        }
    }
}
