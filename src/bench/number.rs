//! Formats numbers for reports.

/// Formats a number with commas between thousands and `digits` decimal places.
pub fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (integer, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::with_capacity(text.len() * 4 / 3);
    for (at, digit) in integer.chars().enumerate() {
        if at > 0 && (integer.len() - at).is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    if fraction.is_empty() { out } else { format!("{out}.{fraction}") }
}

/// Formats a count with commas between thousands.
pub(super) fn count(number: u64) -> String {
    self::number(number as f64, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_formatted_with_thousands_separators() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(number(-123_456.789, 2), "-123,456.79");
        assert_eq!(number(1_000.0, 1), "1,000.0");
    }
}
