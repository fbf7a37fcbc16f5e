//! Number of cases of property tests, here and in `tests/suite`.

use proptest::test_runner::Config;

/// Returns a configuration with `cases` cases, or 50 times as many with `TEST_EXTENT=full`.
/// Failures are not persisted, because each one gets its own test.
pub(crate) fn cases(cases: u32) -> Config {
    let is_full = std::env::var("TEST_EXTENT").is_ok_and(|value| value == "full");
    let cases = if is_full { cases * 50 } else { cases };
    Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() }
}
