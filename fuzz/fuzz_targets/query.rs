//! Query strings.

#![no_main]

use fanfare::http::probe;
use libfuzzer_sys::fuzz_target;

/// Percent-encodes every byte, as a form may.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fuzz_target!(|text: &str| {
    if let Ok(pairs) = probe::pairs(text) {
        let form = pairs.iter().map(|(name, value)| escaped(name) + "=" + &escaped(value));
        let form = form.collect::<Vec<_>>().join("&");
        assert_eq!(probe::pairs(&form), Ok(pairs));
        assert_eq!(probe::subscription(&form), probe::subscription(text));
    }
    if let Err(error) = probe::subscription(text) {
        assert!(!error.field.is_empty() && !error.detail.is_empty());
    }
});
