//! Decoder of Server-Sent Events (WHATWG HTML §9.2.6), with extensions for servers that deviate.
//!
//! Lines end in LF, CR or CRLF, across chunks; a byte order mark is ignored; `error:` (llama.cpp)
//! is a field. Each byte is examined once, and the size of an event has a bound.

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Output of a decoder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SseFrame {
    /// An event.
    Event(SseEvent),
    /// Value of the field `error`.
    Error(Vec<u8>),
    /// A comment, which shows that the server is alive. Consecutive ones may be merged.
    Comment,
}

/// An event.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct SseEvent {
    /// Value of the field `event`; empty for the default type, `message`.
    pub kind: String,
    /// Data, its lines joined by LF.
    pub data: Vec<u8>,
    /// Last event id of the stream after this event.
    pub id: String,
}

/// An event exceeds the maximum size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an event has more than {0} bytes")]
pub struct TooLarge(pub usize);

/// Splits the bytes of a stream into events.
#[derive(Debug)]
pub struct SseDecoder {
    max_event_bytes: usize,
    line: Vec<u8>,
    event: SseEvent,
    has_data: bool,
    error: Vec<u8>,
    /// True if the last byte was a CR, which an LF may follow.
    after_cr: bool,
    /// True once the first line is complete.
    is_begun: bool,
    last_id: String,
    retry_ms: Option<u64>,
}

impl SseDecoder {
    /// Creates a decoder of events of at most `max_event_bytes`.
    pub fn new(max_event_bytes: usize) -> Self {
        Self {
            max_event_bytes,
            line: Vec::new(),
            event: SseEvent::default(),
            has_data: false,
            error: Vec::new(),
            after_cr: false,
            is_begun: false,
            last_id: String::new(),
            retry_ms: None,
        }
    }

    /// Sets the last event id of a stream that was read before.
    #[must_use]
    pub fn after(mut self, id: String) -> Self {
        self.event.id.clone_from(&id);
        self.last_id = id;
        self
    }

    /// Returns the id of the last complete event, to reconnect with.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// Returns the reconnection time in milliseconds, if the stream has set one.
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Resets the decoder for a new connection: an incomplete event is dropped, the last id is
    /// kept.
    pub fn restart(&mut self) {
        let last_id = std::mem::take(&mut self.last_id);
        *self = Self::new(self.max_event_bytes);
        self.event.id.clone_from(&last_id);
        self.last_id = last_id;
    }

