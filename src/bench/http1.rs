//! Incremental decoder of HTTP/1.1 responses (RFC 9112): the status, then the body without its
//! framing.

/// Maximum bytes of a head.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;

/// Decoder of the responses on a connection.
pub struct Decoder {
    phase: Phase,
    head: Vec<u8>,
    status: u16,
    closes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Head,
    Length(u64),
    UntilClose,
    ChunkSize {
        size: u64,
        in_extension: bool,
    },
    Chunk(u64),
    ChunkEnd,
    /// Trailer section after the last chunk; true while the current line is empty.
    Trailer(bool),
    Complete,
}

/// Input that is not an HTTP/1.1 response.
#[derive(Debug, thiserror::Error)]
#[error("not an HTTP/1.1 response: {0}")]
pub struct InvalidResponse(String);

impl Default for Decoder {
    fn default() -> Self {
        Self { phase: Phase::Head, head: Vec::new(), status: 0, closes: false }
    }
}

impl Decoder {
    /// Returns the status once the head is complete.
    pub fn status(&self) -> Option<u16> {
        (self.phase != Phase::Head).then_some(self.status)
    }

    /// Returns true once the response has ended.
    pub fn is_complete(&self) -> bool {
        self.phase == Phase::Complete
    }

    /// Returns true if the server closes the connection after this response.
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// Decodes more input and passes the parts of the body to `body`. Input after a complete
    /// response is ignored.
    pub fn feed(
        &mut self,
        mut input: &[u8],
        mut body: impl FnMut(&[u8]),
    ) -> Result<(), InvalidResponse> {
        while !input.is_empty() {
            match self.phase {
                Phase::Complete => return Ok(()),
                Phase::Head => input = self.read_head(input)?,
                Phase::UntilClose => {
                    body(input);
                    return Ok(());
                }
                Phase::Length(left) => {
                    let (part, rest) = split(input, left);
                    body(part);
                    input = rest;
                    let left = left - part.len() as u64;
                    self.phase = if left == 0 { Phase::Complete } else { Phase::Length(left) };
                }
                Phase::Chunk(left) => {
                    let (part, rest) = split(input, left);
                    body(part);
                    input = rest;
                    let left = left - part.len() as u64;
                    self.phase = if left == 0 { Phase::ChunkEnd } else { Phase::Chunk(left) };
                }
                _ => {
                    self.phase = self.between_chunks(input[0])?;
                    input = &input[1..];
                }
            }
        }
        Ok(())
    }

    fn between_chunks(&self, byte: u8) -> Result<Phase, InvalidResponse> {
        Ok(match (self.phase, byte) {
            (Phase::ChunkSize { size: 0, .. }, b'\n') => Phase::Trailer(true),
            (Phase::ChunkSize { size, .. }, b'\n') => Phase::Chunk(size),
            (Phase::ChunkSize { size, in_extension: false }, digit)
                if digit.is_ascii_hexdigit() && size <= u64::MAX >> 4 =>
            {
                let digit = (digit as char).to_digit(16).unwrap_or(0);
                Phase::ChunkSize { size: size << 4 | u64::from(digit), in_extension: false }
            }
            (Phase::ChunkSize { size, .. }, b'\r' | b';' | b' ') => {
                Phase::ChunkSize { size, in_extension: true }
            }
            (phase @ Phase::ChunkSize { in_extension: true, .. }, _) => phase,
            (Phase::ChunkEnd, b'\r') => Phase::ChunkEnd,
            (Phase::ChunkEnd, b'\n') => Phase::ChunkSize { size: 0, in_extension: false },
            (Phase::Trailer(true), b'\n') => Phase::Complete,
            (Phase::Trailer(_), b'\n') => Phase::Trailer(true),
            (Phase::Trailer(empty), b'\r') => Phase::Trailer(empty),
            (Phase::Trailer(_), _) => Phase::Trailer(false),
            (phase, byte) => {
                return Err(InvalidResponse(format!("unexpected byte {byte:#04x} in {phase:?}")));
            }
        })
    }

    /// Reads the head, which may come in parts; returns the input after it.
    fn read_head<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], InvalidResponse> {
        let before = self.head.len();
        self.head.extend_from_slice(input);
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&self.head).map_err(|e| InvalidResponse(e.to_string()))?;
        let httparse::Status::Complete(length) = parsed else {
            if self.head.len() > MAX_HEAD_BYTES {
                return Err(InvalidResponse("the head is too long".into()));
            }
            return Ok(&[]);
        };
        self.status = response.code.unwrap_or(0);
        let value = |name: &str| {
            let header = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
            Some(String::from_utf8_lossy(header.value).to_ascii_lowercase())
        };
        self.closes = value("connection").is_some_and(|v| v.contains("close"));
        let chunked = value("transfer-encoding").is_some_and(|v| v.contains("chunked"));
        self.phase = match value("content-length").and_then(|v| v.parse().ok()) {
            _ if chunked => Phase::ChunkSize { size: 0, in_extension: false },
            _ if self.status == 204 || self.status == 304 => Phase::Complete,
            Some(0) => Phase::Complete,
            Some(length) => Phase::Length(length),
            None => Phase::UntilClose,
        };
        self.head.clear();
        Ok(&input[length - before..])
    }

    /// Resets the decoder for the next response.
    pub fn next(&mut self) {
        *self = Self { head: std::mem::take(&mut self.head), ..Self::default() };
        self.head.clear();
    }
}

