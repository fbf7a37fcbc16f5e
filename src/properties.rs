//! How long property tests look, here and in `tests/suite`.

use proptest::test_runner::Config;

/// So many inputs, many more where `FANFARE_TESTS=full`; what failed belongs into a test by itself.
pub(crate) fn cases(cases: u32) -> Config {
    let is_full = std::env::var("FANFARE_TESTS").is_ok_and(|value| value == "full");
    let cases = if is_full { cases * 50 } else { cases };
    Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() }
}
