//! Offsets of the Durable Streams protocol.

#![no_main]

use fanfare_fuzz::laws::durable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| durable::offset(text));
