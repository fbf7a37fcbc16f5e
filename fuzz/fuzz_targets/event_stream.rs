//! Event streams that a bench reads: a byte for the size of the parts, then the stream.

#![no_main]

use fanfare::bench::probe::{Mark, Scanner};
use fanfare_fuzz::laws::sse::interpret;
use libfuzzer_sys::fuzz_target;

fn scan<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Mark>, Vec<u8>) {
    let (mut scanner, mut marks) = (Scanner::new(true), Vec::new());
    for piece in pieces {
        scanner.feed(piece, &mut |mark| marks.push(mark));
    }
    (marks, scanner.last_id().to_vec())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((step, bytes)) = bytes.split_first() else { return };
    let expected = scan(std::iter::once(bytes));
    assert_eq!(scan(bytes.chunks(usize::from(*step).max(1))), expected);
    // Not supported by the bench: lone CRs, a BOM, ids without a value or with a NUL.
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let is_unsupported =
        text.contains(['\r', '\0', '\u{feff}']) || text.lines().any(|line| line == "id");
    if is_unsupported {
        return;
    }
    let stream = interpret(text);
    let first = |data: &str| data.split('\n').find_map(|line| Mark::find(line.as_bytes()));
    let marks: Vec<Mark> = stream.messages.iter().filter_map(|m| first(&m.data)).collect();
    assert_eq!(expected, (marks, stream.last_id.into_bytes()));
});
