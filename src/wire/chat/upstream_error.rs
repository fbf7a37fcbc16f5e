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
        [&self.code, &self.kind].into_iter().flatten().any(|text| text.contains("content_filter"))
    }
}

impl UpstreamFailure {
    /// Returns the error in an event or a body, if there is one.
    pub(super) fn in_event(value: &Value) -> Option<Self> {
        failure(value)
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
        let reported = value.as_ref().and_then(|value| {
            let object = value.as_array().and_then(|items| items.first()).unwrap_or(value);
            failure(object).or_else(|| detail(object).map(Self::of_message))
        });
        let mut failure = reported.unwrap_or_default();
        if failure.message.is_empty() {
            failure.message = format!("the upstream answered {status}");
        }
        failure.status = Some(status);
        failure
    }

    /// Reads the value of the SSE field `error`, in any form.
    pub fn of_field(text: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(text) {
            Ok(Value::Object(error)) => {
                failure(&Value::Object(error.clone())).unwrap_or_else(|| of_object(&error))
            }
            _ => Self::of_message(String::from_utf8_lossy(text).into_owned()),
        }
    }

    fn of_message(message: String) -> Self {
        Self { message: short(&message), ..Self::default() }
    }
}

fn failure(value: &Value) -> Option<UpstreamFailure> {
    let message = match value.get("error") {
        Some(Value::Object(error)) => return Some(of_object(error)),
        Some(Value::String(message)) if !message.is_empty() => message.clone(),
        Some(Value::Bool(true)) => text(value, "message").unwrap_or_default(),
        Some(other @ (Value::Array(_) | Value::Number(_))) => other.to_string(),
        _ => {
            if let Some(first) = value.as_array().and_then(|items| items.first()) {
                return failure(first);
            }
            // Flat: the object itself is the error.
            let members = value.as_object()?;
            if let Some(detail) = detail(value)
                && !members.contains_key("choices")
            {
                return Some(UpstreamFailure::of_message(detail));
            }
            let is_error = text(value, "object").as_deref() == Some("error")
                || members.get("message").is_some_and(Value::is_string)
                    && !members.contains_key("choices")
                    && (members.contains_key("code") || members.contains_key("type"));
            return is_error.then(|| of_object(members));
        }
    };
    Some(UpstreamFailure {
        code: text(value, "code").map(|code| short(&code)),
        ..UpstreamFailure::of_message(message)
    })
}

/// Returns the `detail` of FastAPI's errors: a text, or a list of faults and their locations.
fn detail(value: &Value) -> Option<String> {
    match value.get("detail")? {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Array(faults) if !faults.is_empty() => {
            Some(faults.iter().map(fault_detail).collect::<Vec<_>>().join("; "))
        }
        Value::Object(detail) if !detail.is_empty() => Some(
            text(value.get("detail")?, "message")
                .unwrap_or_else(|| Value::Object(detail.clone()).to_string()),
        ),
        _ => None,
    }
}

fn fault_detail(fault: &Value) -> String {
    let Some(message) = text(fault, "msg") else { return fault.to_string() };
    let to_text = |part: &Value| part.as_str().map_or_else(|| part.to_string(), str::to_owned);
    let location = fault.get("loc").and_then(Value::as_array);
    match location.filter(|location| !location.is_empty()) {
        Some(location) => {
            let location: Vec<String> = location.iter().map(to_text).collect();
            format!("{}: {message}", location.join("."))
        }
        None => message,
    }
}

fn of_object(error: &Map<String, Value>) -> UpstreamFailure {
    let member = |name: &str| match error.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(short(text)),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let code = member("code");
    let as_status = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<u16>().ok());
    let status = as_status(&member("status")).or(as_status(&code));
    let message = member("message").or_else(|| member("detail")).unwrap_or_default();
    let message =
        if message.is_empty() { "the upstream failed".to_owned() } else { short(&message) };
    let status = status.filter(|status| (400..600).contains(status));
    UpstreamFailure { message, code, kind: member("type"), param: member("param"), status }
}

fn short(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((at, _)) => format!("{}…", &message[..at]),
        None => message.to_owned(),
    }
}
