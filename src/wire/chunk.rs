//! A piece of a body as a chunk of HTTP/1.1 (RFC 9112 §7.1).

use std::io::Write as _;

/// Bytes of the longest length, of its line end, and of the line end after the data.
const FRAMING_BYTES: usize = 16 + 2 + 2;

/// The chunk that ends a body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Frames `data`, which must not be empty: an empty chunk would end the body.
pub fn chunk(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + FRAMING_BYTES);
    // Writing into memory does not fail.
    let _ = write!(out, "{:X}\r\n", data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn chunk_length_is_hexadecimal() {
        assert_eq!(super::chunk(b"0123456789abcdef01"), b"12\r\n0123456789abcdef01\r\n");
    }
}
