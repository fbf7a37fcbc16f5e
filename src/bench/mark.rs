//! Content of every event of a bench: publisher, number, and send time.
//!
//! The mark is a JSON string that needs no escaping, so it survives as a raw body, inside a JSON
//! body and in the envelope of any server.

/// Bytes of the mark, quotes and delimiters included: the smallest payload.
pub const MARK_BYTES: usize = 2 + 2 + DIGITS + 3;
const DIGITS: usize = 8 + 4 + 8 + 16;
/// Delimiter of the digits; no server emits it in its own framing.
const FENCE: u8 = b'~';

/// The mark of one event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Number of the stream.
    pub stream: u32,
    /// Number of the publishing connection.
    pub publisher: u16,
    /// Number of the event among those of this publisher on this stream, from 0.
    pub sequence: u32,
    /// Send time, in nanoseconds since the start of the bench.
    pub sent_ns: u64,
}

impl Mark {
    /// Appends the payload, `size` bytes long (or [`MARK_BYTES`], if that is more).
    pub fn write(&self, size: usize, out: &mut Vec<u8>) {
        let end = out.len() + size.max(MARK_BYTES);
        out.extend_from_slice(b"\"~");
        hex(u64::from(self.stream), 8, out);
        out.push(b'-');
        hex(u64::from(self.publisher), 4, out);
        out.push(b'-');
        hex(u64::from(self.sequence), 8, out);
        out.push(b'-');
        hex(self.sent_ns, 16, out);
        out.push(FENCE);
        out.resize(end - 1, b'x');
        out.push(b'"');
    }

    /// Finds the mark in the data of an event.
    pub fn find(data: &[u8]) -> Option<Self> {
        let begin = memchr::memchr(FENCE, data)? + 1;
        let text = data.get(begin..begin + DIGITS + 3)?;
        Some(Self {
            stream: unhex(&text[..8])? as u32,
            publisher: unhex(&text[9..13])? as u16,
            sequence: unhex(&text[14..22])? as u32,
            sent_ns: unhex(&text[23..39])?,
        })
    }
}

fn hex(value: u64, digits: u32, out: &mut Vec<u8>) {
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(value >> (digit * 4)) as usize & 15]);
    }
}

fn unhex(text: &[u8]) -> Option<u64> {
    const NONE: u8 = 0xff;
    const DIGIT: [u8; 256] = {
        let mut table = [NONE; 256];
        let mut n = 0;
        while n < 16 {
            table[b"0123456789abcdef"[n] as usize] = n as u8;
            n += 1;
        }
        table
    };
    let (mut value, mut invalid) = (0, 0);
    for byte in text {
        let digit = DIGIT[usize::from(*byte)];
        invalid |= digit & 0xf0;
        value = value << 4 | u64::from(digit & 15);
    }
    (invalid == 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_survives_envelopes_and_has_the_requested_size() {
        let mark = Mark { stream: 99_999, publisher: 63, sequence: 7, sent_ns: u64::MAX - 1 };
        for size in [0, MARK_BYTES, 200] {
            let mut payload = Vec::new();
            mark.write(size, &mut payload);
            assert_eq!(payload.len(), size.max(MARK_BYTES));
            assert!(serde_json::from_slice::<String>(&payload).is_ok(), "the payload is JSON");
            assert_eq!(Mark::find(&payload), Some(mark));
            let text = String::from_utf8(payload).expect("ASCII");
            let wrapped = serde_json::json!({ "data": format!("{{\"inner\": {text}}}") });
            assert_eq!(Mark::find(wrapped.to_string().as_bytes()), Some(mark));
        }
    }

    #[test]
    fn data_without_a_mark_yields_none() {
        for data in [
            "",
            "hello",
            "~",
            "~00000001-0001-00000001-00000000000000~",
            "~0000000g-0001-00000001-0000000000000001~",
        ] {
            assert_eq!(Mark::find(data.as_bytes()), None, "{data}");
        }
    }
}
