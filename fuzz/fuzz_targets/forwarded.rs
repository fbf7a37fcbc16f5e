//! `Forwarded` and `X-Forwarded-For`, one header per line.

#![no_main]

use fanfare_fuzz::laws::clients;
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;

fuzz_target!(|text: &str| {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let refs: Vec<&str> = text.lines().collect();
    for real in ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.8"] {
        let real: IpAddr = real.parse().expect("an address");
        clients::untrusted_headers_are_ignored(real, &refs, &refs);
        for (on_same_line, quoted) in [(true, true), (true, false), (false, true)] {
            clients::client_cannot_be_forged(&lines, real, on_same_line, quoted);
        }
    }
    clients::client_is_the_proxy_or_in_the_headers(&refs, &[]);
    clients::client_is_the_proxy_or_in_the_headers(&[], &refs);
    clients::client_is_the_proxy_or_in_the_headers(&refs, &refs);
});
