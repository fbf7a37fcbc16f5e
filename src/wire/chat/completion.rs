//! Decoder of the events of upstreams: OpenAI's Chat Completions and similar protocols.
//!
//! It is lenient: missing, null and empty members are the same; members that the hub does not
//! interpret are passed on as an [`Extra`]. Errors are detected first.

use super::event::Usage;
use super::extra::{Extra, meaningful, members_bytes};
use super::surrogates::{Slot, SurrogateJoiner, repaired, without_marks};
use super::upstream_error::UpstreamFailure;
use serde_json::{Map, Value, json};

/// Members of a chunk that the hub sets itself, and does not pass on.
const CHUNK_MEMBERS: [&str; 6] = ["id", "object", "created", "model", "error", "fanfare"];
/// Member of a delta or a message that the hub sets itself.
const ROLE: &str = "role";
/// Finish reasons that report a failure of the model or its operator (OpenRouter, vLLM).
const FAILURES: [&str; 2] = ["error", "abort"];

/// Event of an upstream.
#[derive(Clone, PartialEq, Debug)]
pub enum UpstreamEvent {
    /// The upstream has sent everything.
    End,
    /// A part of an answer.
    Delta(Box<Delta>),
    /// The upstream failed.
    Failure(UpstreamFailure),
    /// A comment, which shows that the upstream is alive.
    Alive,
}

/// A part of an answer; no member of it is empty.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Delta {
    /// More of the answer.
    pub content: Option<String>,
    /// More of the reasoning before the answer.
    pub reasoning: Option<String>,
    /// More of the refusal to answer.
    pub refusal: Option<String>,
    /// More of tool calls.
    pub tools: Vec<ToolPart>,
    /// Finish reason, if there is one.
    pub finish: Option<String>,
    /// Usage.
    pub usage: Option<Usage>,
    /// Result of a filter, if it found something.
    pub filter: Option<Value>,
    /// Range of characters of the answer that must no longer be shown.
    pub redact: Option<(u64, u64)>,
    /// Members that the hub does not interpret.
    pub extra: Extra,
    /// The failure that ends the answer after this part.
    pub trouble: Option<UpstreamFailure>,
}

impl Delta {
    /// Returns true if it has output of the model that the hub interprets.
    pub fn has_known_output(&self) -> bool {
        let texts = [&self.content, &self.reasoning, &self.refusal];
        texts.into_iter().any(Option::is_some) || !self.tools.is_empty()
    }

    /// Returns true if it has output of the model.
    pub fn has_output(&self) -> bool {
        self.has_known_output() || self.extra.is_content()
    }

    /// Drops uninterpreted members of more than `bytes` in total. Returns true if it did.
    pub fn cut_extra_to(&mut self, bytes: usize) -> bool {
        let tool_bytes = self.tools.iter().map(|tool| members_bytes(&tool.extra)).sum::<usize>();
        let is_cut = self.extra.bytes() + tool_bytes > bytes;
        if is_cut {
            self.extra = Extra::default();
            self.tools.iter_mut().for_each(|tool| tool.extra.clear());
        }
        is_cut
    }

    /// Truncates the output to `bytes`, between characters. Returns true if it had more.
    pub fn truncate(&mut self, bytes: usize) -> bool {
        let (mut left, mut is_cut) = (bytes, false);
        for field in [&mut self.reasoning, &mut self.content, &mut self.refusal] {
            is_cut |= field.as_mut().is_some_and(|text| cut(text, &mut left));
            field.take_if(|text| text.is_empty());
        }
        self.tools.retain_mut(|tool| {
            let has_room = left > 0;
            is_cut |= !has_room | cut(&mut tool.arguments, &mut left);
            has_room
        });
        is_cut
    }
}

/// Truncates a text to `left` bytes, between characters. Returns true if it had more.
fn cut(text: &mut String, left: &mut usize) -> bool {
    let limit = text.len().min(*left);
    let at = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let is_cut = at < text.len();
    text.truncate(at);
    // If one character did not fit, nothing may follow in its place.
    *left = if is_cut { 0 } else { *left - at };
    is_cut
}

