//! Key sets and public keys, and a token that is verified with them.

#![no_main]

use fanfare_fuzz::laws::credentials;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| credentials::key_set(bytes, &[credentials::good_token()]));
