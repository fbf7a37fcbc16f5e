//! Timestamps.

#![no_main]

use fanfare_fuzz::laws::words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| words::timestamp(text));