/// A part of a tool call.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ToolPart {
    /// Index of the call, if it is given.
    pub index: Option<u64>,
    /// Id of the call.
    pub id: Option<String>,
    /// Name of the tool.
    pub name: Option<String>,
    /// More of its arguments.
    pub arguments: String,
    /// True if it is in `function_call`, the predecessor of `tool_calls`.
    pub legacy: bool,
    /// Type of the tool if it is not `function`, in the part that names it.
    pub custom: Option<String>,
    /// Members that the hub does not interpret.
    pub extra: Map<String, Value>,
}

/// Decoder of the events of one answer.
#[derive(Debug, Default)]
pub struct Decoder {
    halves: SurrogateJoiner,
}

impl Decoder {
    /// Decodes the data of an event, or a whole body.
    pub fn decode(&mut self, data: &[u8]) -> UpstreamEvent {
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            return UpstreamEvent::End;
        }
        let (value, has_marks) = match serde_json::from_slice::<Value>(data) {
            Ok(value) => (value, false),
            Err(_) => {
                let (data, has_marks) = repaired(data);
                let Ok(value) = serde_json::from_slice(&data) else {
                    let message = "the upstream sent invalid JSON".to_owned();
                    return UpstreamEvent::Failure(UpstreamFailure {
                        message,
                        ..UpstreamFailure::default()
                    });
                };
                (value, has_marks)
            }
        };
        if let Some(failure) = UpstreamFailure::in_event(&value) {
            return UpstreamEvent::Failure(failure);
        }
        let mut delta = delta(value);
        self.join(&mut delta, has_marks);
        if delta.trouble.is_some() && !delta.has_known_output() {
            // Members beside a failure are no part of an answer.
            delta.extra = Extra::default();
        }
        UpstreamEvent::Delta(Box::new(delta))
    }

    /// Joins surrogate pairs that were split between two chunks.
    fn join(&mut self, delta: &mut Delta, has_marks: bool) {
        let texts = [
            (Slot::Content, &mut delta.content),
            (Slot::Reasoning, &mut delta.reasoning),
            (Slot::Refusal, &mut delta.refusal),
        ];
        for (slot, field) in texts {
            if let Some(text) = field {
                self.halves.join(slot, text, has_marks);
            }
            field.take_if(|text| text.is_empty());
        }
        for part in &mut delta.tools {
            let slot = Slot::Arguments(part.index);
            self.halves.join(slot, &mut part.arguments, has_marks);
        }
        if has_marks {
            scrub_delta(delta);
        }
        if delta.finish.is_some() {
            for slot in self.halves.take_lone() {
                let text = match slot {
                    Slot::Content => delta.content.get_or_insert_default(),
                    Slot::Reasoning => delta.reasoning.get_or_insert_default(),
                    Slot::Refusal => delta.refusal.get_or_insert_default(),
                    Slot::Arguments(index) => {
                        let at = delta.tools.len();
                        delta.tools.push(ToolPart { index, ..ToolPart::default() });
                        &mut delta.tools[at].arguments
                    }
                };
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }
}

/// Replaces the marks of lone surrogates in members that no later chunk continues.
fn scrub_delta(delta: &mut Delta) {
    let Extra { delta: of_delta, choice, chunk } = &mut delta.extra;
    for members in [of_delta, choice, chunk] {
        members.values_mut().for_each(scrub);
    }
    for part in &mut delta.tools {
        part.extra.values_mut().for_each(scrub);
        for text in [&mut part.id, &mut part.name].into_iter().flatten() {
            *text = without_marks(text);
        }
    }
}

fn scrub(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_marks(text),
        Value::Array(items) => items.iter_mut().for_each(scrub),
        Value::Object(members) => members.values_mut().for_each(scrub),
        _ => {}
    }
}

