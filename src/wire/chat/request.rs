//! Requests to a model, in the native form or in OpenAI's.

use crate::event::Invalid;
use crate::wire::BodyError;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// Maximum number of `metadata` pairs, and of characters of each name and value, as in OpenAI's
/// API.
const MAX_METADATA: usize = 16;
const MAX_METADATA_CHARS: usize = 512;
/// Members of the native form.
const NATIVE: [&str; 6] = ["message", "messages", "model", "max_tokens", "temperature", "metadata"];
/// Members that choose the form of the answer, not its content.
const FORM_MEMBERS: [&str; 2] = ["stream", "stream_options"];
/// The member of `stream_options` that asks for the usage.
const INCLUDE_USAGE: &str = "include_usage";

/// Policy for asking an upstream for usage (`stream_options.include_usage`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StreamUsage {
    /// Unless the client sends `stream_options`, and until the upstream refuses them.
    #[default]
    Auto,
    /// Always, whatever the client sends.
    Always,
    /// Never.
    Never,
}

/// A request to a model.
#[derive(Clone, PartialEq, Debug)]
pub struct ChatRequest {
    /// Model; the default one if it is not set.
    pub model: Option<String>,
    /// True if the answer is streamed.
    pub stream: bool,
    /// True if the stream includes the usage.
    pub include_usage: bool,
    /// Metadata.
    pub metadata: Map<String, Value>,
    /// Maximum number of tokens of the answer.
    pub max_tokens: Option<u64>,
    /// SHA-256 of the request in hexadecimal digits.
    pub fingerprint: String,
    /// The client's own `stream_options`; empty if it sent null or `{}`.
    stream_options: Option<Map<String, Value>>,
    /// Members that are sent to the upstream, except the model.
    members: Map<String, Value>,
}

impl ChatRequest {
    /// Reads `{"message": …}` or `{"messages": […]}` with `model`, `max_tokens`, `temperature` and
    /// `metadata`.
    pub fn native(body: &[u8]) -> Result<Self, BodyError> {
        let mut members = object(body)?;
        if let Some(name) = members.keys().find(|name| !NATIVE.contains(&name.as_str())) {
            return Err(Invalid::new(name.as_str(), format!("unknown member `{name}`")).into());
        }
        if let Some(message) = members.remove("message") {
            let invalid = |why| Err(Invalid::new("message", why).into());
            if members.contains_key("messages") {
                return invalid("give `message` or `messages`, not both");
            }
            let Some(text) = message.as_str().filter(|text| !text.is_empty()) else {
                return invalid("must be a non-empty string");
            };
            members.insert("messages".into(), json!([{ "role": "user", "content": text }]));
        }
        if let Some(value) = members.get("temperature")
            && !value.as_f64().is_some_and(|number| (0.0..=2.0).contains(&number))
        {
            return Err(Invalid::new("temperature", "must be a number from 0 to 2").into());
        }
        Ok(Self { stream: true, ..Self::of("native", members)? })
    }

    /// Reads a request of OpenAI's Chat Completions. Members that the hub does not know are sent to
    /// the upstream unchanged.
    pub fn completion(body: &[u8]) -> Result<Self, BodyError> {
        let mut members = object(body)?;
        if let Some(n) = members.remove("n")
            && !(n.is_null() || n == 1)
        {
            return Err(Invalid::new("n", "must be 1, because a chat has one answer").into());
        }
        let stream = match members.get("stream") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(stream)) => *stream,
            Some(_) => return Err(Invalid::new("stream", "must be true or false").into()),
        };
        let stream_options = match members.get("stream_options") {
            None => None,
            Some(Value::Null) => Some(Map::new()),
            Some(Value::Object(options)) => Some(options.clone()),
            Some(_) => return Err(Invalid::new("stream_options", "must be an object").into()),
        };
        let wants_usage = stream_options.as_ref().and_then(|options| options.get(INCLUDE_USAGE));
        let include_usage = wants_usage == Some(&Value::Bool(true));
        let request = Self::of("completion", members)?;
        Ok(Self { stream, include_usage, stream_options, ..request })
    }

    fn of(form: &str, mut members: Map<String, Value>) -> Result<Self, Invalid> {
        if !members.contains_key("messages") && form == "native" {
            return Err(Invalid::new("message", "`message` or `messages` is required"));
        }
        for name in FORM_MEMBERS {
            members.remove(name);
        }
        // Equal requests have equal fingerprints, whatever the order of their members.
        let hasher = Sha256::new()
            .chain_update(form)
            .chain_update(Value::Object(members.clone()).to_string());
        let fingerprint = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        check_messages(members.get("messages"))?;
        let model = match members.remove("model") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) if !name.is_empty() => Some(name),
            Some(_) => return Err(Invalid::new("model", "must be the name of a model")),
        };
        let metadata = match members.get("metadata") {
            None | Some(Value::Null) => Map::new(),
            Some(value) => metadata(value)?,
        };
        let max_tokens = max_tokens(&members)?;
        Ok(Self {
            model,
            stream: false,
            include_usage: false,
            metadata,
            max_tokens,
            fingerprint,
            stream_options: None,
            members,
        })
    }

    /// Returns the messages as they were given.
    pub fn messages(&self) -> &Value {
        self.members.get("messages").unwrap_or(&Value::Null)
    }

    /// Returns the text of the last message.
    pub fn last_text(&self) -> String {
        let content =
            self.messages().as_array().and_then(|messages| messages.last()?.get("content"));
        match content {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => {
                parts.iter().filter_map(|part| part.get("text")?.as_str()).collect()
            }
            _ => String::new(),
        }
    }

    /// Returns the approximate number of characters of the messages, to estimate tokens from.
    pub fn characters(&self) -> u64 {
        self.messages().to_string().chars().count() as u64
    }

    /// Returns the body for an upstream: for `model`, streamed, with at most `max_tokens`. `usage`
    /// is `None` for an upstream that takes no `stream_options`.
    pub fn for_upstream(
        &self,
        model: &str,
        max_tokens: Option<u64>,
        usage: Option<StreamUsage>,
    ) -> Vec<u8> {
        let mut body = self.members.clone();
        body.insert("model".into(), model.into());
        body.insert("stream".into(), true.into());
        if let Some(options) = usage.and_then(|usage| self.options(usage)) {
            body.insert("stream_options".into(), options.into());
        }
        // Only the client knows which of the two the model takes, so none is added.
        for name in ["max_tokens", "max_completion_tokens"] {
            if let (Some(max), Some(value)) = (max_tokens, body.get_mut(name)) {
                *value = max.into();
            }
        }
        Value::Object(body).to_string().into_bytes()
    }
}

