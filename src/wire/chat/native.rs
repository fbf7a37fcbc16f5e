//! The hub's native format of chats: the events of the journal, with texts that are available
//! together joined.

use super::MAX_JOINED_BYTES;
use super::blocks::Block;
use super::event::ChatEvent;
use super::extra::Extra;
use super::transcript::Redaction;
use serde::Serialize;
use serde_json::json;

/// Converter to the native format.
#[derive(Debug, Default)]
pub struct Native {
    /// Text so far, if the reader wants it with every part.
    accumulated: Option<String>,
    redactions: Vec<Redaction>,
    waiting: Option<Waiting>,
    has_ended: bool,
    /// True if the end of a connection is reported with a terminal event, because the reader gets
    /// no control events.
    reports_disconnect: bool,
    has_said: bool,
}

/// Output that more may be joined to, with the id of its last part.
#[derive(Debug)]
struct Waiting {
    retry: Option<String>,
    id: String,
    event: ChatEvent,
}

/// A part with the text so far.
#[derive(Serialize)]
struct Part<'a> {
    #[serde(flatten)]
    event: &'a ChatEvent,
    #[serde(skip_serializing_if = "Option::is_none")]
    accumulated: Option<&'a str>,
}

impl Native {
    /// Creates a converter that applies `redactions`; `accumulated` is the text so far, for a
    /// reader that wants the whole text with every part.
    pub fn new(redactions: Vec<Redaction>, accumulated: Option<String>) -> Self {
        Self { accumulated, redactions, ..Self::default() }
    }

    /// Reports a connection that ends before the chat with a terminal event: for readers who asked
    /// for no control events. `has_said` is true if they have a part of the answer already.
    pub fn with_disconnect_event(self, has_said: bool) -> Self {
        Self { reports_disconnect: true, has_said, ..self }
    }

    /// Appends a terminal event for a connection that ends before the chat. It has no id, so that a
    /// resume continues the chat.
    pub(super) fn break_off(&mut self, out: &mut Vec<u8>) {
        if !self.reports_disconnect || std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let message =
            "the hub closed this connection, but did not end the chat; resume after the last event";
        let end = json!({
            "type": "error", "code": "disconnected", "message": message,
            "retryable": true, "partial": self.has_said, "upstream_status": null,
        });
        line(out, "data: ", &crate::wire::control::json(&end));
        out.push(b'\n');
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(super) fn take(&mut self, block: &Block<'_>, out: &mut Vec<u8>) {
        if block.is_comment {
            return out.extend_from_slice(block.raw);
        }
        let event = block.event();
        if let Some(event) = event.as_ref().filter(|event| event.is_content()) {
            return self.say(block, self.shown(event), out);
        }
        self.flush(out);
        // Members that are not interpreted may repeat redacted text.
        if let Some(ChatEvent::Extra { .. }) = event
            && !self.redactions.is_empty()
        {
            return;
        }
        out.extend_from_slice(block.raw);
        let Some(event) = event else { return };
        self.has_ended |= event.is_terminal();
        if let Some(redaction) = Redaction::of(&event) {
            if let Some(text) = &mut self.accumulated {
                *text = Redaction::apply(std::slice::from_ref(&redaction), text, 0);
            }
            self.redactions.push(redaction);
        }
    }

    /// Returns an event without its redacted parts.
    fn shown(&self, event: &ChatEvent) -> ChatEvent {
        match event {
            ChatEvent::Token { content, index, .. } => {
                ChatEvent::token(Redaction::apply(&self.redactions, content, *index), *index)
            }
            ChatEvent::ToolCall { index, id, name, arguments, legacy, .. }
                if !self.redactions.is_empty() =>
            {
                let (index, legacy, extra) = (*index, *legacy, Extra::default());
                let (id, name, arguments) = (id.clone(), name.clone(), arguments.clone());
                ChatEvent::ToolCall { index, id, name, arguments, legacy, extra }
            }
            other => other.clone(),
        }
    }

    fn say(&mut self, block: &Block<'_>, event: ChatEvent, out: &mut Vec<u8>) {
        self.has_said = true;
        let id = block.id.unwrap_or_default();
        let rest = match &mut self.waiting {
            Some(waiting) => waiting.event.join(event, MAX_JOINED_BYTES),
            None => Some(event),
        };
        match (rest, &mut self.waiting) {
            (None, Some(waiting)) => id.clone_into(&mut waiting.id),
            (None, None) => {}
            (Some(event), _) => {
                self.flush(out);
                let retry = block.retry.map(str::to_owned);
                self.waiting = Some(Waiting { retry, id: id.to_owned(), event });
            }
        }
    }

    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        let Some(Waiting { retry, id, event }) = self.waiting.take() else { return };
        let mut part = Part { event: &event, accumulated: None };
        if let (Some(text), ChatEvent::Token { content, .. }) = (&mut self.accumulated, &event) {
            text.push_str(content);
            part.accumulated = Some(text);
        }
        if let Some(retry) = retry {
            line(out, "retry: ", retry.as_bytes());
        }
        line(out, "id: ", id.as_bytes());
        line(out, "data: ", &crate::wire::control::json(&part));
        out.push(b'\n');
    }
}

