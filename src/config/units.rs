//! Parsers of durations and sizes.

use super::invalid_value::InvalidValue;
use std::time::Duration;

/// Parses a duration such as `3s`, `1h30m` or `500ms`; a number without a unit is ambiguous and
/// refused.
pub(crate) fn duration(text: &str) -> Result<Duration, InvalidValue> {
    let invalid = || InvalidValue::form(text, "a duration like 500ms, 3s, 10m, 1h30m or 7d");
    let span: jiff::Span = text.parse().map_err(|_| invalid())?;
    let days_are_24_hours = jiff::SpanRelativeTo::days_are_24_hours();
    let exact = span.to_duration(days_are_24_hours).map_err(|_| invalid())?;
    Duration::try_from(exact).map_err(|_| invalid())
}

/// Parses a size such as `256KiB`, `8MiB` or `1GB`, or a number of bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, InvalidValue> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let invalid = || InvalidValue::form(text, "a size like 1048576, 256KiB, 8MiB or 10GB");
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, factor) = match unit {
        Some((unit, factor)) => (&text[..text.len() - unit.len()], *factor),
        None => (text, 1),
    };
    let number: u64 = number.trim().parse().map_err(|_| invalid())?;
    number.checked_mul(factor).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_parsed() {
        assert_eq!(duration("3s").expect("valid"), Duration::from_secs(3));
        assert_eq!(duration("1h30m").expect("valid"), Duration::from_secs(5400));
        assert_eq!(duration("7d").expect("valid"), Duration::from_secs(7 * 86400));
        assert_eq!(duration("500ms").expect("valid"), Duration::from_millis(500));
        for text in ["", "3", "-3s", "3 lightyears", "1mo"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
        assert_eq!(bytes("10GiB").expect("valid"), 10 << 30);
        assert_eq!(bytes("8 MiB").expect("valid"), 8 << 20);
        assert_eq!(bytes("0").expect("valid"), 0);
        assert_eq!(bytes("5B").expect("valid"), 5);
        for text in ["", "x", "-1", "1.5MiB", "99999999999TiB"] {
            assert!(bytes(text).is_err(), "{text:?}");
        }
    }
}
