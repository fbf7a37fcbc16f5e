//! Lines of files and of commands, in parts of any size.

#![no_main]

use fanfare_fuzz::laws::words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| words::lines(input.1, usize::from(input.0)));
