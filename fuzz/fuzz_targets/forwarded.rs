//! `Forwarded` and `X-Forwarded-For`, one header per line.

#![no_main]

use fanfare_fuzz::laws::clients;
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;

fuzz_target!(|text: &str| {
    let said: Vec<String> = text.lines().map(str::to_owned).collect();
    let refs: Vec<&str> = text.lines().collect();
    for real in ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.8"] {
        let real: IpAddr = real.parse().expect("an address");
        clients::nobody_is_believed(real, &refs, &refs);
        for (on_same_line, quoted) in [(true, true), (true, false), (false, true)] {
            clients::nobody_is_somebody_else(&said, real, on_same_line, quoted);
        }
    }
    clients::nobody_is_invented(&refs, &[]);
    clients::nobody_is_invented(&[], &refs);
    clients::nobody_is_invented(&refs, &refs);
});
