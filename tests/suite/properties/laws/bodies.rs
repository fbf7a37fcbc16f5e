//! Laws of published events: data, JSON bodies and NDJSON bodies.

use fanfare::event::{Draft, EventType, StreamName, Timestamp};
use fanfare::wire::{BodyError, Publish, read_json, read_ndjson};
use serde_json::Value;
use serde_json::value::RawValue;

const MAX_EVENT_BYTES: usize = 4096;
const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "critical"];

fn now() -> Timestamp {
    Timestamp::from_ms(1_700_000_000_000)
}

fn streams() -> Vec<StreamName> {
    vec![StreamName::parse("a").expect("a name")]
}

fn text_of(draft: &Draft) -> &str {
    std::str::from_utf8(draft.payload().as_bytes()).expect("UTF-8")
}

/// Returns everything that makes up a draft.
fn whole(draft: &Draft) -> (Vec<StreamName>, String, Vec<u8>, bool, Option<String>, u128) {
    (
        draft.streams().to_vec(),
        draft.kind().as_str().to_owned(),
        draft.payload().as_bytes().to_vec(),
        draft.payload().is_json(),
        draft.key().map(|key| key.as_str().to_owned()),
        draft.fingerprint(),
    )
}

fn is_shaped(kind: &EventType) -> bool {
    ["log", "metric", "heartbeat"].contains(&kind.as_str())
}

/// JSON data keeps its meaning, a string becomes its text, and a second pass changes nothing.
pub fn json_data(kind: &str, text: &str) {
    let Ok(kind) = EventType::parse(kind) else { return };
    let Ok(raw) = serde_json::from_str::<Box<RawValue>>(text) else { return };
    // JSON may contain text that a `String` cannot, such as half of a surrogate pair.
    let meant = serde_json::from_str::<Value>(text).ok();
    let draft = match Draft::from_json(streams(), kind.clone(), &raw, now()) {
        Ok(draft) => draft,
        Err(why) => {
            let is_text = raw.get().starts_with('"');
            assert!(is_shaped(&kind) || is_text && meant.is_none(), "{text:?}: {why}");
            return assert!(why.field.starts_with("data"), "{why}");
        }
    };
    let payload = text_of(&draft);
    if !draft.payload().is_json() {
        return assert_eq!(meant, Some(Value::from(payload)));
    }
    let same: Box<RawValue> = serde_json::from_str(payload).expect("JSON");
    let again = Draft::from_json(streams(), kind.clone(), &same, now()).expect("accepted before");
    assert_eq!(again.payload(), draft.payload());
    if !is_shaped(&kind) {
        assert_eq!(again.fingerprint(), draft.fingerprint());
        assert_eq!(serde_json::from_str::<Value>(payload).ok(), meant);
        return assert!(payload.len() <= text.trim().len());
    }
    let (Some(Value::Object(said)), Ok(Value::Object(sent))) =
        (meant, serde_json::from_str(payload))
    else {
        return;
    };
    shaped(&kind, &said, &sent);
}

/// Checks data of a type with a shape: a known level, a timestamp, and the rest unchanged.
fn shaped(
    kind: &EventType,
    said: &serde_json::Map<String, Value>,
    sent: &serde_json::Map<String, Value>,
) {
    for (name, value) in sent {
        let is_changed = said.get(name) != Some(value);
        match name.as_str() {
            "timestamp" if !said.contains_key(name) => assert_eq!(value, &now().to_string()),
            "level" if kind.as_str() == "log" => {
                let level = value.as_str().expect("a word");
                assert!(LEVELS.contains(&level), "{level}");
            }
            _ => assert!(!is_changed, "{name} was {:?} and is {value}", said.get(name)),
        }
    }
    assert!(said.keys().all(|name| sent.contains_key(name)), "a member is gone");
    let needed: &[&str] = match kind.as_str() {
        "log" => &["level", "message", "timestamp"],
        "metric" => &["name", "value", "timestamp"],
        _ => &["source", "timestamp"],
    };
    assert!(needed.iter().all(|name| sent.contains_key(*name)), "{sent:?}");
}

/// Words in a line, in any case, that set its level.
const SAID: [(&str, &[&str]); 6] = [
    ("trace", &["trace"]),
    ("debug", &["debug", "dbg"]),
    ("info", &[]),
    ("warn", &["warn"]),
    ("error", &["err", "severe"]),
    ("critical", &["crit", "fatal", "alert", "emerg", "panic"]),
];

/// Text is kept as written. Text of a log that is not an object becomes the message, at a level
/// that the text names, or else `info`.
pub fn text_data(kind: &str, text: &str) {
    let Ok(kind) = EventType::parse(kind) else { return };
    let draft = Draft::from_text(streams(), kind.clone(), text, now());
    let is_object = serde_json::from_str::<&RawValue>(text).is_ok_and(|r| r.get().starts_with('{'));
    match (kind.as_str(), draft) {
        ("log", Ok(draft)) if !is_object => {
            let sent: Value = serde_json::from_str(text_of(&draft)).expect("JSON");
            assert_eq!(sent["message"].as_str(), Some(text));
            let level = sent["level"].as_str().expect("a level");
            let (_, words) = SAID.iter().find(|(known, _)| *known == level).expect("known");
            let text = text.to_ascii_lowercase();
            assert!(level == "info" || words.iter().any(|word| text.contains(word)), "{level}");
        }
        ("log" | "metric" | "heartbeat", Ok(draft)) => {
            assert!(is_object);
            json_data(kind.as_str(), text);
            json_data(kind.as_str(), text_of(&draft));
        }
        ("log" | "metric" | "heartbeat", Err(why)) => {
            assert!(kind.as_str() != "log" || is_object, "{text:?} is refused");
            assert!(why.field.starts_with("data"), "{why}");
        }
        (_, draft) => {
            let draft = draft.expect("any text is valid");
            assert_eq!((text_of(&draft), draft.payload().is_json()), (text, false));
        }
    }
}

