//! Publish bodies in NDJSON.

#![no_main]

use fanfare_fuzz::laws::bodies;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| bodies::ndjson_lines(body));