fn line(out: &mut Vec<u8>, field: &str, value: &[u8]) {
    crate::wire::sse::line(out, field.as_bytes(), value);
}

#[cfg(test)]
mod tests {
    use super::super::{Redaction, ResponseFormat};
    use super::*;
    use serde_json::Value;

    fn block(id: u32, event: &ChatEvent) -> String {
        format!("id: {id}\ndata: {}\n\n", serde_json::to_string(event).expect("JSON"))
    }

    fn read(face: Native, blocks: &[String]) -> Vec<(String, Value)> {
        let (mut face, mut out) = (ResponseFormat::Native(face), Vec::new());
        for block in blocks {
            face.take(block.as_bytes(), &mut out);
        }
        face.flush(&mut out);
        let text = String::from_utf8(out).expect("UTF-8");
        let of = |block: &str| {
            let line = |name: &str| block.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("");
            (line("id: ").to_owned(), serde_json::from_str(line("data: ")).expect("JSON"))
        };
        text.split_terminator("\n\n").map(of).collect()
    }

    fn tokens(text: &str) -> Vec<String> {
        let each = text.chars().zip(0..);
        each.map(|(c, at)| block(at, &ChatEvent::token(c.to_string(), u64::from(at)))).collect()
    }

    #[test]
    fn available_tokens_are_joined_under_the_last_id() {
        let all = read(Native::default(), &tokens("aé😀b"));
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].0, "3", "id of the last token");
        assert_eq!((&all[0].1["content"], &all[0].1["n"]), (&"aé😀b".into(), &4.into()));
        let long = read(Native::default(), &tokens(&"x".repeat(40_000)));
        assert_eq!(long.len(), 3, "at most 16 KiB each");
        assert_eq!(long[2].1["index"], 32_768);
    }

    #[test]
    fn available_reasoning_and_tool_calls_are_joined() {
        let thought = |n: u32| block(n, &ChatEvent::Reasoning { content: "hm ".into() });
        let call = |n: u32, index, id: Option<&str>| {
            let (id, name) = (id.map(str::to_owned), None);
            let arguments = "{".into();
            block(
                n,
                &ChatEvent::ToolCall {
                    index,
                    id,
                    name,
                    arguments,
                    legacy: false,
                    extra: Extra::default(),
                },
            )
        };
        let mut blocks: Vec<String> = (0..3).map(thought).collect();
        blocks.extend([call(3, 0, Some("a")), call(4, 0, None), call(5, 1, Some("b"))]);
        let all = read(Native::default(), &blocks);
        let ids: Vec<&str> = all.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["2", "4", "5"]);
        assert_eq!(all[0].1["content"], "hm hm hm ");
        assert_eq!((&all[1].1["id"], &all[1].1["arguments"]), (&"a".into(), &"{{".into()));
    }

    #[test]
    fn other_events_keep_their_place() {
        let mut blocks = tokens("ab");
        let reasoning = ChatEvent::Reasoning { content: "hm".into() };
        blocks.insert(1, block(9, &reasoning));
        let ids: Vec<String> = read(Native::default(), &blocks).into_iter().map(|b| b.0).collect();
        assert_eq!(ids, ["0", "9", "1"]);
    }

    #[test]
    fn text_is_accumulated_from_the_resume_point_and_redacted() {
        let redaction = Redaction { from: 1, to: 3, replacement: "##".into() };
        let mut blocks = tokens("abcd");
        let late = ChatEvent::Redact { from_index: 0, to_index: 1, replacement: "#".into() };
        blocks.push(block(8, &late));
        blocks.push(block(9, &ChatEvent::token("e".into(), 4)));
        let all = read(Native::new(vec![redaction], Some(String::new())), &blocks);
        assert_eq!(all[0].1["content"], "a##d");
        assert_eq!(all[2].1["accumulated"], "###de");
        let resumed = read(Native::new(Vec::new(), Some("ab".into())), &tokens("abcd")[2..]);
        assert_eq!(resumed[0].1["accumulated"], "abcd");
    }
}
