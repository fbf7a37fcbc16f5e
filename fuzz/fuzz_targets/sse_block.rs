//! SSE blocks: a line with the type, then the data.

#![no_main]

use fanfare_fuzz::laws::sse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (kind, data) = text.split_once('\n').unwrap_or(("message", text));
    sse::block(kind, data, text.len() as u64, 3000);
});
