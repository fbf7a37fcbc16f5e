//! The little JSON that the words need: text that stays as it was written.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The text of a JSON string, or `None` where `raw` is something else.
pub(crate) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|t| t.0)
}

/// For `deserialize_with`: keeps a `null` apart from a member that is not there.
pub(crate) fn present<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

/// `raw`, which is valid JSON, without the white space outside strings.
pub(super) fn compact(raw: &str) -> Vec<u8> {
    let bytes = raw.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut in_string = false;
    let mut i = 0;
    while i < bytes.len() {
        let byte = bytes[i];
        if in_string {
            if byte == b'\\' {
                out.push(byte);
                i += 1;
            } else if byte == b'"' {
                in_string = false;
            }
        } else if byte == b'"' {
            in_string = true;
        } else if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            i += 1;
            continue;
        }
        if let Some(&kept) = bytes.get(i) {
            out.push(kept);
        }
        i += 1;
    }
    out
}

/// `text` as a JSON string literal, quotes included.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_and_everything_else_stays_as_written() {
        let raw = "{ \"b\" : 1.50 ,\r\n\t\"a\": [ 1e2, \"x \\\" y\\\\\" ] }";
        assert_eq!(compact(raw), br#"{"b":1.50,"a":[1e2,"x \" y\\"]}"#);
    }
}
