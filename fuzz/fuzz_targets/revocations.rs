//! Revocation files.

#![no_main]

use fanfare_fuzz::laws::credentials;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| credentials::revocations(bytes));
