//! Errors of upstreams, in all of their formats.

use super::completion::text;
use serde_json::{Map, Value};

/// Maximum length of a message; the rest is replaced by `…`.
const MAX_MESSAGE_CHARS: usize = 1_000;

/// An error that an upstream reports.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UpstreamFailure {
    /// Description of the failure.
    pub message: String,
    /// The member `code`.
    pub code: Option<String>,
    /// The member `type`.
    pub kind: Option<String>,
    /// The member `param`: the part of the request that is at fault.
    pub param: Option<String>,
    /// The HTTP status, if the error has one.
    pub status: Option<u16>,
}

impl UpstreamFailure {
    /// Returns true if it is about a member of the request.
    pub fn names(&self, member: &str) -> bool {
        self.param.as_deref() == Some(member) || self.message.contains(member)
    }

    /// Returns true if a content filter caused it.
    pub fn is_of_filter(&self) -> bool {
        [&self.code, &self.kind].into_iter().flatten().any(|word| word.contains("content_filter"))
    }
}

impl UpstreamFailure {
    /// Returns the error in an event or a body, if there is one.
    pub(super) fn in_event(value: &Value) -> Option<Self> {
        trouble(value)
    }

    /// Returns the error in a value of any form.
    pub(super) fn of_value(error: &Value) -> Self {
        match error {
            Value::Object(error) => of_object(error),
            Value::String(message) if !message.is_empty() => Self::of_message(message.clone()),
            Value::String(_) => of_object(&Map::new()),
            other => Self::of_message(other.to_string()),
        }
    }

    /// Reads an error body; the message names `status` if the body has none.
    pub fn of_body(body: &[u8], status: u16) -> Self {
        let value = serde_json::from_slice::<Value>(body).ok();
        let told = value.as_ref().and_then(|value| {
            let one = value.as_array().and_then(|all| all.first()).unwrap_or(value);
            trouble(one).or_else(|| detail(one).map(Self::of_message))
        });
        let mut trouble = told.unwrap_or_default();
        if trouble.message.is_empty() {
            trouble.message = format!("the upstream answered {status}");
        }
        trouble.status = Some(status);
        trouble
    }

    /// Reads the value of the SSE field `error`, in any form.
    pub fn of_field(text: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(text) {
            Ok(Value::Object(error)) => {
                trouble(&Value::Object(error.clone())).unwrap_or_else(|| of_object(&error))
            }
            _ => Self::of_message(String::from_utf8_lossy(text).into_owned()),
        }
    }

    fn of_message(message: String) -> Self {
        Self { message: short(&message), ..Self::default() }
    }
}

fn trouble(value: &Value) -> Option<UpstreamFailure> {
    let told = match value.get("error") {
        Some(Value::Object(error)) => return Some(of_object(error)),
        Some(Value::String(message)) if !message.is_empty() => message.clone(),
        Some(Value::Bool(true)) => text(value, "message").unwrap_or_default(),
        Some(other @ (Value::Array(_) | Value::Number(_))) => other.to_string(),
        _ => {
            if let Some(first) = value.as_array().and_then(|all| all.first()) {
                return trouble(first);
            }
            // Flat: the object itself is the error.
            let all = value.as_object()?;
            if let Some(detail) = detail(value)
                && !all.contains_key("choices")
            {
                return Some(UpstreamFailure::of_message(detail));
            }
            let is_one = text(value, "object").as_deref() == Some("error")
                || all.get("message").is_some_and(Value::is_string)
                    && !all.contains_key("choices")
                    && (all.contains_key("code") || all.contains_key("type"));
            return is_one.then(|| of_object(all));
        }
    };
    Some(UpstreamFailure {
        code: text(value, "code").map(|code| short(&code)),
        ..UpstreamFailure::of_message(told)
    })
}

/// Returns the `detail` of FastAPI's errors: a text, or a list of faults and their places.
fn detail(value: &Value) -> Option<String> {
    match value.get("detail")? {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Array(all) if !all.is_empty() => {
            Some(all.iter().map(one_detail).collect::<Vec<_>>().join("; "))
        }
        Value::Object(detail) if !detail.is_empty() => Some(
            text(value.get("detail")?, "message")
                .unwrap_or_else(|| Value::Object(detail.clone()).to_string()),
        ),
        _ => None,
    }
}

fn one_detail(one: &Value) -> String {
    let Some(message) = text(one, "msg") else { return one.to_string() };
    let word = |part: &Value| part.as_str().map_or_else(|| part.to_string(), str::to_owned);
    let place = one.get("loc").and_then(Value::as_array);
    match place.filter(|place| !place.is_empty()) {
        Some(place) => {
            let place: Vec<String> = place.iter().map(word).collect();
            format!("{}: {message}", place.join("."))
        }
        None => message,
    }
}

fn of_object(error: &Map<String, Value>) -> UpstreamFailure {
    let word = |name: &str| match error.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(short(text)),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let code = word("code");
    let as_status = |word: &Option<String>| word.as_ref().and_then(|word| word.parse::<u16>().ok());
    let status = as_status(&word("status")).or(as_status(&code));
    let message = word("message").or_else(|| word("detail")).unwrap_or_default();
    let message =
        if message.is_empty() { "the upstream failed".to_owned() } else { short(&message) };
    let status = status.filter(|status| (400..600).contains(status));
    UpstreamFailure { message, code, kind: word("type"), param: word("param"), status }
}

fn short(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((at, _)) => format!("{}…", &message[..at]),
        None => message.to_owned(),
    }
}
