//! Data of an event as JSON, of every type that has a shape and of one that has none.

#![no_main]

use fanfare_fuzz::laws::bodies;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for kind in ["message", "log", "metric", "heartbeat"] {
        bodies::json_data(kind, text);
    }
});