fn delta(value: Value) -> Delta {
    let Value::Object(mut chunk) = value else { return Delta::default() };
    let mut delta = Delta { usage: usage(chunk.remove("usage")), ..Delta::default() };
    // An object without `choices` is no chunk; nothing but its usage is used.
    let Some(choices) = chunk.remove("choices") else { return delta };
    chunk.retain(|name, _| !CHUNK_MEMBERS.contains(&name.as_str()));
    delta.extra.chunk = meaningful(chunk);
    let Value::Array(choices) = choices else { return delta };
    let is_first = |choice: &Value| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0;
    let Some(Value::Object(mut choice)) = choices.into_iter().find(is_first) else { return delta };
    choice.remove("index");
    filter(&mut choice, &mut delta);
    delta.finish = take_text(&mut choice, "finish_reason");
    delta.trouble = failure(&mut choice, &mut delta.finish);
    // Answers that are not streamed have a message. Beside a delta it is the whole answer so far
    // (Perplexity).
    let message = choice.remove("message");
    let parts = choice.remove("delta").filter(Value::is_object).or(message);
    delta.extra.choice = meaningful(choice);
    let Some(Value::Object(mut parts)) = parts else { return delta };
    parts.remove(ROLE);
    let (thinking, others) = take_parts(&mut parts);
    let mut part = |name: &str| parts.remove(name).as_ref().and_then(joined_text);
    delta.content = part("content");
    let (reasoning, other) = (part("reasoning_content"), part("reasoning"));
    delta.reasoning = reasoning.or(other).or(thinking);
    delta.refusal = part("refusal");
    if let Some(Value::Array(calls)) = parts.remove("tool_calls") {
        delta.tools =
            calls.into_iter().enumerate().filter_map(|(at, call)| tool(at, call)).collect();
    }
    if let Some(Value::Object(mut call)) = parts.remove("function_call") {
        let legacy = ToolPart { legacy: true, ..ToolPart::default() };
        delta.tools.push(function(legacy, &mut call));
    }
    delta.extra.delta = meaningful(parts);
    if !others.is_empty() {
        delta.extra.delta.insert("content_parts".into(), others.into());
    }
    delta
}

/// Removes parts of a `content` that are no texts. Returns their reasoning (Mistral), and others.
fn take_parts(parts: &mut Map<String, Value>) -> (Option<String>, Vec<Value>) {
    let Some(Value::Array(content)) = parts.get_mut("content") else { return (None, Vec::new()) };
    let is_other = |part: &mut Value| !part.get("text").is_some_and(Value::is_string);
    let (mut thinking, mut others) = (String::new(), Vec::new());
    for part in content.extract_if(.., is_other) {
        match part.get("thinking").and_then(joined_text) {
            Some(text) => thinking.push_str(&text),
            None => others.push(part),
        }
    }
    (Some(thinking).filter(|text| !text.is_empty()), others)
}

/// Returns the failure that a choice ends with, and then removes the finish reason.
fn failure(
    choice: &mut Map<String, Value>,
    finish: &mut Option<String>,
) -> Option<UpstreamFailure> {
    let error = choice.remove("error").filter(|error| !error.is_null());
    let cause = finish.take_if(|cause| FAILURES.contains(&cause.as_str()));
    match (error, cause) {
        (Some(error), _) => {
            *finish = None;
            Some(UpstreamFailure::of_value(&error))
        }
        (None, Some(cause)) => {
            let message = format!("the upstream ended its answer with the finish reason {cause:?}");
            Some(UpstreamFailure { message, ..UpstreamFailure::default() })
        }
        (None, None) => None,
    }
}

/// Returns a text, or the joined texts of a list of parts.
fn joined_text(value: &Value) -> Option<String> {
    let joined = match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| text(part, "text")).collect(),
        _ => return None,
    };
    (!joined.is_empty()).then_some(joined)
}

fn tool(at: usize, call: Value) -> Option<ToolPart> {
    let Value::Object(mut call) = call else { return None };
    // Calls of one chunk without an index are distinguished by their order.
    let index = call.remove("index").and_then(|index| index.as_u64());
    let index = index.or_else(|| (at > 0).then_some(at as u64));
    let mut part = ToolPart { index, id: take_text(&mut call, "id"), ..ToolPart::default() };
    part.custom = take_text(&mut call, "type").filter(|kind| kind != "function");
    if let Some(Value::Object(mut function_of)) = call.remove("function") {
        part = function(part, &mut function_of);
    }
    part.extra = meaningful(call);
    Some(part)
}

