//! One event of an upstream that speaks OpenAI's Chat Completions, or something like it.
//!
//! Lenient: what is missing, null or empty is not there, and what is not known is let be. An error is
//! looked for first, in each of the forms that upstreams have for it.

use super::event::Usage;
use serde_json::{Map, Value};

/// What an upstream said.
#[derive(Clone, PartialEq, Debug)]
pub enum Heard {
    /// That it has said everything.
    End,
    /// A part of its answer.
    Delta(Box<Delta>),
    /// That it failed.
    Trouble(Trouble),
}

/// A part of an answer; nothing in it that is empty.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Delta {
    /// More of the answer.
    pub content: Option<String>,
    /// More of what stands before it.
    pub reasoning: Option<String>,
    /// More of why there is none.
    pub refusal: Option<String>,
    /// More of calls of tools.
    pub tools: Vec<ToolPart>,
    /// Why it ended, if it did, in whatever word.
    pub finish: Option<String>,
    /// What it took.
    pub usage: Option<Usage>,
    /// What a filter found, where it found something.
    pub filter: Option<Value>,
    /// The characters of the answer that are not to be shown any more.
    pub redact: Option<(u64, u64)>,
}

impl Delta {
    /// Whether the model says something in it.
    pub fn says_something(&self) -> bool {
        let texts = [&self.content, &self.reasoning, &self.refusal];
        texts.into_iter().any(Option::is_some) || !self.tools.is_empty()
    }

    /// Leaves at most `bytes` of what the model says, whole characters; whether it says more.
    pub fn cut_to(&mut self, bytes: usize) -> bool {
        let (mut left, mut is_cut) = (bytes, false);
        for said in [&mut self.reasoning, &mut self.content, &mut self.refusal] {
            is_cut |= said.as_mut().is_some_and(|text| cut(text, &mut left));
            said.take_if(|text| text.is_empty());
        }
        self.tools.retain_mut(|tool| {
            let has_room = left > 0;
            is_cut |= !has_room | cut(&mut tool.arguments, &mut left);
            has_room
        });
        is_cut
    }
}

/// Leaves as much of a text as there is room for; whether that is not all.
fn cut(text: &mut String, left: &mut usize) -> bool {
    let most = text.len().min(*left);
    let at = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let is_cut = at < text.len();
    text.truncate(at);
    // What one character had no room for, the next one has none either.
    *left = if is_cut { 0 } else { *left - at };
    is_cut
}

/// More of a call of a tool.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ToolPart {
    /// Which of several, where it says so.
    pub index: Option<u64>,
    /// Its name for the result.
    pub id: Option<String>,
    /// The tool.
    pub name: Option<String>,
    /// More of its arguments.
    pub arguments: String,
}

/// An error, as an upstream tells it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trouble {
    /// In words.
    pub message: String,
    /// Its `code` or `type`.
    pub code: Option<String>,
    /// Its `type`.
    pub kind: Option<String>,
    /// What of the request it is about.
    pub param: Option<String>,
    /// Its status, where it says one.
    pub status: Option<u16>,
}

impl Trouble {
    /// Whether it is a filter's.
    pub fn is_of_filter(&self) -> bool {
        [&self.code, &self.kind].into_iter().flatten().any(|word| word.contains("content_filter"))
    }
}

/// What follows a message that is too long to be told whole.
const MAX_MESSAGE_CHARS: usize = 1_000;

/// Understands the data of one event, or a whole body.
pub fn hear(data: &[u8]) -> Heard {
    let data = data.trim_ascii();
    if data == b"[DONE]" {
        return Heard::End;
    }
    let read = serde_json::from_slice::<Value>(data);
    let Ok(value) = read.or_else(|_| serde_json::from_slice(&repaired(data))) else {
        let message = "the upstream sent something that is no JSON".to_owned();
        return Heard::Trouble(Trouble { message, ..Trouble::default() });
    };
    if let Some(trouble) = trouble(&value) {
        return Heard::Trouble(trouble);
    }
    Heard::Delta(Box::new(delta(&value)))
}

