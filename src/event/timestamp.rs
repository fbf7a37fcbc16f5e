//! Timestamps: milliseconds since 1970, written as RFC 3339.

use super::Invalid;
use std::fmt;

/// A moment in UTC with millisecond resolution.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Creates a time from milliseconds since 1970-01-01T00:00:00Z.
    pub fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Returns the milliseconds since 1970-01-01T00:00:00Z.
    pub fn ms(self) -> u64 {
        self.0
    }

    /// Parses an RFC 3339 time with any offset; times before 1970 become 1970.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let moment: jiff::Timestamp = text.parse().map_err(|_| {
            Invalid::new(
                field,
                format!("{text:?} is not an RFC 3339 time such as 2026-01-31T12:00:00Z"),
            )
        })?;
        Ok(Self(u64::try_from(moment.as_millisecond()).unwrap_or(0)))
    }

    /// Returns the time `ms` milliseconds later.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Returns the time `ms` milliseconds earlier, but not before 1970.
    #[must_use]
    pub fn minus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(ms) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => f.write_str("9999-12-31T23:59:59.999Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_written_in_utc_with_milliseconds_and_parsed_with_any_offset() {
        let t = Timestamp::parse("t", "2026-01-31T14:00:00.5+02:00").expect("a time");
        assert_eq!(t.to_string(), "2026-01-31T12:00:00.500Z");
        assert!(Timestamp::parse("t", "yesterday").is_err());
    }
}
