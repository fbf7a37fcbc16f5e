//! Checks of the three types whose data has a shape: `log`, `metric` and `heartbeat`.
//!
//! The data stays as it was written, except that a log's level is normalized and a missing
//! `timestamp` is added as the last member. Unknown members are kept.

use super::level::level_of;
use super::{EventType, Invalid, Timestamp, json};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Levels of a log event, each with its synonyms.
pub(super) const LEVELS: [(&str, &[&str]); 6] = [
    ("trace", &[]),
    ("debug", &[]),
    ("info", &[]),
    ("warn", &["warning"]),
    ("error", &[]),
    ("critical", &["fatal"]),
];

/// Returns true if data of this type is checked.
pub(super) fn is_shaped(kind: &EventType) -> bool {
    matches!(kind.as_str(), "log" | "metric" | "heartbeat")
}

/// Checks `raw`, which must be valid JSON; returns it with a normal level and a timestamp.
pub(super) fn check(kind: &EventType, raw: &str, now: Timestamp) -> Result<String, Invalid> {
    if !raw.starts_with('{') {
        return Err(Invalid::new(
            "data",
            format!("the data of a {} event must be a JSON object", kind.as_str()),
        ));
    }
    let members: Members<'_> =
        serde_json::from_str(raw).map_err(|e| Invalid::new("data", e.to_string()))?;
    let mut text = Cow::Borrowed(raw);
    match kind.as_str() {
        "log" => text = check_log(&members, raw)?,
        "metric" => check_metric(&members)?,
        _ => check_heartbeat(&members)?,
    }
    match members.timestamp {
        Some(given) => {
            Timestamp::parse("data.timestamp", &string("timestamp", Some(given))?)?;
        }
        None => text = with_timestamp(&text, now).into(),
    }
    Ok(text.into_owned())
}

/// Checks data given as text, as [`check`] does; a log may also be a bare line.
pub(super) fn check_text(kind: &EventType, text: &str, now: Timestamp) -> Result<String, Invalid> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) if raw.get().starts_with('{') => check(kind, raw.get(), now),
        _ if kind.as_str() == "log" => {
            let level = level_of(text).unwrap_or("info");
            let line = format!(r#"{{"level":"{level}","message":{}}}"#, json::quoted(text));
            Ok(with_timestamp(&line, now))
        }
        _ => Err(Invalid::new(
            "data",
            format!("the data of a {} event must be a JSON object", kind.as_str()),
        )),
    }
}

/// Members that any of the shapes checks.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    level: Option<&'a RawValue>,
    message: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "json::deserialize_present")]
    timestamp: Option<&'a RawValue>,
    module: Option<&'a RawValue>,
    function: Option<&'a RawValue>,
    line: Option<&'a RawValue>,
    fields: Option<&'a RawValue>,
    name: Option<&'a RawValue>,
    value: Option<&'a RawValue>,
    unit: Option<&'a RawValue>,
    labels: Option<&'a RawValue>,
    source: Option<&'a RawValue>,
    status: Option<&'a RawValue>,
}

fn check_log<'a>(members: &Members<'_>, raw: &'a str) -> Result<Cow<'a, str>, Invalid> {
    let given = string("level", members.level)?;
    let lowercase = given.to_ascii_lowercase();
    let Some((level, _)) = LEVELS
        .iter()
        .find(|(name, other)| *name == lowercase || other.contains(&lowercase.as_str()))
    else {
        let detail = format!("{given:?} is not one of trace, debug, info, warn, error, critical");
        return Err(Invalid::new("data.level", detail));
    };
    string("message", members.message)?;
    optional(string, "module", members.module)?;
    optional(string, "function", members.function)?;
    optional(number, "line", members.line)?;
    optional(object, "fields", members.fields)?;
    let level_as_written = members.level.map_or("", RawValue::get);
    let start = level_as_written.as_ptr() as usize - raw.as_ptr() as usize;
    let end = start + level_as_written.len();
    Ok(if *given == **level {
        raw.into()
    } else {
        format!("{}\"{level}\"{}", &raw[..start], &raw[end..]).into()
    })
}

fn check_metric(members: &Members<'_>) -> Result<(), Invalid> {
    string("name", members.name)?;
    number("value", members.value)?;
    optional(string, "unit", members.unit)?;
    optional(object, "labels", members.labels)
}

fn check_heartbeat(members: &Members<'_>) -> Result<(), Invalid> {
    string("source", members.source)?;
    optional(string, "status", members.status)
}

