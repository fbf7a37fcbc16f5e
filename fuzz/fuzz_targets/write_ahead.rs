//! Write-ahead files of the journal.

#![no_main]

use fanfare::journal::probe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let length = probe::whole_batches(bytes);
    assert_eq!(probe::whole_batches(&bytes[..length]), length, "what is left opens");
    let allocated = [&bytes[..length], &[0; 64]].concat();
    assert_eq!(probe::whole_batches(&allocated), length, "it may be allocated ahead");
});
