//! Decoder of an upstream's Server-Sent Events (WHATWG HTML §9.2.6), with extensions for upstreams
//! that deviate from it.
//!
//! Lines end in LF, CR or CRLF, across chunks; a byte order mark is ignored; the last event needs
//! no blank line; `error:` (llama.cpp) is a field. Each byte is examined once.

/// Bytes of one event at most.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A decoded event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SseFrame {
    /// Data of the event; never empty.
    Data(Vec<u8>),
    /// Value of its field `error`.
    Error(Vec<u8>),
    /// A comment: a sign of life.
    Comment,
}

/// An event is larger than it may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge;

/// Cuts bytes into events.
#[derive(Debug, Default)]
pub struct SseDecoder {
    line: Vec<u8>,
    data: Vec<u8>,
    error: Vec<u8>,
    /// True if the last byte was a CR, which a LF may follow.
    after_cr: bool,
    /// True once the first line is complete.
    is_begun: bool,
}

impl SseDecoder {
    /// Takes more bytes; the events that are whole go to `out`. After an error it takes no more.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<SseFrame>) -> Result<(), TooLarge> {
        let mut rest = bytes;
        if std::mem::take(&mut self.after_cr) && rest.first() == Some(&b'\n') {
            rest = &rest[1..];
        }
        while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
            self.grow(&rest[..at])?;
            let is_cr = rest[at] == b'\r';
            rest = &rest[at + 1..];
            if is_cr {
                match rest.first() {
                    Some(b'\n') => rest = &rest[1..],
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            self.line_is_whole(out);
        }
        self.grow(rest)
    }

    /// Ends the input: an event that was begun is complete.
    pub fn end(&mut self, out: &mut Vec<SseFrame>) {
        self.line_is_whole(out);
        self.dispatch(out);
    }

    fn grow(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        if self.line.len() + self.data.len() + self.error.len() + bytes.len() > MAX_EVENT_BYTES {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn line_is_whole(&mut self, out: &mut Vec<SseFrame>) {
        let line = std::mem::take(&mut self.line);
        let mut text = line.as_slice();
        if !std::mem::replace(&mut self.is_begun, true) {
            text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        }
        if text.is_empty() {
            self.dispatch(out);
        } else if let Some(value) = field(text, b"data") {
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
        } else if let Some(value) = field(text, b"error") {
            self.error.extend_from_slice(value);
        } else if text.starts_with(b":") && out.last() != Some(&SseFrame::Comment) {
            out.push(SseFrame::Comment);
        }
        // Its memory serves the next line.
        self.line = line;
        self.line.clear();
    }

    fn dispatch(&mut self, out: &mut Vec<SseFrame>) {
        let (data, error) = (std::mem::take(&mut self.data), std::mem::take(&mut self.error));
        if !error.is_empty() {
            out.push(SseFrame::Error(error));
        }
        if !data.trim_ascii().is_empty() {
            out.push(SseFrame::Data(data));
        }
    }
}

/// Returns the value after `name:` and one space; empty if the name stands alone.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name)?;
    if rest.is_empty() {
        return Some(rest);
    }
    let value = rest.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<SseFrame> {
        let (mut frames, mut out) = (SseDecoder::default(), Vec::new());
        for piece in pieces {
            frames.take(piece, &mut out).expect("small");
        }
        frames.end(&mut out);
        out.retain(|frame| *frame != SseFrame::Comment);
        out
    }

    fn data(texts: &[&str]) -> Vec<SseFrame> {
        texts.iter().map(|text| SseFrame::Data(text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn events_are_the_same_wherever_the_bytes_are_cut() {
        let text = "\u{feff}: hello\r\n\r\ndata: a\r\ndata:b\r\rdata: \u{e9}\u{1f600}\n\nevent: x\nid: 1\ndata: c\n\n\
                    data:\n\ndata: d";
        let all = data(&["a\nb", "\u{e9}\u{1f600}", "c", "d"]);
        for at in 0..=text.len() {
            let (one, other) = text.as_bytes().split_at(at);
            assert_eq!(cut(&[one, other]), all, "{at}");
        }
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(cut(&bytes), all);
    }

    #[test]
    fn a_field_of_errors_is_told_apart() {
        assert_eq!(
            cut(&[b"error: {\"code\":500}\n\n"]),
            [SseFrame::Error(b"{\"code\":500}".to_vec())]
        );
        assert_eq!(cut(&[b"errors: x\n\nnothing\n\n"]), []);
    }

    #[test]
    fn comments_are_told_of_and_never_many_in_a_row() {
        let (mut frames, mut out) = (SseDecoder::default(), Vec::new());
        frames.take(b": a\n: b\n\n:\n\ndata: x\n\n: c", &mut out).expect("small");
        assert_eq!(out, [SseFrame::Comment, SseFrame::Data(b"x".to_vec())]);
        frames.take(b"\n", &mut out).expect("small");
        assert_eq!(out.last(), Some(&SseFrame::Comment));
    }

    #[test]
    fn an_event_has_a_bound_whether_it_has_lines_or_not() {
        let (mut frames, mut out) = (SseDecoder::default(), Vec::new());
        let piece = [b'x'; 64 * 1024];
        let mut taken = 0;
        while frames.take(&piece, &mut out).is_ok() {
            taken += piece.len();
        }
        assert_eq!(taken, MAX_EVENT_BYTES);
        let (mut frames, mut line) = (SseDecoder::default(), b"data: ".to_vec());
        line.extend_from_slice(&piece);
        line.push(b'\n');
        let refused =
            (0..=MAX_EVENT_BYTES / piece.len()).any(|_| frames.take(&line, &mut out).is_err());
        assert!(refused && out.is_empty());
    }
}
