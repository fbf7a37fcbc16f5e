//! JSON functions that keep values as they were written.

use super::Payload;
use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The members of an object, in order and as they were written.
pub(crate) struct Members<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

/// The members of an object by name, the first of each; for many look-ups.
pub(crate) struct MembersByName<'a> {
    members: Members<'a>,
    by_name: FxHashMap<String, usize>,
}

impl<'a> MembersByName<'a> {
    /// Returns the members of `payload`; `None` unless it is an object.
    pub(crate) fn of(payload: &'a Payload) -> Option<Self> {
        let members = Members::of(payload)?;
        let mut by_name = FxHashMap::default();
        for (index, (name, _)) in members.0.iter().enumerate() {
            by_name.entry(name.clone().into_owned()).or_insert(index);
        }
        Some(Self { members, by_name })
    }

    fn named(&self, name: &str) -> Option<&'a RawValue> {
        Some(self.members.0[*self.by_name.get(name)?].1)
    }

    /// Returns the member of a name. If no member has the whole name, `a.b` is the member `b` of
    /// the member `a`.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.named(name).or_else(|| {
            let (outer, inner) = name.split_once('.')?;
            Members::read(self.named(outer)?.get())?.get(inner)
        })
    }
}

impl<'a> Members<'a> {
    /// Returns the members of `payload`, if it is an object.
    pub(crate) fn of(payload: &'a Payload) -> Option<Self> {
        let text = payload.is_json().then(|| std::str::from_utf8(payload.as_bytes()));
        Self::read(text?.ok()?)
    }

    fn read(text: &'a str) -> Option<Self> {
        text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()
    }

    /// Returns the member of a name. If no member has the whole name, `a.b` is the member `b` of
    /// the member `a`.
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        let named =
            |name: &str| self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        named(name).or_else(|| {
            let (outer, inner) = name.split_once('.')?;
            Self::read(named(outer)?.get())?.get(inner)
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
        deserializer.deserialize_map(Reader)
    }
}

/// Returns the text of a JSON string; `None` if `raw` is another value.
pub(crate) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|t| t.0)
}

/// Deserializes a member so that `null` differs from a missing member; for `deserialize_with`.
pub(crate) fn deserialize_present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// Returns `raw`, which must be valid JSON, without the white space outside strings.
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
        if let Some(&next) = bytes.get(i) {
            out.push(next);
        }
        i += 1;
    }
    out
}

/// Returns `text` as a JSON string literal, quotes included.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_removes_white_space_and_keeps_the_rest_as_written() {
        let raw = "{ \"b\" : 1.50 ,\r\n\t\"a\": [ 1e2, \"x \\\" y\\\\\" ] }";
        assert_eq!(compact(raw), br#"{"b":1.50,"a":[1e2,"x \" y\\"]}"#);
    }
}
