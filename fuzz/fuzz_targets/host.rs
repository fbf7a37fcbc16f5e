//! `Host` headers.

#![no_main]

use fanfare::http::probe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some(name) = probe::host_name(text) else { return };
    let begins_with_host = |host: &str| {
        let port = text.strip_prefix(host);
        let is_number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        port.is_some_and(|port| port.is_empty() || port.strip_prefix(':').is_some_and(is_number))
    };
    assert!(
        begins_with_host(name) || begins_with_host(&format!("[{name}]")),
        "{name:?} of {text:?}"
    );
});
