//! Splitting of incoming bytes into lines: of a file, of a command's output.

use std::borrow::Cow;

/// Default maximum length of a line, in bytes.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// Splits bytes into lines; keeps those whose line has not ended yet. A line that is too long
/// becomes several.
pub struct LineSplitter {
    partial: Vec<u8>,
    max_bytes: usize,
}

impl Default for LineSplitter {
    fn default() -> Self {
        Self::new(MAX_LINE_BYTES)
    }
}

/// A line, without its end.
#[derive(PartialEq, Eq, Debug)]
pub struct Line<'a> {
    /// Text of the line; bytes that are not UTF-8 are replaced (U+FFFD).
    pub text: Cow<'a, str>,
    /// Number of input bytes, including the line end.
    pub bytes: usize,
}

impl Line<'_> {
    /// Returns true if bytes were replaced.
    pub fn is_replaced(&self) -> bool {
        matches!(self.text, Cow::Owned(_))
    }
}

impl LineSplitter {
    /// Creates a splitter for lines of at most `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self { partial: Vec::new(), max_bytes }
    }

    /// Adds input; calls `line` with every complete line.
    pub fn feed(&mut self, mut input: &[u8], line: &mut dyn FnMut(Line<'_>)) {
        while let Some(end) = memchr::memchr(b'\n', input) {
            let (complete, rest) = input.split_at(end + 1);
            if self.partial.is_empty() && complete.len() <= self.max_bytes {
                emit(complete, line)
            } else {
                self.begin(complete, line);
                self.finish(line);
            }
            input = rest;
        }
        self.begin(input, line);
    }

    /// Emits the rest of a line that has no end.
    pub fn finish(&mut self, line: &mut dyn FnMut(Line<'_>)) {
        if !self.partial.is_empty() {
            emit(&self.partial, line);
            self.partial.clear();
        }
    }

    /// Returns the number of bytes whose line has not ended.
    pub fn pending_bytes(&self) -> usize {
        self.partial.len()
    }

    fn begin(&mut self, mut part: &[u8], line: &mut dyn FnMut(Line<'_>)) {
        while self.partial.len() + part.len() > self.max_bytes {
            let capacity = self.max_bytes - self.partial.len();
            self.partial.extend_from_slice(&part[..capacity]);
            part = &part[capacity..];
            // Never splits a character.
            let complete = complete_characters_len(&self.partial);
            emit(&self.partial[..complete], line);
            self.partial.drain(..complete);
        }
        self.partial.extend_from_slice(part);
    }
}

/// Returns the length of `bytes` without an incomplete character at their end.
fn complete_characters_len(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => bytes.len(),
    }
}

fn emit(bytes: &[u8], line: &mut dyn FnMut(Line<'_>)) {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    line(Line { text: String::from_utf8_lossy(text), bytes: bytes.len() });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], step: usize) -> (Vec<String>, usize) {
        let (mut splitter, mut lines, mut bytes) = (LineSplitter::default(), Vec::new(), 0);
        let mut take = |line: Line<'_>| {
            lines.push(line.text.into_owned());
            bytes += line.bytes;
        };
        for part in input.chunks(step) {
            splitter.feed(part, &mut take);
        }
        splitter.finish(&mut take);
        (lines, bytes)
    }

    #[test]
    fn lines_do_not_depend_on_the_parts_of_the_input() {
        let input = "one\r\n\ntwo \u{e9}\u{1f600}\nno end".as_bytes();
        for step in 1..=input.len() {
            let (lines, bytes) = lines(input, step);
            assert_eq!(lines, ["one", "", "two \u{e9}\u{1f600}", "no end"], "{step}");
            assert_eq!(bytes, input.len());
        }
    }

    #[test]
    fn invalid_utf8_is_replaced_and_a_long_line_becomes_several() {
        let mut splitter = LineSplitter::default();
        let mut replaced = Vec::new();
        splitter.feed(b"a\xff\nb\n", &mut |line| {
            replaced.push((line.is_replaced(), line.text.into_owned()))
        });
        assert_eq!(replaced, [(true, "a\u{fffd}".to_owned()), (false, "b".to_owned())]);
        let long = "\u{e9}".repeat(MAX_LINE_BYTES) + "\nnext\n";
        for step in [1_000, long.len()] {
            let (lines, bytes) = lines(long.as_bytes(), step);
            assert_eq!(lines.concat(), "\u{e9}".repeat(MAX_LINE_BYTES) + "next", "{step}");
            assert!(lines.iter().all(|line| line.len() <= MAX_LINE_BYTES));
            assert_eq!(bytes, long.len());
        }
    }
}
