//! HTTP/1.1 responses that a bench reads: a byte for the size of the parts, then the response.

#![no_main]

use fanfare::bench::probe::Decoder;
use libfuzzer_sys::fuzz_target;

/// Decodes `pieces`; the place of an error is not compared.
fn came<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Option<u16>, bool, bool, Vec<u8>, bool) {
    let (mut decoder, mut body) = (Decoder::default(), Vec::new());
    let mut garbled = false;
    for piece in pieces {
        garbled = decoder.feed(piece, |part| body.extend_from_slice(part)).is_err();
        if garbled {
            break;
        }
    }
    (decoder.status(), decoder.is_complete(), decoder.closes(), body, garbled)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((step, bytes)) = bytes.split_first() else { return };
    let whole = came(std::iter::once(bytes));
    assert_eq!(came(bytes.chunks(usize::from(*step).max(1))), whole);
    assert_eq!(came(bytes.chunks(1)), whole);
});