impl ChatRequest {
    /// Returns true if the body for an upstream has `stream_options`.
    pub fn has_options(&self, usage: StreamUsage) -> bool {
        self.options(usage).is_some()
    }

    /// Returns true if the `stream_options` for an upstream ask for the usage and for nothing else.
    pub fn asks_for_usage_alone(&self, usage: StreamUsage) -> bool {
        let alone = [(INCLUDE_USAGE.to_owned(), Value::Bool(true))].into_iter().collect();
        self.options(usage) == Some(alone)
    }

    /// Returns the `stream_options` for an upstream; `None` if there are none.
    fn options(&self, usage: StreamUsage) -> Option<Map<String, Value>> {
        let mut options = self.stream_options.clone().unwrap_or_default();
        options.retain(|_, value| !value.is_null());
        match usage {
            StreamUsage::Auto if self.stream_options.is_some() => {}
            StreamUsage::Auto | StreamUsage::Always => {
                options.insert(INCLUDE_USAGE.into(), true.into());
            }
            StreamUsage::Never => drop(options.remove(INCLUDE_USAGE)),
        }
        (!options.is_empty()).then_some(options)
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, BodyError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(BodyError::Unreadable("the body must be a JSON object".into())),
        Err(e) => Err(BodyError::Unreadable(format!("the body is not JSON: {e}"))),
    }
}

fn check_messages(messages: Option<&Value>) -> Result<(), Invalid> {
    let invalid = |why: &str| Err(Invalid::new("messages", why));
    let Some(messages) = messages.and_then(Value::as_array) else {
        return invalid("must be a list of messages");
    };
    if messages.is_empty() {
        return invalid("must have at least one message");
    }
    let has_role = |message: &Value| {
        message.get("role").and_then(Value::as_str).is_some_and(|role| !role.is_empty())
    };
    match messages.iter().position(|message| !has_role(message)) {
        Some(at) => Err(Invalid::new(format!("messages[{at}]"), "must be an object with a `role`")),
        None => Ok(()),
    }
}

fn metadata(value: &Value) -> Result<Map<String, Value>, Invalid> {
    let invalid = || {
        let why = format!(
            "must be an object with at most {MAX_METADATA} strings; names and strings have at most \
             {MAX_METADATA_CHARS} characters"
        );
        Invalid::new("metadata", why)
    };
    let is_short = |text: &str| text.chars().count() <= MAX_METADATA_CHARS;
    let pairs = value.as_object().ok_or_else(invalid)?;
    let are_short =
        pairs.iter().all(|(name, value)| is_short(name) && value.as_str().is_some_and(is_short));
    if pairs.len() > MAX_METADATA || !are_short {
        return Err(invalid());
    }
    Ok(pairs.clone())
}

