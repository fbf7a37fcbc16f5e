//! OpenAI's format of chats: chunks of Chat Completions, or a whole completion.
//!
//! Clients raise an error on each of these, so there is no `id:`, `retry:` or `event:`, no empty
//! data, nothing that is no chunk and nothing after `[DONE]`. The position is a member of the
//! chunk, `fanfare.seq`.

use super::MAX_JOINED_BYTES;
use super::event::{ChatEvent, Usage};
use super::extra::Extra;
use super::transcript::{Redaction, Transcript};
use crate::wire::record::Record;
use serde_json::{Map, Value, json};

/// Heartbeat that no client takes for an event.
const HEARTBEAT: &[u8] = b": \n\n";

/// Converter to Chat Completions.
#[derive(Debug, Default)]
pub struct Completions {
    chat: String,
    model: String,
    created: u64,
    wants_usage: bool,
    usage: Option<Usage>,
    /// Members that each chunk repeats, because OpenAI's clients use those of the last chunk.
    chunk_members: Map<String, Value>,
    redactions: Vec<Redaction>,
    /// Number of events so far, and number of events that the reader has.
    seq: u64,
    after: u64,
    /// Number of characters of the answer so far.
    characters: u64,
    /// Output that more may be joined to, and the number of its last event.
    pending: Option<(ChatEvent, u64)>,
    has_ended: bool,
}

impl Completions {
    /// Creates a converter for a reader that has the first `after` events. It takes the whole chat
    /// from its start.
    pub fn new(after: u64, wants_usage: bool, redactions: Vec<Redaction>) -> Self {
        Self { after, wants_usage, redactions, ..Self::default() }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(super) fn take(&mut self, record: Record<'_>, out: &mut Vec<u8>) {
        match record {
            Record::Event { data, .. } => {
                if let Ok(event) = serde_json::from_slice(data)
                    && !self.has_ended
                {
                    self.event(event, out);
                }
            }
            Record::Heartbeat => out.extend_from_slice(HEARTBEAT),
            Record::Control(_) | Record::Retry(_) => {}
        }
    }

    fn event(&mut self, event: ChatEvent, out: &mut Vec<u8>) {
        self.seq += 1;
        if event.is_content() {
            return self.push_content(event, out);
        }
        self.flush(out);
        match event {
            ChatEvent::Start { chat, model, created, .. } => {
                (self.chat, self.model, self.created) = (chat_id(&chat), model, created);
                if self.seq > self.after {
                    let role = json!({ "role": "assistant", "content": "" });
                    data(out, &self.chunk(&role, None, self.seq));
                }
            }
            ChatEvent::Extra { extra } => self.extra(extra, out),
            ChatEvent::Usage(usage) => self.usage = Some(usage),
            ChatEvent::Redact { .. } => self.redactions.extend(Redaction::of(&event)),
            ChatEvent::Done { finish_reason, .. } => self.end(&finish_reason, out),
            ChatEvent::Cancelled { .. } | ChatEvent::Error { .. } => {
                self.has_ended = true;
                data(out, &json!({ "error": error_object(&event) }));
            }
            _ => {}
        }
    }

    fn push_content(&mut self, mut event: ChatEvent, out: &mut Vec<u8>) {
        if let ChatEvent::Token { content, index, n, .. } = &mut event {
            if *index != self.characters {
                return self.report_gone(out);
            }
            self.characters += *n;
            *content = Redaction::apply(&self.redactions, content, *index);
        }
        if self.seq <= self.after {
            return;
        }
        let rest = match &mut self.pending {
            Some((pending, _)) => pending.join(event, MAX_JOINED_BYTES),
            None => Some(event),
        };
        match (rest, &mut self.pending) {
            (None, Some((_, last))) => *last = self.seq,
            (None, None) => {}
            (Some(event), _) => {
                self.flush(out);
                self.pending = Some((event, self.seq));
            }
        }
    }

    /// Sends members that the hub does not interpret, in the objects that they came in.
    fn extra(&mut self, extra: Extra, out: &mut Vec<u8>) {
        let Extra { delta, choice, chunk: members } = extra;
        let is_scalar = |value: &Value| !value.is_object() && !value.is_array();
        let scalars = members.iter().filter(|(_, value)| is_scalar(value));
        self.chunk_members.extend(scalars.map(|(name, value)| (name.clone(), value.clone())));
        if self.seq <= self.after {
            return;
        }
        // They may repeat redacted text.
        let is_unredacted = self.redactions.is_empty();
        let (delta, choice) = if is_unredacted { (delta, choice) } else { Default::default() };
        let mut chunk = self.chunk(&delta.into(), None, self.seq);
        chunk.extend(members);
        if let Some(Value::Object(target)) =
            chunk.get_mut("choices").and_then(|choices| choices.get_mut(0))
        {
            target.extend(choice);
        }
        data(out, &chunk);
    }

    /// Reports that retention removed events from the middle of a chat.
    fn report_gone(&mut self, out: &mut Vec<u8>) {
        self.flush(out);
        self.has_ended = true;
        let message = "a part of the chat is no longer stored";
        let error = json!({ "message": message, "type": "gone", "param": null, "code": "gone" });
        data(out, &json!({ "error": error }));
    }

    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        let Some((event, seq)) = self.pending.take() else { return };
        let delta = match event {
            ChatEvent::Reasoning { content } => json!({ "reasoning_content": content }),
            ChatEvent::Refusal { content } => json!({ "refusal": content }),
            ChatEvent::ToolCall { name, arguments, legacy: true, .. } => {
                json!({ "function_call": function(name, arguments) })
            }
            ChatEvent::ToolCall { index, id, name, arguments, extra, .. } => {
                let mut call = call(index, id, function(name, arguments));
                if self.redactions.is_empty() {
                    call.extend(extra.into_call());
                }
                json!({ "tool_calls": [call] })
            }
            ChatEvent::Token { content, .. } => json!({ "content": content }),
            _ => return,
        };
        data(out, &self.chunk(&delta, None, seq));
    }

