//! Selectors: two lines with a selector each, then a name that they may match.

#![no_main]

use fanfare_fuzz::laws::words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (first, second, name) = (line(), line(), line());
    words::selector(first, name);
    words::selector(second, first);
    words::intersection(first, second, name);
});
