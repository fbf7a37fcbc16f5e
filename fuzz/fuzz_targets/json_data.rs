//! JSON data of events, for each type with a schema and one without.

#![no_main]

use fanfare_fuzz::laws::bodies;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for kind in ["message", "log", "metric", "heartbeat"] {
        bodies::json_data(kind, text);
    }
});