fn function(part: ToolPart, call: &mut Map<String, Value>) -> ToolPart {
    let arguments = match call.remove("arguments") {
        Some(Value::String(text)) => text,
        // Ollama sends a JSON value instead of its text.
        Some(value) if !value.is_null() => value.to_string(),
        _ => String::new(),
    };
    ToolPart { name: take_text(call, "name"), arguments, ..part }
}

fn filter(choice: &mut Map<String, Value>, delta: &mut Delta) {
    let offsets = choice.remove("content_filter_offsets").unwrap_or_default();
    let Some(Value::Object(results)) = choice.remove("content_filter_results") else {
        return;
    };
    let is_hit = |result: &Value| result.get("filtered").and_then(Value::as_bool) == Some(true);
    if !results.values().any(is_hit) {
        return;
    }
    delta.filter = Some(Value::Object(results));
    let offset = |name| offsets.get(name)?.as_u64();
    if let (Some(from), Some(to)) = (offset("start_offset"), offset("end_offset")) {
        delta.redact = Some((from, to)).filter(|(from, to)| from < to);
    }
}

fn usage(value: Option<Value>) -> Option<Usage> {
    let Some(Value::Object(mut members)) = value else { return None };
    let mut count = |name: &str| members.remove(name).and_then(|count| count.as_u64());
    let (prompt, completion) = (count("prompt_tokens"), count("completion_tokens"));
    if prompt.is_none() && completion.is_none() {
        return None;
    }
    let (prompt_tokens, completion_tokens) =
        (prompt.unwrap_or_default(), completion.unwrap_or_default());
    let sum = prompt_tokens.saturating_add(completion_tokens);
    let total_tokens = count("total_tokens").unwrap_or(sum);
    // These names are the hub's own members of its event.
    members.retain(|name, _| !["type", "estimated", "attempts"].contains(&name.as_str()));
    let more = meaningful(members);
    let (estimated, attempts) = (false, 0);
    Some(Usage { prompt_tokens, completion_tokens, total_tokens, estimated, attempts, more })
}

