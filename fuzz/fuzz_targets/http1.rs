//! HTTP/1.1 responses that a bench reads: a byte for the size of the parts, then the response.

#![no_main]

use fanfare::bench::probe::Decoder;
use libfuzzer_sys::fuzz_target;

/// Decodes `pieces`; the position of an error is not part of the result.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Option<u16>, bool, bool, Vec<u8>, bool) {
    let (mut decoder, mut body) = (Decoder::default(), Vec::new());
    let mut is_invalid = false;
    for piece in pieces {
        is_invalid = decoder.feed(piece, |part| body.extend_from_slice(part)).is_err();
        if is_invalid {
            break;
        }
    }
    (decoder.status(), decoder.is_complete(), decoder.closes(), body, is_invalid)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((step, bytes)) = bytes.split_first() else { return };
    let expected = decode(std::iter::once(bytes));
    assert_eq!(decode(bytes.chunks(usize::from(*step).max(1))), expected);
    assert_eq!(decode(bytes.chunks(1)), expected);
});
