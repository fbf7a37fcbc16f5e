//! A whole chat, assembled from its events.

use super::event::{ChatEvent, Usage};
use super::extra::Extra;
use serde_json::{Map, Value, json};

/// Characters that must no longer be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redaction {
    /// Index of the first character.
    pub from: u64,
    /// Index after the last character.
    pub to: u64,
    /// Replacement, of the same number of characters.
    pub replacement: String,
}

impl Redaction {
    /// Returns the redaction of an event, if it is one.
    pub fn of(event: &ChatEvent) -> Option<Self> {
        match event {
            ChatEvent::Redact { from_index, to_index, replacement } => {
                let replacement = replacement.clone();
                Some(Self { from: *from_index, to: *to_index, replacement })
            }
            _ => None,
        }
    }

    /// Returns `text` with `redactions` applied. It has `index` characters before it.
    pub fn apply(redactions: &[Self], text: &str, index: u64) -> String {
        let replacement = |at: u64| {
            let redaction = redactions.iter().find(|r| (r.from..r.to).contains(&at))?;
            redaction.replacement.chars().nth(usize::try_from(at - redaction.from).ok()?)
        };
        let positions = index..;
        text.chars().zip(positions).map(|(c, at)| replacement(at).unwrap_or(c)).collect()
    }
}

/// Maximum number of tool calls of an answer; further ones are ignored, because no upstream has so
/// many.
const MAX_TOOLS: usize = 1_024;

/// A chat so far.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Transcript {
    /// Time of creation, in seconds since 1970.
    pub created: u64,
    /// Metadata of the request.
    pub metadata: Map<String, Value>,
    /// Text of the answer, before redactions.
    text: String,
    characters: u64,
    /// True if events are missing.
    pub is_cut: bool,
    redactions: Vec<Redaction>,
    reasoning: String,
    refusal: String,
    tools: Vec<Tool>,
    extra: Extra,
    /// Usage.
    pub usage: Option<Usage>,
    /// Terminal event, if there is one.
    pub end: Option<ChatEvent>,
    /// Number of events.
    pub events: u64,
}

#[derive(Clone, PartialEq, Debug, Default)]
struct Tool {
    id: Option<String>,
    name: Option<String>,
    arguments: String,
    legacy: bool,
}

impl Transcript {
    /// Adds the next event.
    pub fn add(&mut self, event: ChatEvent) {
        self.is_cut |= self.events == 0 && !matches!(event, ChatEvent::Start { .. });
        self.events += 1;
        match event {
            ChatEvent::Start { created, metadata, .. } => {
                (self.created, self.metadata) = (created, metadata);
            }
            ChatEvent::Token { content, index, n, .. } => {
                self.is_cut |= index != self.characters;
                self.characters = index + n;
                self.text.push_str(&content);
            }
            ChatEvent::Reasoning { content } => self.reasoning.push_str(&content),
            ChatEvent::Refusal { content } => self.refusal.push_str(&content),
            ChatEvent::ToolCall { index, id, name, arguments, legacy, extra } => {
                self.tool(index, Tool { id, name, arguments, legacy });
                self.extra.merge(extra);
            }
            ChatEvent::Extra { extra } => self.extra.merge(extra),
            ChatEvent::Usage(usage) => self.usage = Some(usage),
            ChatEvent::Redact { .. } => self.redactions.extend(Redaction::of(&event)),
            ChatEvent::Status { .. } | ChatEvent::Filter { .. } => {}
            end => self.end = Some(end),
        }
    }

    fn tool(&mut self, index: u64, part: Tool) {
        let Some(at) = usize::try_from(index).ok().filter(|at| *at < MAX_TOOLS) else { return };
        if self.tools.len() <= at {
            self.tools.resize_with(at + 1, Tool::default);
        }
        let tool = &mut self.tools[at];
        tool.id = tool.id.take().or(part.id);
        tool.name = tool.name.take().or(part.name);
        tool.arguments.push_str(&part.arguments);
        tool.legacy |= part.legacy;
    }

    /// Returns the members of the upstream's answer that the hub does not interpret. If a part of
    /// the answer is redacted, the members that may repeat it are left out.
    pub fn extra(&self) -> Extra {
        if self.redactions.is_empty() {
            return self.extra.clone();
        }
        Extra { chunk: self.extra.chunk.clone(), ..Extra::default() }
    }

    /// Returns the text of the answer, after redactions.
    pub fn text(&self) -> String {
        if self.redactions.is_empty() {
            self.text.clone()
        } else {
            Redaction::apply(&self.redactions, &self.text, 0)
        }
    }

    /// Returns the redactions.
    pub fn redactions(&self) -> &[Redaction] {
        &self.redactions
    }

    /// Returns true if a part of an answer exists.
    pub fn is_begun(&self) -> bool {
        let texts = [&self.text, &self.reasoning, &self.refusal];
        !texts.iter().all(|text| text.is_empty())
            || !self.tools.is_empty()
            || self.extra.is_content()
    }

    /// Returns the finish reason of the model, if the answer is complete.
    pub fn finish_reason(&self) -> Option<&str> {
        match &self.end {
            Some(ChatEvent::Done { finish_reason, .. }) => Some(finish_reason),
            _ => None,
        }
    }

