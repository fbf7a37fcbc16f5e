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
fn draft_parts(draft: &Draft) -> (Vec<StreamName>, String, Vec<u8>, bool, Option<String>, u128) {
    (
        draft.streams().to_vec(),
        draft.kind().as_str().to_owned(),
        draft.payload().as_bytes().to_vec(),
        draft.payload().is_json(),
        draft.key().map(|key| key.as_str().to_owned()),
        draft.fingerprint(),
    )
}

fn has_schema(kind: &EventType) -> bool {
    ["log", "metric", "heartbeat"].contains(&kind.as_str())
}

/// JSON data keeps its meaning, a string becomes its text, and a second pass changes nothing.
pub fn json_data(kind: &str, text: &str) {
    let Ok(kind) = EventType::parse(kind) else { return };
    let Ok(raw) = serde_json::from_str::<Box<RawValue>>(text) else { return };
    // JSON may contain text that a `String` cannot, such as half of a surrogate pair.
    let expected = serde_json::from_str::<Value>(text).ok();
    let draft = match Draft::from_json(streams(), kind.clone(), &raw, now()) {
        Ok(draft) => draft,
        Err(error) => {
            let is_text = raw.get().starts_with('"');
            assert!(has_schema(&kind) || is_text && expected.is_none(), "{text:?}: {error}");
            return assert!(error.field.starts_with("data"), "{error}");
        }
    };
    let payload = text_of(&draft);
    if !draft.payload().is_json() {
        return assert_eq!(expected, Some(Value::from(payload)));
    }
    let stored_data: Box<RawValue> = serde_json::from_str(payload).expect("JSON");
    let second =
        Draft::from_json(streams(), kind.clone(), &stored_data, now()).expect("accepted before");
    assert_eq!(second.payload(), draft.payload());
    if !has_schema(&kind) {
        assert_eq!(second.fingerprint(), draft.fingerprint());
        assert_eq!(serde_json::from_str::<Value>(payload).ok(), expected);
        return assert!(payload.len() <= text.trim().len());
    }
    let (Some(Value::Object(sent_members)), Ok(Value::Object(stored))) =
        (expected, serde_json::from_str(payload))
    else {
        return;
    };
    check_shape(&kind, &sent_members, &stored);
}

/// Checks data of a type with a shape: a known level, a timestamp, and the rest unchanged.
fn check_shape(
    kind: &EventType,
    sent_members: &serde_json::Map<String, Value>,
    stored: &serde_json::Map<String, Value>,
) {
    for (name, value) in stored {
        let is_changed = sent_members.get(name) != Some(value);
        match name.as_str() {
            "timestamp" if !sent_members.contains_key(name) => {
                assert_eq!(value, &now().to_string())
            }
            "level" if kind.as_str() == "log" => {
                let level = value.as_str().expect("a word");
                assert!(LEVELS.contains(&level), "{level}");
            }
            _ => assert!(!is_changed, "{name} was {:?} and is {value}", sent_members.get(name)),
        }
    }
    assert!(sent_members.keys().all(|name| stored.contains_key(name)), "a member is gone");
    let required: &[&str] = match kind.as_str() {
        "log" => &["level", "message", "timestamp"],
        "metric" => &["name", "value", "timestamp"],
        _ => &["source", "timestamp"],
    };
    assert!(required.iter().all(|name| stored.contains_key(*name)), "{stored:?}");
}

/// Words in a line, in any case, that set its level.
const LEVEL_WORDS: [(&str, &[&str]); 6] = [
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
            let stored: Value = serde_json::from_str(text_of(&draft)).expect("JSON");
            assert_eq!(stored["message"].as_str(), Some(text));
            let level = stored["level"].as_str().expect("a level");
            let (_, words) = LEVEL_WORDS.iter().find(|(known, _)| *known == level).expect("known");
            let text = text.to_ascii_lowercase();
            assert!(level == "info" || words.iter().any(|word| text.contains(word)), "{level}");
        }
        ("log" | "metric" | "heartbeat", Ok(draft)) => {
            assert!(is_object);
            json_data(kind.as_str(), text);
            json_data(kind.as_str(), text_of(&draft));
        }
        ("log" | "metric" | "heartbeat", Err(error)) => {
            assert!(kind.as_str() != "log" || is_object, "{text:?} is refused");
            assert!(error.field.starts_with("data"), "{error}");
        }
        (_, draft) => {
            let draft = draft.expect("any text is valid");
            assert_eq!((text_of(&draft), draft.payload().is_json()), (text, false));
        }
    }
}

