//! Durations in settings.

#![no_main]

use fanfare_fuzz::laws::settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| settings::duration(text));
