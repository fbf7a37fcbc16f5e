//! The hub's native format of chats: the events of the journal, with texts that are available
//! together joined.

use super::MAX_JOINED_BYTES;
use super::event::ChatEvent;
use super::extra::Extra;
use super::transcript::Redaction;
use crate::event::EventId;
use crate::wire::record::Record;
use crate::wire::{Format, sse};
use serde::Serialize;
use serde_json::json;

/// Converter to the native format.
#[derive(Debug, Default)]
pub struct Native {
    /// Text so far, if the reader wants it with every part.
    accumulated: Option<String>,
    redactions: Vec<Redaction>,
    pending: Option<PendingOutput>,
    /// Time to wait before a reconnect, which the next block states.
    retry_ms: Option<u64>,
    has_ended: bool,
    /// True if the end of a connection is reported with a terminal event, because the reader gets
    /// no control events.
    reports_disconnect: bool,
    has_content: bool,
}

/// Output that more may be joined to, with the id of its last part.
#[derive(Debug)]
struct PendingOutput {
    id: EventId,
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
    /// for no control events. `has_content` is true if they have a part of the answer already.
    pub fn with_disconnect_event(self, has_content: bool) -> Self {
        Self { reports_disconnect: true, has_content, ..self }
    }

    /// Appends a terminal event for a connection that ends before the chat. It has no id, so that a
    /// resume continues the chat.
    pub(super) fn end_early(&mut self, out: &mut Vec<u8>) {
        if !self.reports_disconnect || std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let message =
            "the hub closed this connection, but did not end the chat; resume after the last event";
        let end = json!({
            "type": "error", "code": "disconnected", "message": message,
            "retryable": true, "partial": self.has_content, "upstream_status": null,
        });
        self.block(out, None, &crate::wire::control::json(&end));
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(super) fn take(&mut self, record: Record<'_>, out: &mut Vec<u8>) {
        match record {
            Record::Event { id, data } => self.event(id, data, out),
            Record::Control(block) => {
                self.flush(out);
                self.write_retry(out);
                out.extend_from_slice(block);
            }
            Record::Heartbeat => out.extend_from_slice(sse::COMMENT),
            Record::Retry(retry_ms) => self.retry_ms = Some(retry_ms),
        }
    }

    fn event(&mut self, id: EventId, data: &[u8], out: &mut Vec<u8>) {
        let event: Option<ChatEvent> = serde_json::from_slice(data).ok();
        if let Some(event) = event.as_ref().filter(|event| event.is_content()) {
            return self.push_content(id, self.redact(event), out);
        }
        self.flush(out);
        // Members that are not interpreted may repeat redacted text.
        if let Some(ChatEvent::Extra { .. }) = event
            && !self.redactions.is_empty()
        {
            return;
        }
        self.block(out, Some(id), data);
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
    fn redact(&self, event: &ChatEvent) -> ChatEvent {
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

    fn push_content(&mut self, id: EventId, event: ChatEvent, out: &mut Vec<u8>) {
        self.has_content = true;
        let rest = match &mut self.pending {
            Some(pending) => pending.event.join(event, MAX_JOINED_BYTES),
            None => Some(event),
        };
        match (rest, &mut self.pending) {
            (None, Some(pending)) => pending.id = id,
            (None, None) => {}
            (Some(event), _) => {
                self.flush(out);
                self.pending = Some(PendingOutput { id, event });
            }
        }
    }

    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        let Some(PendingOutput { id, event }) = self.pending.take() else { return };
        let mut part = Part { event: &event, accumulated: None };
        if let (Some(text), ChatEvent::Token { content, .. }) = (&mut self.accumulated, &event) {
            text.push_str(content);
            part.accumulated = Some(text);
        }
        let data = crate::wire::control::json(&part);
        self.block(out, Some(id), &data);
    }

    fn block(&mut self, out: &mut Vec<u8>, id: Option<EventId>, data: &[u8]) {
        self.write_retry(out);
        if let Some(id) = id {
            sse::line(out, b"id: ", &id.text());
        }
        sse::data(out, data);
        out.push(b'\n');
    }

    fn write_retry(&mut self, out: &mut Vec<u8>) {
        if let Some(retry_ms) = self.retry_ms.take() {
            crate::wire::retry(out, Format::Sse, retry_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Redaction, ResponseFormat};
    use super::*;
    use crate::event::{Epoch, Position};
    use serde_json::Value;

    fn record(id: u64, event: &ChatEvent) -> Vec<u8> {
        let mut out = Vec::new();
        let id = EventId { epoch: Epoch(0), position: Position::from_stored(id) };
        let data = serde_json::to_vec(event).expect("JSON");
        crate::wire::record::event(&mut out, id, &data);
        out
    }

    fn read(native: Native, records: &[Vec<u8>]) -> Vec<(u64, Value)> {
        let (mut native, mut out) = (ResponseFormat::Native(native), Vec::new());
        for record in records {
            native.take(record, &mut out);
        }
        native.flush(&mut out);
        let text = String::from_utf8(out).expect("UTF-8");
        let parse_block = |block: &str| {
            let line = |name: &str| block.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("");
            let id = EventId::parse(line("id: ")).expect("an id");
            (id.position.get(), serde_json::from_str(line("data: ")).expect("JSON"))
        };
        text.split_terminator("\n\n").map(parse_block).collect()
    }

    fn tokens(text: &str) -> Vec<Vec<u8>> {
        let indexed = text.chars().zip(0u64..);
        indexed.map(|(c, at)| record(at, &ChatEvent::token(c.to_string(), at))).collect()
    }

    #[test]
    fn available_tokens_are_joined_under_the_last_id() {
        let parts = read(Native::default(), &tokens("aé😀b"));
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].0, 3, "id of the last token");
        assert_eq!((&parts[0].1["content"], &parts[0].1["n"]), (&"aé😀b".into(), &4.into()));
        let long = read(Native::default(), &tokens(&"x".repeat(40_000)));
        assert_eq!(long.len(), 3, "at most 16 KiB each");
        assert_eq!(long[2].1["index"], 32_768);
    }

    #[test]
    fn available_reasoning_and_tool_calls_are_joined() {
        let reasoning = |n: u64| record(n, &ChatEvent::Reasoning { content: "hm ".into() });
        let call = |n: u64, index, id: Option<&str>| {
            let (id, name) = (id.map(str::to_owned), None);
            let arguments = "{".into();
            record(
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
        let mut records: Vec<Vec<u8>> = (0..3).map(reasoning).collect();
        records.extend([call(3, 0, Some("a")), call(4, 0, None), call(5, 1, Some("b"))]);
        let parts = read(Native::default(), &records);
        let ids: Vec<u64> = parts.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [2, 4, 5]);
        assert_eq!(parts[0].1["content"], "hm hm hm ");
        assert_eq!((&parts[1].1["id"], &parts[1].1["arguments"]), (&"a".into(), &"{{".into()));
    }

    #[test]
    fn other_events_keep_their_place() {
        let mut records = tokens("ab");
        let reasoning = ChatEvent::Reasoning { content: "hm".into() };
        records.insert(1, record(9, &reasoning));
        let ids: Vec<u64> = read(Native::default(), &records).into_iter().map(|b| b.0).collect();
        assert_eq!(ids, [0, 9, 1]);
    }

    #[test]
    fn text_is_accumulated_from_the_resume_point_and_redacted() {
        let redaction = Redaction { from: 1, to: 3, replacement: "##".into() };
        let mut records = tokens("abcd");
        let late_redaction =
            ChatEvent::Redact { from_index: 0, to_index: 1, replacement: "#".into() };
        records.push(record(8, &late_redaction));
        records.push(record(9, &ChatEvent::token("e".into(), 4)));
        let parts = read(Native::new(vec![redaction], Some(String::new())), &records);
        assert_eq!(parts[0].1["content"], "a##d");
        assert_eq!(parts[2].1["accumulated"], "###de");
        let resumed = read(Native::new(Vec::new(), Some("ab".into())), &tokens("abcd")[2..]);
        assert_eq!(resumed[0].1["accumulated"], "abcd");
    }
}
