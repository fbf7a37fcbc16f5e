//! Stored values of the journal.

#![no_main]

use fanfare::journal::probe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    if let Some(reencoded) = probe::entry_again(value) {
        assert_eq!(probe::entry_again(&reencoded).as_ref(), Some(&reencoded));
        let has_default_type = value.windows(7).any(|bytes| bytes == b"message");
        assert!(reencoded == value || has_default_type, "{value:?} became {reencoded:?}");
    }
    for (kind, reencoded) in probe::items_again(value).into_iter().enumerate() {
        let Some(reencoded) = reencoded else { continue };
        assert_eq!(probe::items_again(&reencoded)[kind].as_ref(), Some(&reencoded));
        // A bool is written in one way only, and a tombstone of an older format gets a field more.
        let changed =
            value.iter().zip(&reencoded).filter(|(before, after)| before != after).count();
        assert!(changed <= 1, "{value:?} became {reencoded:?}");
    }
});
