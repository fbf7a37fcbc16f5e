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
    for (kind, again) in probe::items_again(value).into_iter().enumerate() {
        let Some(again) = again else { continue };
        assert_eq!(probe::items_again(&again)[kind].as_ref(), Some(&again));
        // A bool is written in one way only, and a tombstone of an older format gets a field more.
        let changed = value.iter().zip(&again).filter(|(before, after)| before != after).count();
        assert!(changed <= 1, "{value:?} became {again:?}");
    }
});