/// White space between the tokens of JSON makes no difference, and none of it is kept.
pub fn spaced(tokens: &[String], spaces: &[String]) {
    let spaces = spaces.iter().map(String::as_str).chain(std::iter::repeat(""));
    let text: String = tokens.iter().zip(spaces).flat_map(|(t, s)| [s, t.as_str()]).collect();
    let dense = tokens.concat();
    let read = |text: &str| {
        let raw: Box<RawValue> = serde_json::from_str(text).expect("JSON");
        Draft::from_json(streams(), EventType::default(), &raw, now()).expect("valid")
    };
    assert_eq!(whole(&read(&text)), whole(&read(&dense)), "{text:?}");
    if !dense.starts_with('"') {
        assert_eq!(text_of(&read(&text)), dense);
    }
}

/// An event, or its error, is the same alone, in a list and on a line.
pub fn publish(body: &[u8]) {
    let one = read_json(body, MAX_EVENT_BYTES, now());
    if let Ok(Publish::Batch(drafts)) = &one {
        assert!((1..=4096).contains(&drafts.len()));
        return;
    }
    let Ok(text) = std::str::from_utf8(body) else {
        return assert!(matches!(one, Err(BodyError::Unreadable(_))));
    };
    if text.trim_start().starts_with('[') {
        return;
    }
    let listed = read_json(format!("[{text}]").as_bytes(), MAX_EVENT_BYTES, now());
    // In JSON, a line end is never within a string.
    let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
    let line = text.replace(['\n', '\r'], if is_json { " " } else { "\u{b}" });
    let lined = read_ndjson(line.as_bytes(), MAX_EVENT_BYTES, now());
    match one {
        Ok(Publish::One(draft)) => {
            means(text, &draft);
            let Ok(Publish::Batch(listed)) = listed else { panic!("{text:?}: {listed:?}") };
            assert_eq!(listed.iter().map(whole).collect::<Vec<_>>(), [whole(&draft)]);
            let lined = lined.expect("it is one line");
            assert_eq!(lined.iter().map(whole).collect::<Vec<_>>(), [whole(&draft)]);
        }
        // An error of the data, such as not being an object, may precede the syntax error.
        Err(BodyError::Invalid(_)) if !is_json => {
            assert!(listed.is_err() && lined.is_err());
        }
        Err(BodyError::Invalid(why)) => {
            assert!(!why.field.is_empty() && !why.detail.is_empty());
            let Err(BodyError::Invalid(listed)) = listed else { panic!("{text:?}: {listed:?}") };
            assert_eq!(listed.field, format!("[0].{}", why.field));
            assert!(matches!(lined, Err(BodyError::Invalid(line)) if line.field == why.field));
        }
        Err(BodyError::TooLarge { size, .. }) => {
            assert!(size > MAX_EVENT_BYTES);
            assert!(matches!(listed, Err(BodyError::TooLarge { size: s, .. }) if s == size));
            assert!(matches!(lined, Err(BodyError::TooLarge { size: s, .. }) if s == size));
        }
        // `1, 2` is not JSON, but `[1, 2]` is.
        Err(BodyError::Unreadable(_)) => assert!(lined.is_err()),
        Ok(Publish::Batch(_)) => unreachable!("it is no list"),
    }
}

/// Compares a draft with its body as `serde_json` reads it.
fn means(text: &str, draft: &Draft) {
    let Ok(said) = serde_json::from_str::<Value>(text) else { return };
    let names: Vec<&str> = match &said["stream"] {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        name => name.as_str().into_iter().collect(),
    };
    assert_eq!(draft.streams().iter().map(StreamName::as_str).collect::<Vec<_>>(), names);
    assert_eq!(draft.kind().as_str(), said["type"].as_str().unwrap_or("message"));
    assert_eq!(draft.key().map(|key| key.as_str()), said["key"].as_str());
    if is_shaped(draft.kind()) {
        return assert!(draft.payload().is_json());
    }
    match &said["data"] {
        Value::String(data) => {
            assert_eq!((text_of(draft), draft.payload().is_json()), (&**data, false))
        }
        data => assert_eq!(serde_json::from_str::<Value>(text_of(draft)).ok().as_ref(), Some(data)),
    }
}

/// An NDJSON body contains the events of its lines.
pub fn lines(body: &[u8]) {
    let read = read_ndjson(body, MAX_EVENT_BYTES, now());
    let Ok(text) = std::str::from_utf8(body) else {
        return assert!(matches!(read, Err(BodyError::Unreadable(_))));
    };
    let each =
        text.split('\n').filter(|line| !line.trim().is_empty()).map(|line| {
            match read_json(line.as_bytes(), MAX_EVENT_BYTES, now()) {
                Ok(Publish::One(draft)) => Some(whole(&draft)),
                _ => None,
            }
        });
    let expected: Option<Vec<_>> = each.collect();
    let expected = expected.filter(|drafts| (1..=4096).contains(&drafts.len()));
    assert_eq!(read.ok().map(|drafts| drafts.iter().map(whole).collect()), expected, "{text:?}");
}
