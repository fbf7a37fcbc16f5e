//! Responses of a chat upstream: a byte for the size of the parts, then the response.

#![no_main]

use fanfare_fuzz::laws::chats;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((step, bytes)) = bytes.split_first() else { return };
    chats::upstream(*step, bytes);
});
