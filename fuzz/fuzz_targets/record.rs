//! Stored values of the journal.

#![no_main]

use fanfare::journal::probe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    if let Some(again) = probe::entry_again(value) {
        assert_eq!(probe::entry_again(&again).as_ref(), Some(&again));
        let names_the_default = value.windows(7).any(|bytes| bytes == b"message");
        assert!(again == value || names_the_default, "{value:?} became {again:?}");
    }
    for again in probe::items_again(value).into_iter().flatten() {
        // The last byte may be a bool, which is encoded in one way only.
        let (_, fields) = again.split_last().expect("fields");
        assert!(value.starts_with(fields));
    }
});