fn max_tokens(members: &Map<String, Value>) -> Result<Option<u64>, Invalid> {
    let mut max = None;
    for name in ["max_tokens", "max_completion_tokens"] {
        match members.get(name) {
            None | Some(Value::Null) => {}
            Some(value) => match value.as_u64().filter(|count| *count > 0) {
                Some(count) => max = Some(max.map_or(count, |max: u64| max.min(count))),
                None => return Err(Invalid::new(name, "must be a positive integer")),
            },
        }
    }
    Ok(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(body: &str) -> Result<ChatRequest, String> {
        ChatRequest::native(body.as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn message_becomes_a_list_of_one_message() {
        let request = native(r#"{"message":"hi","temperature":0.5}"#).expect("ok");
        assert_eq!(request.messages(), &json!([{ "role": "user", "content": "hi" }]));
        let body: Value =
            serde_json::from_slice(&request.for_upstream("m", None, Some(StreamUsage::Auto)))
                .expect("JSON");
        assert_eq!(body["model"], "m");
        assert_eq!(body["temperature"], 0.5);
        assert_eq!(body["stream_options"], json!({ "include_usage": true }));
        let same = native(r#"{"temperature":0.5,"messages":[{"content":"hi","role":"user"}]}"#);
        assert_eq!(same.expect("ok").fingerprint, request.fingerprint, "same request, reordered");
        assert_ne!(native(r#"{"message":"ho"}"#).expect("ok").fingerprint, request.fingerprint);
    }

    #[test]
    fn fingerprint_is_the_same_for_reformatted_numbers() {
        let digits = format!("{}9", "7".repeat(126));
        for number in ["0.1", "1.7976931348623157e308", "9007199254740993.5", &digits] {
            let read = |text: &str| {
                let body = json!({ "messages": [{ "role": "user" }] }).to_string();
                ChatRequest::completion(
                    body.replacen('{', &format!(r#"{{"seed":{text},"#), 1).as_bytes(),
                )
            };
            let value: Value = serde_json::from_str(number).expect("JSON");
            let (request, reread) =
                (read(number).expect("ok"), read(&value.to_string()).expect("ok"));
            assert_eq!(request.fingerprint, reread.fingerprint, "{number}");
        }
    }

    #[test]
    fn invalid_member_is_refused_by_name() {
        for (body, field) in [
            (r#"{"message":""}"#, "message"),
            (r#"{"message":1}"#, "message"),
            (r#"{"message":"a","messages":[]}"#, "message"),
            (r#"{}"#, "message"),
            (r#"{"messages":[]}"#, "messages"),
            (r#"{"messages":[{"role":"user"},{"content":"x"}]}"#, "messages[1]"),
            (r#"{"message":"a","model":""}"#, "model"),
            (r#"{"message":"a","max_tokens":0}"#, "max_tokens"),
            (r#"{"message":"a","temperature":3}"#, "temperature"),
            (r#"{"message":"a","metadata":{"a":1}}"#, "metadata"),
            (r#"{"message":"a","mesage":"b"}"#, "mesage"),
        ] {
            match ChatRequest::native(body.as_bytes()) {
                Err(BodyError::Invalid(invalid)) => assert_eq!(invalid.field, field, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
        for unreadable in ["", "[]", "{", "\"x\""] {
            assert!(matches!(
                ChatRequest::native(unreadable.as_bytes()),
                Err(BodyError::Unreadable(_))
            ));
        }
    }

    #[test]
    fn completion_is_passed_on_except_members_of_its_form() {
        let body = br#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"stream":true,"stream_options":{"include_usage":true},"n":1,"seed":7,"max_completion_tokens":90}"#;
        let request = ChatRequest::completion(body).expect("ok");
        assert_eq!(
            (request.stream, request.include_usage, request.max_tokens),
            (true, true, Some(90))
        );
        assert_eq!(request.last_text(), "hi");
        let sent: Value =
            serde_json::from_slice(&request.for_upstream("m", Some(20), Some(StreamUsage::Auto)))
                .expect("JSON");
        assert_eq!((&sent["seed"], &sent["max_completion_tokens"]), (&json!(7), &json!(20)));
        assert_eq!(sent.get("n"), None);
        let other = br#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"seed":7,"max_completion_tokens":90}"#;
        assert_eq!(ChatRequest::completion(other).expect("ok").fingerprint, request.fingerprint);
        assert!(ChatRequest::completion(br#"{"messages":[{"role":"user"}],"n":2}"#).is_err());
    }

    #[test]
    fn usage_is_requested_as_client_and_setting_specify() {
        use StreamUsage::{Always, Auto, Never};
        let sent = |options: &str, usage| {
            let body = format!(r#"{{"messages":[{{"role":"user"}}]{options}}}"#);
            let request = ChatRequest::completion(body.as_bytes()).expect("ok");
            let sent =
                serde_json::from_slice::<Value>(&request.for_upstream("m", None, Some(usage)));
            sent.expect("JSON").get("stream_options").cloned()
        };
        let (on, off) = (json!({ "include_usage": true }), json!({ "include_usage": false }));
        for (options, auto, always) in [
            ("", Some(on.clone()), Some(on.clone())),
            (r#","stream_options":null"#, None, Some(on.clone())),
            (r#","stream_options":{"include_usage":null}"#, None, Some(on.clone())),
            (r#","stream_options":{"include_usage":false}"#, Some(off), Some(on.clone())),
            (r#","stream_options":{"include_usage":true}"#, Some(on.clone()), Some(on)),
        ] {
            assert_eq!(sent(options, Auto), auto, "{options}");
            assert_eq!(sent(options, Always), always, "{options}");
            assert_eq!(sent(options, Never), None, "{options}");
        }
    }
}
