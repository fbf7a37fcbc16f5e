//! Chat requests.

#![no_main]

use fanfare_fuzz::laws::chats;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| chats::request(body));