    pub(super) fn disconnect(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.has_ended, true) {
            let message =
                "the hub closed this stream, but did not end the chat; resume after the last chunk";
            let error = json!({
                "message": message, "type": "server_error", "param": null, "code": "disconnected",
            });
            data(out, &json!({ "error": error }));
        }
    }

    fn end(&mut self, finish_reason: &str, out: &mut Vec<u8>) {
        self.has_ended = true;
        if self.seq > self.after {
            data(out, &self.chunk(&json!({}), Some(finish_reason), self.seq));
        }
        if let Some(usage) = self.usage.take().filter(|_| self.wants_usage) {
            let mut chunk = self.chunk(&json!({}), None, self.seq);
            chunk.insert("choices".into(), json!([]));
            chunk.insert("usage".into(), usage_object(&usage));
            data(out, &chunk);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn chunk(&self, delta: &Value, finish: Option<&str>, seq: u64) -> Map<String, Value> {
        let mut chunk = Map::new();
        chunk.insert("id".into(), self.chat.as_str().into());
        chunk.insert("object".into(), "chat.completion.chunk".into());
        chunk.insert("created".into(), self.created.into());
        chunk.insert("model".into(), self.model.as_str().into());
        let choice =
            json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
        chunk.insert("choices".into(), json!([choice]));
        chunk.extend(self.chunk_members.clone());
        chunk.insert("fanfare".into(), json!({ "seq": seq }));
        chunk
    }
}

/// Prefix of the ids of chats in OpenAI's form.
const PREFIX: &str = "chatcmpl-";

fn chat_id(chat: &str) -> String {
    format!("{PREFIX}{chat}")
}

/// Returns the id of the chat without OpenAI's prefix.
pub fn chunk_id(id: &str) -> &str {
    id.strip_prefix(PREFIX).unwrap_or(id)
}

fn call(index: u64, id: Option<String>, function: Value) -> Map<String, Value> {
    let mut call = Map::new();
    call.insert("index".into(), index.into());
    if let Some(id) = id {
        call.insert("id".into(), id.into());
        call.insert("type".into(), "function".into());
    }
    call.insert("function".into(), function);
    call
}

fn function(name: Option<String>, arguments: String) -> Value {
    let mut function = Map::new();
    if let Some(name) = name {
        function.insert("name".into(), name.into());
    }
    function.insert("arguments".into(), arguments.into());
    function.into()
}

fn usage_object(usage: &Usage) -> Value {
    let mut object = usage.more.clone();
    for (name, count) in [
        ("prompt_tokens", usage.prompt_tokens),
        ("completion_tokens", usage.completion_tokens),
        ("total_tokens", usage.total_tokens),
    ] {
        object.insert(name.into(), count.into());
    }
    object.into()
}

/// Returns OpenAI's error object for a chat that did not end normally.
pub fn error_object(end: &ChatEvent) -> Value {
    let (message, kind, code) = match end {
        ChatEvent::Error {
            code, message, upstream_code, upstream_type, upstream_param, ..
        } => {
            return json!({
                "message": message,
                "type": upstream_type.as_deref().unwrap_or("upstream_error"),
                "param": upstream_param,
                "code": upstream_code.as_deref().unwrap_or(code.as_str()),
            });
        }
        ChatEvent::Cancelled { by } => {
            (format!("the chat was stopped: {by}"), "cancelled", "cancelled")
        }
        _ => ("the chat ended".to_owned(), "server_error", "server_error"),
    };
    json!({ "message": message, "type": kind, "param": null, "code": code })
}

/// Returns a whole chat as one completion.
pub fn completion_object(chat: &str, model: &str, transcript: &Transcript) -> Value {
    let extra = transcript.extra();
    let mut message = extra.delta;
    message.remove("tool_calls");
    message.insert("role".into(), "assistant".into());
    let text = transcript.text();
    let (calls, function) = (transcript.tool_calls(), transcript.function_call());
    let has_calls = calls.is_some() || function.is_some();
    let content = if text.is_empty() && has_calls { Value::Null } else { text.into() };
    message.insert("content".into(), content);
    message.insert("refusal".into(), transcript.refusal().into());
    if let Some(reasoning) = transcript.reasoning() {
        message.insert("reasoning_content".into(), reasoning.into());
    }
    for (name, value) in [("tool_calls", calls), ("function_call", function)] {
        message.extend(value.map(|value| (name.to_owned(), value)));
    }
    let mut choice = extra.choice;
    choice.insert("index".into(), 0.into());
    choice.insert("message".into(), message.into());
    choice.entry("logprobs").or_insert(Value::Null);
    choice.insert("finish_reason".into(), transcript.finish_reason().into());
    let usage = transcript.usage.clone().unwrap_or_default();
    let mut object = extra.chunk;
    object.insert("id".into(), chat_id(chat).into());
    object.insert("object".into(), "chat.completion".into());
    object.insert("created".into(), transcript.created.into());
    object.insert("model".into(), model.into());
    object.insert("choices".into(), json!([choice]));
    object.insert("usage".into(), usage_object(&usage));
    object.insert("fanfare".into(), json!({ "seq": transcript.events }));
    object.into()
}

fn data(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    crate::wire::sse::line(out, b"data: ", &crate::wire::control::json(value));
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::super::ResponseFormat;
    use super::*;
    use crate::event::{Epoch, EventId, Position};
    use crate::wire::record;

    fn events() -> Vec<ChatEvent> {
        let start = ChatEvent::Start {
            chat: "c".into(),
            model: "m".into(),
            created: 7,
            metadata: Map::new(),
            messages: None,
        };
        let usage =
            Usage { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3, ..Usage::default() };
        let done = ChatEvent::Done { finish_reason: "stop".into(), is_final: true };
        vec![
            start,
            ChatEvent::Reasoning { content: "hm".into() },
            ChatEvent::token("aé".into(), 0),
            ChatEvent::token("😀".into(), 2),
            ChatEvent::Usage(usage),
            done,
        ]
    }

    fn read(completions: Completions, events: &[ChatEvent], flush_each: bool) -> String {
        let (mut completions, mut out) = (ResponseFormat::Completions(completions), Vec::new());
        let id = EventId { epoch: Epoch(0), position: Position::ZERO };
        for event in events {
            let json = serde_json::to_vec(event).expect("JSON");
            let mut records = Vec::new();
            record::retry(&mut records, 5);
            record::event(&mut records, id, &json);
            completions.take(&records, &mut out);
            if flush_each {
                completions.flush(&mut out);
            }
        }
        let mut beat = Vec::new();
        record::heartbeat(&mut beat);
        completions.take(&beat, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    fn content(text: &str) -> String {
        let delta_content = |line: &str| {
            let chunk: Value = serde_json::from_str(line.strip_prefix("data: ")?).ok()?;
            Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned())
        };
        text.lines().filter_map(delta_content).collect()
    }

    #[test]
    fn output_has_only_chunks() {
        for flush_each in [true, false] {
            let text = read(Completions::new(0, false, Vec::new()), &events(), flush_each);
            for forbidden in ["id:", "retry:", "event:", "data: \n", "usage"] {
                let is_forbidden = |line: &str| line.starts_with(forbidden);
                assert!(
                    !text.lines().any(is_forbidden) && !text.contains("\"usage\""),
                    "{forbidden}"
                );
            }
            assert!(text.ends_with("data: [DONE]\n\n: \n\n"), "{text}");
            assert_eq!(content(&text), "aé😀");
        }
    }

    #[test]
    fn reader_resumes_after_any_event() {
        let output = read(Completions::new(0, true, Vec::new()), &events(), true);
        let chunks: Vec<&str> = output.split_inclusive("\n\n").collect();
        for after in 0..=6 {
            let rest = read(Completions::new(after, true, Vec::new()), &events(), true);
            // Role, reasoning, two texts; usage and [DONE] are always sent.
            let first = (after as usize).min(4) + usize::from(after == 6);
            assert_eq!(rest, chunks[first..].concat(), "{after}");
        }
    }

    #[test]
    fn incomplete_chat_ends_with_an_error() {
        let mut events = events();
        events.truncate(3);
        events.push(ChatEvent::Cancelled { by: "user".into() });
        let text = read(Completions::new(0, false, Vec::new()), &events, true);
        assert!(!text.contains("[DONE]") && text.contains("\"code\":\"cancelled\""), "{text}");
        let gap = [events[0].clone(), ChatEvent::token("x".into(), 9)];
        assert!(read(Completions::new(0, false, Vec::new()), &gap, true).contains("\"gone\""));
    }
}
