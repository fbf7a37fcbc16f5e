//! Forms of publishers of the Mercure protocol.

#![no_main]

use fanfare_fuzz::laws::topics;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| topics::form(body));
