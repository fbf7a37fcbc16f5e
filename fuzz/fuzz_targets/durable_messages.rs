//! Bodies of appends of the Durable Streams protocol.

#![no_main]

use fanfare_fuzz::laws::durable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (max_bytes, body) = input;
    for kind in ["application/json", "text/plain", "image/png"] {
        durable::messages(kind, body, usize::from(max_bytes).max(1));
    }
});