/// White space between the tokens of JSON makes no difference, and none of it is kept.
pub fn white_space(tokens: &[String], spaces: &[String]) {
    let spaces = spaces.iter().map(String::as_str).chain(std::iter::repeat(""));
    let text: String = tokens.iter().zip(spaces).flat_map(|(t, s)| [s, t.as_str()]).collect();
    let dense = tokens.concat();
    let draft_of = |text: &str| {
        let raw: Box<RawValue> = serde_json::from_str(text).expect("JSON");
        Draft::from_json(streams(), EventType::default(), &raw, now()).expect("valid")
    };
    assert_eq!(draft_parts(&draft_of(&text)), draft_parts(&draft_of(&dense)), "{text:?}");
    if !dense.starts_with('"') {
        assert_eq!(text_of(&draft_of(&text)), dense);
    }
}

/// An event, or its error, is the same alone, in a list and on a line.
pub fn publish(body: &[u8]) {
    let alone = read_json(body, MAX_EVENT_BYTES, now());
    if let Ok(Publish::Batch(drafts)) = &alone {
        assert!((1..=4096).contains(&drafts.len()));
        return;
    }
    let Ok(text) = std::str::from_utf8(body) else {
        return assert!(matches!(alone, Err(BodyError::Unreadable(_))));
    };
    if text.trim_start().starts_with('[') {
        return;
    }
    let in_list = read_json(format!("[{text}]").as_bytes(), MAX_EVENT_BYTES, now());
    // In JSON, a line end is never within a string.
    let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
    let line = text.replace(['\n', '\r'], if is_json { " " } else { "\u{b}" });
    let on_line = read_ndjson(line.as_bytes(), MAX_EVENT_BYTES, now());
    match alone {
        Ok(Publish::One(draft)) => {
            check_draft(text, &draft);
            let Ok(Publish::Batch(in_list)) = in_list else { panic!("{text:?}: {in_list:?}") };
            assert_eq!(in_list.iter().map(draft_parts).collect::<Vec<_>>(), [draft_parts(&draft)]);
            let on_line = on_line.expect("it is one line");
            assert_eq!(on_line.iter().map(draft_parts).collect::<Vec<_>>(), [draft_parts(&draft)]);
        }
        // An error of the data, such as not being an object, may precede the syntax error.
        Err(BodyError::Invalid(_)) if !is_json => {
            assert!(in_list.is_err() && on_line.is_err());
        }
        Err(BodyError::Invalid(error)) => {
            assert!(!error.field.is_empty() && !error.detail.is_empty());
            let Err(BodyError::Invalid(in_list)) = in_list else { panic!("{text:?}: {in_list:?}") };
            assert_eq!(in_list.field, format!("[0].{}", error.field));
            assert!(matches!(on_line, Err(BodyError::Invalid(line)) if line.field == error.field));
        }
        Err(BodyError::TooLarge { size, .. }) => {
            assert!(size > MAX_EVENT_BYTES);
            assert!(matches!(in_list, Err(BodyError::TooLarge { size: s, .. }) if s == size));
            assert!(matches!(on_line, Err(BodyError::TooLarge { size: s, .. }) if s == size));
        }
        // `1, 2` is not JSON, but `[1, 2]` is.
        Err(BodyError::Unreadable(_)) => assert!(on_line.is_err()),
        Ok(Publish::Batch(_)) => unreachable!("it is no list"),
    }
}

/// Compares a draft with its body as `serde_json` reads it.
fn check_draft(text: &str, draft: &Draft) {
    let Ok(body) = serde_json::from_str::<Value>(text) else { return };
    let names: Vec<&str> = match &body["stream"] {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        name => name.as_str().into_iter().collect(),
    };
    assert_eq!(draft.streams().iter().map(StreamName::as_str).collect::<Vec<_>>(), names);
    assert_eq!(draft.kind().as_str(), body["type"].as_str().unwrap_or("message"));
    assert_eq!(draft.key().map(|key| key.as_str()), body["key"].as_str());
    if has_schema(draft.kind()) {
        return assert!(draft.payload().is_json());
    }
    match &body["data"] {
        Value::String(data) => {
            assert_eq!((text_of(draft), draft.payload().is_json()), (&**data, false))
        }
        data => assert_eq!(serde_json::from_str::<Value>(text_of(draft)).ok().as_ref(), Some(data)),
    }
}

/// An NDJSON body contains the events of its lines.
pub fn ndjson_lines(body: &[u8]) {
    let result = read_ndjson(body, MAX_EVENT_BYTES, now());
    let Ok(text) = std::str::from_utf8(body) else {
        return assert!(matches!(result, Err(BodyError::Unreadable(_))));
    };
    let drafts =
        text.split('\n').filter(|line| !line.trim().is_empty()).map(|line| {
            match read_json(line.as_bytes(), MAX_EVENT_BYTES, now()) {
                Ok(Publish::One(draft)) => Some(draft_parts(&draft)),
                _ => None,
            }
        });
    let expected: Option<Vec<_>> = drafts.collect();
    let expected = expected.filter(|drafts| (1..=4096).contains(&drafts.len()));
    assert_eq!(
        result.ok().map(|drafts| drafts.iter().map(draft_parts).collect()),
        expected,
        "{text:?}"
    );
}