impl Trouble {
    /// What the body of a refusal says; `status` where it says nothing.
    pub fn of_body(body: &[u8], status: u16) -> Self {
        let value = serde_json::from_slice::<Value>(body).ok();
        let told = value.as_ref().and_then(|value| {
            let one = value.as_array().and_then(|all| all.first()).unwrap_or(value);
            trouble(one).or_else(|| text(one, "detail").map(Self::of_message))
        });
        let mut trouble = told.unwrap_or_default();
        if trouble.message.is_empty() {
            trouble.message = format!("the upstream answered {status}");
        }
        trouble.status = Some(status);
        trouble
    }

    /// What stands in a field `error`, in whatever form.
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

fn trouble(value: &Value) -> Option<Trouble> {
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
            if let (Some(detail), false) = (text(value, "detail"), all.contains_key("choices")) {
                return Some(Trouble::of_message(detail));
            }
            let is_one = text(value, "object").as_deref() == Some("error")
                || all.get("message").is_some_and(Value::is_string)
                    && !all.contains_key("choices")
                    && (all.contains_key("code") || all.contains_key("type"));
            return is_one.then(|| of_object(all));
        }
    };
    Some(Trouble { code: text(value, "code"), ..Trouble::of_message(told) })
}

fn of_object(error: &Map<String, Value>) -> Trouble {
    let word = |name: &str| match error.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
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
    Trouble { message, code, kind: word("type"), param: word("param"), status }
}

/// What is no JSON by a little, as some write it: numbers that are none, and halves of characters.
fn repaired(data: &[u8]) -> Vec<u8> {
    let (mut out, mut rest, mut is_text) = (Vec::with_capacity(data.len()), data, false);
    while let Some((byte, after)) = rest.split_first() {
        let words: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
        let word = words.into_iter().find(|word| !is_text && rest.starts_with(word));
        if let Some(word) = word {
            out.extend_from_slice(b"null");
            rest = &rest[word.len()..];
        } else if is_text && *byte == b'\\' {
            let length = escape(rest).unwrap_or(2).min(rest.len());
            match is_half(rest) {
                true => out.extend_from_slice(b"\\ufffd"),
                false => out.extend_from_slice(&rest[..length]),
            }
            rest = &rest[length..];
        } else {
            is_text ^= *byte == b'"';
            out.push(*byte);
            rest = after;
        }
    }
    out
}

/// Bytes of an escape of one character: of a pair, both halves.
fn escape(text: &[u8]) -> Option<usize> {
    let high = unit(text)?;
    let is_pair = (0xd800..0xdc00).contains(&high)
        && text.get(6..).and_then(unit).is_some_and(|low| (0xdc00..0xe000).contains(&low));
    Some(if is_pair { 12 } else { 6 })
}

fn is_half(text: &[u8]) -> bool {
    escape(text) == Some(6) && unit(text).is_some_and(|unit| (0xd800..0xe000).contains(&unit))
}

/// The unit of UTF-16 that an escape begins with: `\u` and four digits.
fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn short(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((at, _)) => format!("{}…", &message[..at]),
        None => message.to_owned(),
    }
}

fn delta(value: &Value) -> Delta {
    let mut delta = Delta { usage: usage(value.get("usage")), ..Delta::default() };
    let choices = value.get("choices").and_then(Value::as_array);
    let is_first = |choice: &&Value| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0;
    let Some(choice) = choices.and_then(|choices| choices.iter().find(is_first)) else {
        return delta;
    };
    delta.finish = text(choice, "finish_reason");
    filter(choice, &mut delta);
    // Whole answers of those who do not stream have a message.
    let parts = ["delta", "message"].into_iter().find_map(|name| choice.get(name)?.as_object());
    let Some(parts) = parts else { return delta };
    let part = |name: &str| parts.get(name).and_then(said);
    delta.content = part("content");
    delta.reasoning = part("reasoning_content").or_else(|| part("reasoning"));
    delta.refusal = part("refusal");
    let calls = parts.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice);
    delta.tools =
        calls.unwrap_or_default().iter().enumerate().map(|(at, call)| tool(at, call)).collect();
    if let Some(call) = parts.get("function_call").filter(|call| call.is_object()) {
        delta.tools.push(function(ToolPart::default(), call));
    }
    delta
}