    /// Returns `running`, `done`, `cancelled` or `error`.
    pub fn status(&self) -> &'static str {
        match &self.end {
            None => "running",
            Some(ChatEvent::Cancelled { .. }) => "cancelled",
            Some(ChatEvent::Error { .. }) => "error",
            Some(_) => "done",
        }
    }

    /// Returns the tool calls in OpenAI's format; `None` if there are none.
    pub fn tool_calls(&self) -> Option<Value> {
        let mut extras = match self.extra().delta.remove("tool_calls") {
            Some(Value::Array(calls)) => calls,
            _ => Vec::new(),
        };
        let index = |call: &Value| call.get("index").and_then(Value::as_u64);
        let highest = extras.iter().filter_map(index).max().and_then(|at| usize::try_from(at).ok());
        let count = self.tools.len().max(highest.map_or(0, |at| at.saturating_add(1)));
        let calls = (0..count.min(MAX_TOOLS)).filter_map(|at| {
            let has_index = |call: &Value| index(call) == Some(at as u64);
            let extra = extras.iter().position(has_index).map(|at| extras.swap_remove(at));
            self.tool_call(at, extra)
        });
        let calls: Vec<Value> = calls.collect();
        (!calls.is_empty()).then_some(Value::Array(calls))
    }

    /// Returns a call with the members that are not interpreted; a call of a custom tool has only
    /// these.
    fn tool_call(&self, at: usize, extra: Option<Value>) -> Option<Value> {
        let mut call = match extra {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        };
        call.remove("index");
        let is_custom = call.get("type").is_some_and(|kind| kind != "function");
        let is_known = |tool: &&Tool| !is_custom && **tool != Tool::default();
        if let Some(tool) = self.tools.get(at).filter(is_known) {
            if tool.legacy {
                return None;
            }
            call.insert("id".into(), tool.id.clone().into());
            call.insert("type".into(), "function".into());
            let function = json!({ "name": tool.name, "arguments": tool.arguments });
            call.insert("function".into(), function);
        }
        (!call.is_empty()).then_some(Value::Object(call))
    }

    /// Returns the call that the upstream sent as `function_call`; `None` if there is none.
    pub fn function_call(&self) -> Option<Value> {
        let tool = self.tools.iter().find(|tool| tool.legacy)?;
        Some(json!({ "name": tool.name, "arguments": tool.arguments }))
    }

    /// Returns the reasoning before the answer, if there was any.
    pub fn reasoning(&self) -> Option<&str> {
        Some(self.reasoning.as_str()).filter(|text| !text.is_empty())
    }

    /// Returns the refusal of the model, if there was one.
    pub fn refusal(&self) -> Option<&str> {
        Some(self.refusal.as_str()).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redaction_does_not_depend_on_how_the_text_is_split() {
        let text = "aé😀bcdef";
        let redactions = [Redaction { from: 1, to: 4, replacement: "███".into() }];
        for at in 0..=8_usize {
            let (split_index, _) = text.char_indices().nth(at).unwrap_or((text.len(), ' '));
            let (start, end) = text.split_at(split_index);
            let joined = Redaction::apply(&redactions, start, 0)
                + &Redaction::apply(&redactions, end, at as u64);
            assert_eq!(joined, "a███cdef", "{at}");
        }
    }

    #[test]
    fn tool_calls_are_assembled_and_missing_events_detected() {
        let mut transcript = Transcript::default();
        let part = |index, id: Option<&str>, arguments: &str| ChatEvent::ToolCall {
            index,
            id: id.map(str::to_owned),
            name: id.map(|_| "f".to_owned()),
            arguments: arguments.to_owned(),
            legacy: false,
            extra: Extra::default(),
        };
        for event in [
            part(0, Some("x"), ""),
            part(1, Some("y"), "{"),
            part(0, None, "{}"),
            part(1, None, "}"),
        ] {
            transcript.add(event);
        }
        assert!(transcript.is_cut, "its beginning is missing");
        transcript.add(part(u64::MAX, None, "far"));
        let mut gap = Transcript::default();
        let (created, metadata, messages) = (1, Map::new(), None);
        let (chat, model) = ("c".to_owned(), "m".to_owned());
        gap.add(ChatEvent::Start { chat, model, created, metadata, messages });
        gap.add(ChatEvent::token("ab".into(), 0));
        assert!(!gap.is_cut);
        gap.add(ChatEvent::token("d".into(), 3));
        assert!(gap.is_cut, "its middle is missing");
        let calls = transcript.tool_calls().expect("calls");
        assert_eq!(calls[0]["function"]["arguments"], "{}");
        assert_eq!((&calls[1]["id"], &calls[1]["function"]["name"]), (&json!("y"), &json!("f")));
        assert!(transcript.is_begun() && transcript.status() == "running");
    }

    #[test]
    fn custom_tool_calls_keep_their_place() {
        let mut transcript = Transcript::default();
        let custom = json!({ "delta": { "tool_calls": [
            { "index": 1, "id": "c", "type": "custom", "custom": { "input": "x" } },
        ] } });
        let signed = json!({ "delta": { "tool_calls": [{ "index": 2, "signature": "s" }] } });
        let extra = |value| serde_json::from_value::<Extra>(value).expect("an extra");
        let call = |index, id: &str, extra| ChatEvent::ToolCall {
            index,
            id: Some(id.to_owned()),
            name: Some("f".to_owned()),
            arguments: "{}".to_owned(),
            legacy: false,
            extra,
        };
        transcript.add(call(0, "a", Extra::default()));
        transcript.add(ChatEvent::Extra { extra: extra(custom) });
        transcript.add(call(2, "b", extra(signed)));
        let calls = transcript.tool_calls().expect("calls");
        let ids: Vec<&Value> = (0..3).map(|at| &calls[at]["id"]).collect();
        assert_eq!(ids, ["a", "c", "b"]);
        assert_eq!((&calls[1]["type"], &calls[2]["signature"]), (&json!("custom"), &json!("s")));
        assert_eq!((calls[1].get("function"), calls.as_array().map(Vec::len)), (None, Some(3)));
    }
}
