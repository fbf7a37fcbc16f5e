//! Minimal parser of event streams: it extracts the mark of each event and the last id.
//!
//! Lines end in LF or CRLF and may be split anywhere between reads. A line that arrives whole is
//! parsed in place.

use super::mark::Mark;

/// Maximum bytes of an incomplete line; further parts are dropped.
const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;

/// Scanner of one subscriber's stream.
#[derive(Default)]
pub struct Scanner {
    partial_line: Vec<u8>,
    mark: Option<Mark>,
    id: Vec<u8>,
    id_seen: bool,
    keep_ids: bool,
    last_id: Vec<u8>,
}

impl Scanner {
    /// Creates a scanner. `keep_ids` is for a subscriber that resumes with its last id.
    pub fn new(keep_ids: bool) -> Self {
        Self { keep_ids, ..Self::default() }
    }

    /// Returns the id of the last complete event.
    pub fn last_id(&self) -> &[u8] {
        &self.last_id
    }

    /// Begins a new connection: drops an incomplete event and keeps the last id.
    pub fn restart(&mut self) {
        self.partial_line.clear();
        self.mark = None;
        self.id_seen = false;
    }

    /// Parses more input and calls `event` with the mark of each complete event that has one.
    pub fn feed(&mut self, mut input: &[u8], event: &mut impl FnMut(Mark)) {
        if !self.partial_line.is_empty() {
            let Some(end) = memchr::memchr(b'\n', input) else {
                self.keep(input);
                return;
            };
            let mut line = std::mem::take(&mut self.partial_line);
            line.extend_from_slice(&input[..end]);
            self.line(&line, event);
            line.clear();
            self.partial_line = line;
            input = &input[end + 1..];
        }
        while let Some(end) = memchr::memchr(b'\n', input) {
            self.line(&input[..end], event);
            input = &input[end + 1..];
        }
        self.keep(input);
    }

    fn keep(&mut self, part: &[u8]) {
        if self.partial_line.len() + part.len() <= MAX_LINE_BYTES {
            self.partial_line.extend_from_slice(part);
        }
    }

    fn line(&mut self, line: &[u8], event: &mut impl FnMut(Mark)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            if self.id_seen {
                std::mem::swap(&mut self.id, &mut self.last_id);
                self.id_seen = false;
            }
            if let Some(mark) = self.mark.take() {
                event(mark);
            }
        } else if let Some(data) = line.strip_prefix(b"data:") {
            self.mark = self.mark.or_else(|| Mark::find(data));
        } else if self.keep_ids
            && let Some(id) = line.strip_prefix(b"id:")
        {
            self.id.clear();
            self.id.extend_from_slice(id.strip_prefix(b" ").unwrap_or(id));
            self.id_seen = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::cases;
    use proptest::prelude::*;

    #[test]
    fn events_parse_alike_for_all_splits() {
        let mut text = b": hello\nevent: hub-open\nid: 0\ndata: {}\n\n".to_vec();
        for sequence in 0..3 {
            text.extend_from_slice(format!("id: e-{sequence}\r\ndata: ").as_bytes());
            let mark = Mark { stream: 1, publisher: 2, sequence, sent_ns: 3 };
            mark.write(100, &mut text);
            text.extend_from_slice(if sequence == 1 { b"\ndata: more\n\n" } else { b"\r\n\r\n" });
        }
        text.extend_from_slice(b"id: e-9\ndata: \"~not complete");
        for step in 1..text.len() {
            let mut scanner = Scanner::new(true);
            let mut seen = Vec::new();
            for part in text.chunks(step) {
                scanner.feed(part, &mut |mark: Mark| seen.push(mark.sequence));
            }
            assert_eq!(seen, [0, 1, 2], "cut every {step} bytes");
            assert_eq!(scanner.last_id(), b"e-2");
        }
    }

    fn scanned<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u32>, Vec<u8>) {
        let (mut scanner, mut seen) = (Scanner::new(true), Vec::new());
        for piece in pieces {
            scanner.feed(piece, &mut |mark: Mark| seen.push(mark.sequence));
        }
        (seen, scanner.last_id().to_vec())
    }

    /// Generates a block of an event stream: its lines, its mark and its id.
    fn block() -> impl Strategy<Value = (Vec<String>, Option<u32>, Option<String>)> {
        let mark = proptest::option::of(any::<u32>());
        let id = proptest::option::of("[a-f0-9-]{0,9}");
        let other_lines =
            proptest::collection::vec("(:.{0,5}|event: x|idx: 1|databases:~|retry:5)", 0..3);
        (mark, id, other_lines, any::<u64>()).prop_map(|(sequence, id, other_lines, order)| {
            let mut lines = other_lines;
            lines.extend(id.iter().map(|id| format!("id: {id}")));
            lines.extend(sequence.map(|sequence| {
                let mut text = b"data:".to_vec();
                Mark { stream: 1, publisher: 2, sequence, sent_ns: 3 }.write(0, &mut text);
                String::from_utf8(text).expect("ASCII")
            }));
            let count = lines.len().max(1);
            lines.rotate_left(order as usize % count);
            // A second line of data does not begin a second event.
            lines.extend(sequence.map(|_| "data: more".to_owned()));
            (lines, sequence, id)
        })
    }

    proptest! {
        #![proptest_config(cases(1_000))]

        #[test]
        fn any_stream_yields_its_marks_and_last_id_for_all_splits(
            blocks in proptest::collection::vec(block(), 0..5),
            ends in proptest::collection::vec(any::<bool>(), 1..9),
            step in 1..50usize,
        ) {
            let mut ends = ends.iter().cycle().map(|crlf| if *crlf { "\r\n" } else { "\n" });
            let mut text = String::new();
            for line in blocks.iter().flat_map(|(lines, ..)| {
                lines.iter().map(String::as_str).chain([""])
            }) {
                text.push_str(line);
                text.extend(ends.next());
            }
            text.push_str("id: z\ndata: incomplete");
            let marks: Vec<u32> = blocks.iter().filter_map(|(_, mark, _)| *mark).collect();
            let id = blocks.iter().filter_map(|(.., id)| id.clone()).next_back().unwrap_or_default();
            let expected = (marks, id.into_bytes());
            prop_assert_eq!(scanned(text.as_bytes().chunks(step)), expected);
        }

        #[test]
        fn arbitrary_text_parses_alike_for_all_splits(
            text in "(data:|id: ?|\"~|00000001-0001-00000001-0000000000000001~|\r|\n|\n\n|é|:){0,30}",
            step in 1..20usize,
        ) {
            let expected = scanned(std::iter::once(text.as_bytes()));
            prop_assert_eq!(scanned(text.as_bytes().chunks(step)), expected);
        }
    }
}