/// A text, or the texts of its parts.
fn said(value: &Value) -> Option<String> {
    let all = match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| text(part, "text")).collect(),
        _ => return None,
    };
    (!all.is_empty()).then_some(all)
}

fn tool(at: usize, call: &Value) -> ToolPart {
    // Those that come together are told apart by their order.
    let index = call.get("index").and_then(Value::as_u64).or_else(|| (at > 0).then_some(at as u64));
    let part = ToolPart { index, id: text(call, "id"), ..ToolPart::default() };
    match call.get("function") {
        Some(call) => function(part, call),
        None => part,
    }
}

fn function(part: ToolPart, call: &Value) -> ToolPart {
    let arguments = match call.get("arguments") {
        Some(Value::String(text)) => text.clone(),
        // Ollama has them as what they mean.
        Some(value) if !value.is_null() => value.to_string(),
        _ => String::new(),
    };
    ToolPart { name: text(call, "name"), arguments, ..part }
}

fn filter(choice: &Value, delta: &mut Delta) {
    let Some(results) = choice.get("content_filter_results").and_then(Value::as_object) else {
        return;
    };
    let is_hit = |result: &Value| result.get("filtered").and_then(Value::as_bool) == Some(true);
    if !results.values().any(is_hit) {
        return;
    }
    delta.filter = Some(Value::Object(results.clone()));
    let offset = |name| choice.get("content_filter_offsets")?.get(name)?.as_u64();
    if let (Some(from), Some(to)) = (offset("start_offset"), offset("end_offset")) {
        delta.redact = Some((from, to)).filter(|(from, to)| from < to);
    }
}

fn usage(value: Option<&Value>) -> Option<Usage> {
    let value = value?.as_object()?;
    let count = |name: &str| value.get(name).and_then(Value::as_u64);
    let (prompt, completion) = (count("prompt_tokens"), count("completion_tokens"));
    if prompt.is_none() && completion.is_none() {
        return None;
    }
    let (prompt_tokens, completion_tokens) =
        (prompt.unwrap_or_default(), completion.unwrap_or_default());
    let sum = prompt_tokens.saturating_add(completion_tokens);
    let total_tokens = count("total_tokens").unwrap_or(sum);
    Some(Usage { prompt_tokens, completion_tokens, total_tokens, estimated: false, attempts: 0 })
}

