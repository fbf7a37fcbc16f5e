//! Matchers of topics: a matcher, which is also a URL pattern and a URI template, and a topic.

#![no_main]

use fanfare_fuzz::laws::topics;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (matcher, topic) = text.split_once('\n').unwrap_or((text, text));
    for kind in topics::KINDS {
        topics::matcher(kind, matcher, topic);
    }
});