fn optional<'a, T>(
    check: impl Fn(&str, Option<&'a RawValue>) -> Result<T, Invalid>,
    name: &str,
    value: Option<&'a RawValue>,
) -> Result<(), Invalid> {
    match value {
        Some(_) => check(name, value).map(drop),
        None => Ok(()),
    }
}

fn string<'a>(name: &str, value: Option<&'a RawValue>) -> Result<Cow<'a, str>, Invalid> {
    json::string(required(name, value)?).ok_or_else(|| wrong_type(name, "a string"))
}

fn number(name: &str, value: Option<&RawValue>) -> Result<(), Invalid> {
    match required(name, value)?.get().as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => Ok(()),
        _ => Err(wrong_type(name, "a number")),
    }
}

fn object(name: &str, value: Option<&RawValue>) -> Result<(), Invalid> {
    if required(name, value)?.get().starts_with('{') {
        Ok(())
    } else {
        Err(wrong_type(name, "an object"))
    }
}

fn required<'a>(name: &str, value: Option<&'a RawValue>) -> Result<&'a RawValue, Invalid> {
    let missing = || Invalid::new(format!("data.{name}"), format!("`{name}` is missing"));
    value.ok_or_else(missing)
}

fn wrong_type(name: &str, expected: &str) -> Invalid {
    Invalid::new(format!("data.{name}"), format!("`{name}` must be {expected}"))
}

/// Adds `timestamp` as the last member of `object`, which must have a member.
fn with_timestamp(object: &str, now: Timestamp) -> String {
    let unclosed = object.trim_end().strip_suffix('}').unwrap_or(object);
    format!("{unclosed},\"timestamp\":\"{now}\"}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(kind: &str, raw: &str) -> Result<String, Invalid> {
        check(&EventType::parse(kind).expect("a type"), raw, Timestamp::from_ms(0))
    }

    #[test]
    fn log_level_is_normalized_and_a_missing_timestamp_is_added() {
        assert_eq!(
            checked("log", r#"{"x":1,"level":"WARNING","message":"m"}"#).expect("ok"),
            r#"{"x":1,"level":"warn","message":"m","timestamp":"1970-01-01T00:00:00.000Z"}"#
        );
        let complete =
            r#"{"level":"critical","message":"m","timestamp":"2026-01-01T00:00:00+01:00"}"#;
        assert_eq!(checked("log", complete).expect("ok"), complete);
        assert!(
            checked("log", r#"{"level":"Fatal","message":""}"#).expect("ok").contains("critical")
        );
    }

    #[test]
    fn optional_members_may_be_null() {
        let log = r#"{"level":"info","message":"m","module":null,"line":null,"fields":null"#;
        let log = checked("log", &format!("{log}}}")).expect("ok");
        assert!(log.contains(r#""module":null,"line":null,"fields":null,"timestamp":"#), "{log}");
        checked("metric", r#"{"name":"n","value":1,"unit":null,"labels":null}"#).expect("ok");
    }

    #[test]
    fn invalid_member_is_named() {
        for (kind, raw, field) in [
            ("log", r#"{"message":"m"}"#, "data.level"),
            ("log", r#"{"level":"loud","message":"m"}"#, "data.level"),
            ("log", r#"{"level":"info","message":1}"#, "data.message"),
            ("log", r#"{"level":"info","message":"m","line":"x"}"#, "data.line"),
            ("log", r#"{"level":"info","message":"m","timestamp":"x"}"#, "data.timestamp"),
            ("log", r#"{"level":"info","message":"m","timestamp":null}"#, "data.timestamp"),
            ("log", r#""text""#, "data"),
            ("log", r#"{"level":"info","level":"warn","message":"m"}"#, "data"),
            ("metric", r#"{"name":"n","value":"1"}"#, "data.value"),
            ("metric", r#"{"name":"n","value":1,"labels":[]}"#, "data.labels"),
            ("heartbeat", "{}", "data.source"),
        ] {
            assert_eq!(checked(kind, raw).expect_err("refused").field, field, "{kind} {raw}");
        }
    }

    #[test]
    fn bare_line_is_a_log_at_info() {
        let log = EventType::parse("log").expect("a type");
        assert_eq!(
            check_text(&log, "say \"hi\"", Timestamp::from_ms(0)).expect("ok"),
            r#"{"level":"info","message":"say \"hi\"","timestamp":"1970-01-01T00:00:00.000Z"}"#
        );
        let metric = EventType::parse("metric").expect("a type");
        assert!(check_text(&metric, "5", Timestamp::from_ms(0)).is_err());
    }
}