/// A text that is there and not empty.
fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta_of(json: &str) -> Delta {
        match hear(json.as_bytes()) {
            Heard::Delta(delta) => *delta,
            other => panic!("{json}: {other:?}"),
        }
    }

    fn trouble_of(json: &str) -> Trouble {
        match hear(json.as_bytes()) {
            Heard::Trouble(trouble) => trouble,
            other => panic!("{json}: {other:?}"),
        }
    }

    #[test]
    fn what_is_null_empty_or_missing_is_not_there() {
        for nothing in [
            r#"{"choices":[]}"#,
            r#"{"choices":null}"#,
            "{}",
            "[]",
            "1",
            r#"{"choices":[{"delta":null,"finish_reason":null}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":""}]}"#,
            r#"{"choices":[{"delta":{"content":"","tool_calls":null,"refusal":null}}],"usage":null,"error":null}"#,
            r#"{"choices":[{"index":1,"delta":{"content":"another choice"}}]}"#,
        ] {
            assert_eq!(delta_of(nothing), Delta::default(), "{nothing}");
        }
        assert_eq!(hear(b" [DONE] "), Heard::End);
    }

    #[test]
    fn a_part_is_understood_in_each_of_its_spellings() {
        let content = |json| delta_of(json).content;
        assert_eq!(content(r#"{"choices":[{"delta":{"content":"a"}}]}"#).as_deref(), Some("a"));
        let parts =
            r#"{"choices":[{"delta":{"content":[{"type":"text","text":"a"},{"text":"b"}]}}]}"#;
        assert_eq!(content(parts).as_deref(), Some("ab"));
        let whole = r#"{"choices":[{"message":{"content":"all"},"finish_reason":"eos"}]}"#;
        assert_eq!(content(whole).as_deref(), Some("all"));
        assert_eq!(delta_of(whole).finish.as_deref(), Some("eos"));
        for name in ["reasoning", "reasoning_content"] {
            let json = format!(r#"{{"choices":[{{"delta":{{"{name}":"hm"}}}}]}}"#);
            assert_eq!(delta_of(&json).reasoning.as_deref(), Some("hm"));
        }
        let tools = delta_of(
            r#"{"choices":[{"delta":{"tool_calls":[{"index":2,"id":"c","function":{"name":"f","arguments":"{\"a"}},{"function":{"arguments":{"b":1}}}]}}]}"#,
        )
        .tools;
        assert_eq!((tools[0].index, tools[0].arguments.as_str()), (Some(2), "{\"a"));
        assert_eq!((tools[1].index, tools[1].arguments.as_str()), (Some(1), "{\"b\":1}"));
        let old = delta_of(r#"{"choices":[{"delta":{"function_call":{"name":"f"}}}]}"#).tools;
        assert_eq!(old[0].name.as_deref(), Some("f"));
        let usage = delta_of(r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#);
        assert_eq!(usage.usage.map(|usage| usage.total_tokens), Some(7));
    }

    #[test]
    fn what_is_no_json_by_a_little_is_understood() {
        let odd = r#"{"choices":[{"delta":{"content":"a\ud800b\ud83d\ude00 \"NaN\" \\"},"logprobs":[-Infinity,NaN,Infinity]}]}"#;
        assert_eq!(delta_of(odd).content.as_deref(), Some("a\u{fffd}b\u{1f600} \"NaN\" \\"));
    }

    #[test]
    fn an_error_is_seen_in_each_of_its_forms_and_before_all_else() {
        for (json, message, code) in [
            (
                r#"{"error":{"message":"m","code":"c"},"choices":[{"delta":{"content":"x"}}]}"#,
                "m",
                Some("c"),
            ),
            (r#"{"error":{"message":"m","code":429}}"#, "m", Some("429")),
            (r#"{"error":"m"}"#, "m", None),
            (r#"{"error":{}}"#, "the upstream failed", None),
            (r#"{"object":"error","message":"m","code":40303}"#, "m", Some("40303")),
            (r#"{"message":"m","type":"invalid_request_error"}"#, "m", None),
            (r#"[{"error":{"message":"m"}}]"#, "m", None),
            (r#"{"error":["boom"]}"#, r#"["boom"]"#, None),
            (r#"{"detail":"m"}"#, "m", None),
            ("<html>", "the upstream sent something that is no JSON", None),
        ] {
            let trouble = trouble_of(json);
            assert_eq!(
                (trouble.message.as_str(), trouble.code.as_deref()),
                (message, code),
                "{json}"
            );
        }
        assert_eq!(trouble_of(r#"{"error":{"code":503,"message":"m"}}"#).status, Some(503));
        assert!(trouble_of(r#"{"error":{"code":"content_filter"}}"#).is_of_filter());
        assert_eq!(Trouble::of_field(br#"{"code":500,"message":"m"}"#).status, Some(500));
        assert_eq!(Trouble::of_field(b"no").message, "no");
        assert_eq!(Trouble::of_body(b"<html>", 502).message, "the upstream answered 502");
        assert_eq!(Trouble::of_body(br#"{"detail":"no"}"#, 400).message, "no");
        let long = format!(r#"{{"error":"{}"}}"#, "é".repeat(5_000));
        assert_eq!(trouble_of(&long).message.chars().count(), 1_001);
    }

    #[test]
    fn a_filter_that_found_nothing_says_nothing() {
        let quiet = r#"{"choices":[{"delta":{"content":"a"},"content_filter_results":{"hate":{"filtered":false}}}]}"#;
        assert_eq!(delta_of(quiet).filter, None);
        let hit = r#"{"choices":[{"content_filter_offsets":{"check_offset":9,"start_offset":2,"end_offset":5},"content_filter_results":{"hate":{"filtered":true}}}]}"#;
        let delta = delta_of(hit);
        assert_eq!((delta.filter.is_some(), delta.redact), (true, Some((2, 5))));
    }
}