fn split(input: &[u8], at_most: u64) -> (&[u8], &[u8]) {
    input.split_at(input.len().min(usize::try_from(at_most).unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::cases;
    use proptest::prelude::*;

    fn read(text: &[u8], step: usize) -> (Decoder, String) {
        let (mut decoder, mut body) = (Decoder::default(), Vec::new());
        for part in text.chunks(step) {
            decoder.feed(part, |b| body.extend_from_slice(b)).expect("a response");
        }
        (decoder, String::from_utf8(body).expect("UTF-8"))
    }

    #[test]
    fn bodies_decode_alike_for_all_framings_and_splits() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n00A;x=1\r\n, all of u\r\n1\r\ns\r\n0\r\nT: x\r\n\r\n".as_slice();
        let length = b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\nhello, all of us".as_slice();
        let closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello, all of us".as_slice();
        for step in 1..chunked.len() {
            for (text, ends) in [(chunked, true), (length, true), (closing, false)] {
                let (decoder, body) = read(text, step);
                assert_eq!(body, "hello, all of us");
                assert_eq!((decoder.status(), decoder.is_complete()), (Some(200), ends));
            }
        }
        assert!(read(closing, 7).0.closes());
        assert!(read(b"HTTP/1.1 204 No Content\r\n\r\n", 99).0.is_complete());
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(Decoder::default().feed(b"SSH-2.0-x\r\n\r\n", |_| ()).is_err());
        let invalid = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n";
        assert!(Decoder::default().feed(invalid, |_| ()).is_err());
    }

    #[test]
    fn chunk_size_overflow_is_an_error() {
        let overflowing =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n";
        assert!(Decoder::default().feed(overflowing, |_| ()).is_err());
    }

    /// Splits `bytes` at `cuts`.
    fn pieces<'a>(bytes: &'a [u8], cuts: &[proptest::sample::Index]) -> Vec<&'a [u8]> {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
    }

    /// Decodes `pieces`; the position of an error is not compared.
    fn decode(pieces: &[&[u8]]) -> (Option<u16>, bool, bool, Vec<u8>, bool) {
        let (mut decoder, mut body) = (Decoder::default(), Vec::new());
        let mut results =
            pieces.iter().map(|piece| decoder.feed(piece, |b| body.extend_from_slice(b)));
        let is_invalid = results.any(|result| result.is_err());
        drop(results);
        (decoder.status(), decoder.is_complete(), decoder.closes(), body, is_invalid)
    }

    fn cuts() -> impl Strategy<Value = Vec<proptest::sample::Index>> {
        proptest::collection::vec(any::<proptest::sample::Index>(), 0..6)
    }

    proptest! {
        #![proptest_config(cases(1_000))]

        #[test]
        fn any_body_decodes_as_sent_for_all_framings_and_splits(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..5),
            (status, framing) in (prop_oneof![Just(200u16), 400..600u16], 0..3),
            (extension, trailer) in ("(;[a-z]=\"[a-z]\")?", "(T: x\r\n){0,2}"),
            (zeros, header) in ("0{0,3}", "(X-[a-z]{1,5}: [ -~]{0,9}\r\n){0,3}"),
            cuts in cuts(),
        ) {
            let body = parts.concat();
            let mut sent = format!("HTTP/1.1 {status} Any Reason\r\n{header}").into_bytes();
            match framing {
                0 => sent.extend(format!("Content-LENGTH: {}\r\n\r\n", body.len()).bytes()),
                1 => sent.extend(b"connection: Close\r\n\r\n"),
                _ => sent.extend(b"Transfer-Encoding: Chunked\r\n\r\n"),
            }
            if framing < 2 {
                sent.extend(&body);
            } else {
                for part in &parts {
                    sent.extend(format!("{zeros}{:x}{extension}\r\n", part.len()).bytes());
                    sent.extend(part.iter().chain(b"\r\n"));
                }
                sent.extend(format!("0\r\n{trailer}\r\n").bytes());
            }
            let decoded = decode(&pieces(&sent, &cuts));
            prop_assert_eq!(decoded, (Some(status), framing != 1, framing == 1, body, false));
        }

        #[test]
        fn arbitrary_bytes_decode_alike_for_all_splits(
            tail in proptest::collection::vec(
                prop_oneof![
                    4 => proptest::sample::select(
                        &b"HTTP/1.1 200 OK\r\n content-length:5 transfer-encoding:chunked a0;"[..]
                    ),
                    1 => any::<u8>(),
                ],
                0..60,
            ),
            head in proptest::sample::select(&[
                "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            ][..]),
            cuts in cuts(),
        ) {
            let sent = [head.as_bytes(), &tail].concat();
            prop_assert_eq!(decode(&pieces(&sent, &cuts)), decode(&[&sent]));
        }
    }
}