/// Returns the text of a member, if it is not empty.
pub(super) fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn take_text(members: &mut Map<String, Value>, name: &str) -> Option<String> {
    match members.remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

impl ToolPart {
    /// Returns the members of a call that the hub does not interpret, as members of a delta. For a
    /// call of a custom tool these are all of the part.
    pub fn extra_of_delta(&self, index: u64, is_custom: bool) -> Extra {
        let mut call = self.extra.clone();
        if is_custom {
            for (name, value) in [("id", &self.id), ("type", &self.custom)] {
                call.extend(value.clone().map(|value| (name.to_owned(), value.into())));
            }
        }
        if call.is_empty() {
            return Extra::default();
        }
        call.insert("index".into(), index.into());
        let delta = [("tool_calls".to_owned(), json!([call]))].into_iter().collect();
        Extra { delta, ..Extra::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta_of(json: &str) -> Delta {
        match Decoder::default().decode(json.as_bytes()) {
            UpstreamEvent::Delta(delta) => *delta,
            other => panic!("{json}: {other:?}"),
        }
    }

    fn failure_of(json: &str) -> UpstreamFailure {
        match Decoder::default().decode(json.as_bytes()) {
            UpstreamEvent::Failure(failure) => failure,
            other => panic!("{json}: {other:?}"),
        }
    }

    #[test]
    fn null_empty_and_missing_members_are_the_same() {
        for empty in [
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
            assert_eq!(delta_of(empty), Delta::default(), "{empty}");
        }
        assert_eq!(Decoder::default().decode(b" [DONE] "), UpstreamEvent::End);
    }

    #[test]
    fn all_forms_of_a_delta_are_decoded() {
        let content = |json| delta_of(json).content;
        assert_eq!(content(r#"{"choices":[{"delta":{"content":"a"}}]}"#).as_deref(), Some("a"));
        let parts =
            r#"{"choices":[{"delta":{"content":[{"type":"text","text":"a"},{"text":"b"}]}}]}"#;
        assert_eq!(content(parts).as_deref(), Some("ab"));
        let unstreamed = r#"{"choices":[{"message":{"content":"all"},"finish_reason":"eos"}]}"#;
        assert_eq!(content(unstreamed).as_deref(), Some("all"));
        assert_eq!(delta_of(unstreamed).finish.as_deref(), Some("eos"));
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
    fn slightly_invalid_json_is_repaired() {
        let invalid = r#"{"choices":[{"delta":{"content":"a\ud800b\ud83d\ude00 \"NaN\" \\"},"logprobs":[-Infinity,NaN,Infinity]}]}"#;
        assert_eq!(delta_of(invalid).content.as_deref(), Some("a\u{fffd}b\u{1f600} \"NaN\" \\"));
    }

    #[test]
    fn all_forms_of_errors_are_detected_before_the_answer() {
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
            ("<html>", "the upstream sent invalid JSON", None),
        ] {
            let failure = failure_of(json);
            assert_eq!(
                (failure.message.as_str(), failure.code.as_deref()),
                (message, code),
                "{json}"
            );
        }
        assert_eq!(failure_of(r#"{"error":{"code":503,"message":"m"}}"#).status, Some(503));
        assert!(failure_of(r#"{"error":{"code":"content_filter"}}"#).is_of_filter());
        assert_eq!(UpstreamFailure::of_field(br#"{"code":500,"message":"m"}"#).status, Some(500));
        assert_eq!(UpstreamFailure::of_field(b"no").message, "no");
        assert_eq!(UpstreamFailure::of_body(b"<html>", 502).message, "the upstream answered 502");
        assert_eq!(UpstreamFailure::of_body(br#"{"detail":"no"}"#, 400).message, "no");
        let long = format!(r#"{{"error":"{}"}}"#, "é".repeat(5_000));
        assert_eq!(failure_of(&long).message.chars().count(), 1_001);
    }

    #[test]
    fn filter_results_without_a_hit_are_dropped() {
        let quiet = r#"{"choices":[{"delta":{"content":"a"},"content_filter_results":{"hate":{"filtered":false}}}]}"#;
        assert_eq!(delta_of(quiet).filter, None);
        let hit = r#"{"choices":[{"content_filter_offsets":{"check_offset":9,"start_offset":2,"end_offset":5},"content_filter_results":{"hate":{"filtered":true}}}]}"#;
        let delta = delta_of(hit);
        assert_eq!((delta.filter.is_some(), delta.redact), (true, Some((2, 5))));
    }

    #[test]
    fn members_beside_a_delta_or_a_failure_are_dropped() {
        let both = r#"{"choices":[{"delta":{"content":"b"},"message":{"role":"assistant","content":"ab"}}]}"#;
        let delta = delta_of(both);
        assert_eq!((delta.content.as_deref(), delta.extra.is_empty()), (Some("b"), true));
        let failed = r#"{"choices":[{"finish_reason":"error","native_finish_reason":"error","error":{"code":502,"message":"m"}}]}"#;
        let delta = delta_of(failed);
        assert!(!delta.has_output() && delta.finish.is_none(), "{delta:?}");
        assert_eq!(delta.trouble.map(|failure| failure.status), Some(Some(502)));
    }

    #[test]
    fn content_parts_other_than_text_are_passed_on() {
        let json = r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"image","url":"u"},{"type":"text","text":"a"}]}}]}"#;
        let delta = delta_of(json);
        assert_eq!((delta.content.as_deref(), delta.reasoning.as_deref()), (Some("a"), Some("hm")));
        assert_eq!(delta.extra.delta["content_parts"], json!([{ "type": "image", "url": "u" }]));
    }

    #[test]
    fn lone_surrogate_at_the_end_of_an_answer_is_replaced() {
        let json = r#"{"choices":[{"message":{"content":"abc\ud83d"},"finish_reason":"stop"}]}"#;
        assert_eq!(delta_of(json).content.as_deref(), Some("abc\u{fffd}"));
        let private = "{\"choices\":[{\"delta\":{\"content\":\"\u{f0001}\\ud83d\"}}]}";
        assert_eq!(delta_of(private).content.as_deref(), Some("\u{f0001}\u{fffd}"));
    }
}
