//! Claims of signed tokens of the Mercure protocol.

#![no_main]

use fanfare::access::Access;
use fanfare_fuzz::laws::topics;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static ACCESS: LazyLock<Access> = LazyLock::new(topics::access);

fuzz_target!(|claims: &[u8]| {
    for kind in ["at+jwt", "JWT"] {
        topics::claims(&ACCESS, kind, claims);
    }
});
