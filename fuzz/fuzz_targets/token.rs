//! Tokens: the input as a whole token, and as the claims of a signed one.

#![no_main]

use fanfare::access::Access;
use fanfare_fuzz::laws::credentials;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static ACCESS: LazyLock<Access> = LazyLock::new(credentials::access);

fuzz_target!(|bytes: &[u8]| {
    credentials::claims(&ACCESS, bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        credentials::unsigned_text(&ACCESS, text);
    }
    if let [index, low, byte, change, ..] = bytes {
        let index = usize::from(*index) << 8 | usize::from(*low);
        credentials::changed_credential(&ACCESS, index, *byte, *change);
    }
});