    /// Decodes more bytes and appends complete frames to `out`. After an error the decoder must
    /// no longer be used.
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
            self.finish_line(out);
        }
        self.grow(rest)
    }

    /// Ends the input. An event without a blank line after it counts as complete, which deviates
    /// from the specification.
    pub fn end(&mut self, out: &mut Vec<SseFrame>) {
        self.finish_line(out);
        self.dispatch(out);
    }

    fn grow(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        let buffered = self.line.len() + self.event.data.len() + self.error.len();
        if buffered + bytes.len() > self.max_event_bytes {
            return Err(TooLarge(self.max_event_bytes));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn finish_line(&mut self, out: &mut Vec<SseFrame>) {
        let line = std::mem::take(&mut self.line);
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        let text = line.strip_prefix(BYTE_ORDER_MARK).filter(|_| is_first).unwrap_or(&line);
        if text.is_empty() {
            self.dispatch(out);
        } else {
            self.field(text, out);
        }
        // The next line reuses the memory.
        self.line = line;
        self.line.clear();
    }

    fn field(&mut self, line: &[u8], out: &mut Vec<SseFrame>) {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || String::from_utf8_lossy(value).into_owned();
        match &line[..colon] {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push(b'\n');
                }
                self.event.data.extend_from_slice(value);
            }
            b"event" => self.event.kind = text(),
            b"id" if !value.contains(&0) => self.event.id = text(),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                self.retry_ms = text().parse().ok().or(self.retry_ms);
            }
            b"error" => self.error.extend_from_slice(value),
            b"" if out.last() != Some(&SseFrame::Comment) => out.push(SseFrame::Comment),
            _ => {}
        }
    }

    fn dispatch(&mut self, out: &mut Vec<SseFrame>) {
        let error = std::mem::take(&mut self.error);
        if !error.is_empty() {
            out.push(SseFrame::Error(error));
        }
        self.last_id.clone_from(&self.event.id);
        let (kind, data) =
            (std::mem::take(&mut self.event.kind), std::mem::take(&mut self.event.data));
        if std::mem::take(&mut self.has_data) {
            out.push(SseFrame::Event(SseEvent { kind, data, id: self.last_id.clone() }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_EVENT_BYTES: usize = 1024 * 1024;

    fn decode(pieces: &[&[u8]]) -> Vec<SseFrame> {
        let (mut decoder, mut out) = (SseDecoder::new(MAX_EVENT_BYTES), Vec::new());
        for piece in pieces {
            decoder.take(piece, &mut out).expect("small");
        }
        decoder.end(&mut out);
        out.retain(|frame| *frame != SseFrame::Comment);
        out
    }

    fn event(kind: &str, data: &str, id: &str) -> SseFrame {
        let data = data.as_bytes().to_vec();
        SseFrame::Event(SseEvent { kind: kind.to_owned(), data, id: id.to_owned() })
    }

    #[test]
    fn events_are_decoded_across_any_chunk_boundary() {
        let text = "\u{feff}: hello\r\n\r\ndata: a\r\ndata:  b\rdata\r\rdata: \u{e9}\u{1f600}\n\n\
                    event: x\nid: 1\ndata: c\n\n:\nid: 2\n\ndata:\n\ndata: d";
        let expected = [
            event("", "a\n b\n", ""),
            event("", "\u{e9}\u{1f600}", ""),
            event("x", "c", "1"),
            event("", "", "2"),
            event("", "d", "2"),
        ];
        for at in 0..=text.len() {
            let (first, second) = text.as_bytes().split_at(at);
            assert_eq!(decode(&[first, second]), expected, "{at}");
        }
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(decode(&bytes), expected);
    }

    #[test]
    fn restart_keeps_the_id_and_drops_an_incomplete_event() {
        let (mut decoder, mut out) = (SseDecoder::new(MAX_EVENT_BYTES), Vec::new());
        decoder.take(b"retry: 20\nid: 1\ndata: a\n\nid: 2\ndata: b", &mut out).expect("small");
        assert_eq!((decoder.last_id(), decoder.retry_ms()), ("1", Some(20)));
        decoder.restart();
        out.clear();
        decoder.take(b"data: c\n\n", &mut out).expect("small");
        assert_eq!(out, [event("", "c", "1")]);
        assert_eq!(decoder.retry_ms(), None);
    }

    #[test]
    fn error_field_becomes_an_error_frame() {
        assert_eq!(
            decode(&[b"error: {\"code\":500}\n\n"]),
            [SseFrame::Error(b"{\"code\":500}".to_vec())]
        );
        assert_eq!(decode(&[b"errors: x\n\nnothing\n\n"]), []);
    }

    #[test]
    fn consecutive_comments_are_merged() {
        let (mut decoder, mut out) = (SseDecoder::new(MAX_EVENT_BYTES), Vec::new());
        decoder.take(b": a\n: b\n\n:\n\ndata: x\n\n: c", &mut out).expect("small");
        assert_eq!(out, [SseFrame::Comment, event("", "x", "")]);
        decoder.take(b"\n", &mut out).expect("small");
        assert_eq!(out.last(), Some(&SseFrame::Comment));
    }

    #[test]
    fn event_size_is_bounded_with_and_without_line_ends() {
        let (mut decoder, mut out) = (SseDecoder::new(MAX_EVENT_BYTES), Vec::new());
        let piece = [b'x'; 64 * 1024];
        let mut accepted_bytes = 0;
        while decoder.take(&piece, &mut out).is_ok() {
            accepted_bytes += piece.len();
        }
        assert_eq!(accepted_bytes, MAX_EVENT_BYTES);
        let (mut decoder, mut line) = (SseDecoder::new(MAX_EVENT_BYTES), b"data: ".to_vec());
        line.extend_from_slice(&piece);
        line.push(b'\n');
        let is_refused =
            (0..=MAX_EVENT_BYTES / piece.len()).any(|_| decoder.take(&line, &mut out).is_err());
        assert!(is_refused && out.is_empty());
    }
}
