//! Single events of a chat upstream.

#![no_main]

use fanfare_fuzz::laws::chats;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| chats::event(data));
