//! Publishes the output of a model: the first of it immediately, then all that arrives within 25 ms
//! in one batch.
//!
//! Promises: published events are in order and complete; it waits for the journal, so that an
//! upstream is not read faster than the journal accepts events; its buffer has a bound.

use super::super::publish_with_retry::publish_with_retry;
use crate::event::{Draft, EventType, StreamName};
use crate::journal::{Item, PublishError, Publisher, now};
use crate::wire::chat::{ChatEvent, Delta, Extra, State, ToolPart};
use serde::Serialize;
use serde_json::value::to_raw_value;
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Maximum time for which output waits for more.
const MAX_BATCH_DELAY: Duration = Duration::from_millis(25);
/// Size at which output is published without waiting, in bytes: one frame of a late reader.
const MAX_WAITING_BYTES: usize = 16 * 1024;
/// Maximum time for which the journal may refuse a chat's events; then the chat fails.
const JOURNAL_WITHIN: Duration = Duration::from_secs(10);
/// Maximum number of characters that may be redacted before they arrive.
const MAX_REDACT_AHEAD_CHARS: u64 = 4_096;
/// Replacement of a character that must not be shown.
const REDACTED: &str = "█";

/// The journal did not accept the events.
#[derive(Debug)]
pub(super) struct PublishFailed(pub(super) String);

/// Status of a run, for its readers.
pub(super) struct Status {
    pub(super) state: State,
    /// Number of the request to the upstream.
    pub(super) attempt: Option<u64>,
    /// Delay before the request.
    pub(super) after: Option<Duration>,
    /// Reason of a retry.
    pub(super) reason: Option<String>,
}

impl Status {
    /// Creates the status of a run that has sent no request.
    pub(super) fn of(state: State) -> Self {
        Self { state, attempt: None, after: None, reason: None }
    }

    /// Creates the status of a request to the upstream.
    pub(super) fn attempt(state: State, attempt: u64) -> Self {
        Self { attempt: Some(attempt), ..Self::of(state) }
    }
}

/// Publishes the events of one chat in batches.
pub(super) struct EventBatcher {
    publisher: Publisher,
    stream: StreamName,
    waiting: Vec<ChatEvent>,
    bytes: usize,
    /// Time since which output waits.
    since: Option<Instant>,
    /// Number of characters of the answer so far.
    pub(super) characters: u64,
    /// Size of the model's output, and of the members that are not interpreted, in bytes.
    pub(super) text_bytes: usize,
    extra_bytes: usize,
    /// Number of parts of the output; each is a token or more.
    pub(super) parts: u64,
    /// Time of the first output.
    pub(super) first: Option<Instant>,
    calls: ToolCalls,
    /// Members of earlier chunks that describe the whole answer; later chunks repeat them.
    chunk_members: Map<String, Value>,
}

impl EventBatcher {
    pub(super) fn new(publisher: Publisher, stream: StreamName) -> Self {
        Self {
            publisher,
            stream,
            waiting: Vec::new(),
            bytes: 0,
            since: None,
            characters: 0,
            text_bytes: 0,
            extra_bytes: 0,
            parts: 0,
            first: None,
            calls: ToolCalls::default(),
            chunk_members: Map::new(),
        }
    }

    /// Returns the size of the whole answer, in bytes.
    pub(super) fn output_bytes(&self) -> usize {
        self.text_bytes.saturating_add(self.extra_bytes)
    }

    /// Returns the time at which waiting output is due for publishing.
    pub(super) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + MAX_BATCH_DELAY)
    }

    /// Adds a part of an answer. Returns true if it has output of the model.
    pub(super) async fn push(&mut self, delta: Delta) -> Result<bool, PublishFailed> {
        let is_first = self.first.is_none();
        let (says_text, says_something) = (delta.has_known_output(), delta.has_output());
        for content in delta.reasoning.iter().flat_map(|text| split_text(text)) {
            self.push_event(ChatEvent::Reasoning { content });
        }
        for content in delta.content.iter().flat_map(|text| split_text(text)) {
            let event = ChatEvent::token(content, self.characters);
            self.push_event(event);
        }
        for content in delta.refusal.iter().flat_map(|text| split_text(text)) {
            self.push_event(ChatEvent::Refusal { content });
        }
        for part in delta.tools {
            self.call(part);
        }
        self.extra(delta.extra);
        if says_something {
            self.first.get_or_insert_with(Instant::now);
            self.parts += u64::from(says_text);
        }
        if let Some(results) = delta.filter {
            self.push_event(ChatEvent::Filter { results });
        }
        if let Some((from_index, to)) = delta.redact {
            // The redaction may include text that has not arrived yet.
            let to_index = to.min(self.characters + MAX_REDACT_AHEAD_CHARS);
            let replacement = REDACTED.repeat(to_index.saturating_sub(from_index) as usize);
            if !replacement.is_empty() {
                self.push_event(ChatEvent::Redact { from_index, to_index, replacement });
            }
        }
        if says_something && is_first || self.bytes >= MAX_WAITING_BYTES {
            self.flush().await?;
        }
        Ok(says_something)
    }

    /// Keeps only the members of a chunk that are new or have changed.
    pub(super) fn retain_changed(&self, extra: &mut Extra) {
        extra.chunk.retain(|name, value| self.chunk_members.get(name) != Some(value));
    }

    /// Adds members that are not interpreted.
    fn extra(&mut self, extra: Extra) {
        self.chunk_members.extend(extra.chunk.clone());
        if !extra.is_empty() {
            self.push_event(ChatEvent::Extra { extra });
        }
    }

    fn call(&mut self, part: ToolPart) {
        let index = self.calls.index_of(&part);
        let is_custom = self.calls.is_custom(index);
        let mut extra = part.extra_of_delta(index, is_custom);
        if is_custom {
            return self.extra(extra);
        }
        let ToolPart { mut id, mut name, legacy, .. } = part;
        for arguments in split_text(&part.arguments) {
            let (id, name, extra) = (id.take(), name.take(), std::mem::take(&mut extra));
            self.push_event(ChatEvent::ToolCall { index, id, name, arguments, legacy, extra });
        }
    }

    /// Publishes a status immediately.
    pub(super) async fn status(&mut self, status: Status) -> Result<(), PublishFailed> {
        let Status { state, attempt, after, reason } = status;
        let after_ms = after.map(|after| after.as_millis() as u64);
        self.push_event(ChatEvent::Status { state, attempt, after_ms, reason });
        self.flush().await
    }

    /// Publishes the waiting output.
    pub(super) async fn flush(&mut self) -> Result<(), PublishFailed> {
        let unit = self.take();
        if unit.is_empty() {
            return Ok(());
        }
        match timeout(JOURNAL_WITHIN, publish_with_retry(&self.publisher, unit, |_| {})).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(PublishFailed(why.to_string())),
            Err(_) => Err(PublishFailed("timeout while publishing to the journal".into())),
        }
    }

    /// Takes the waiting output, for the caller to publish.
    pub(super) fn take(&mut self) -> Vec<Item> {
        self.since = None;
        self.bytes = 0;
        let stream = &self.stream;
        self.waiting.drain(..).filter_map(|event| item(stream, &event)).collect()
    }

    fn push_event(&mut self, event: ChatEvent) {
        let bytes = content_bytes(&event);
        if let ChatEvent::Token { n, .. } = &event {
            self.characters += n;
        }
        match &event {
            ChatEvent::Extra { .. } => self.extra_bytes += bytes,
            ChatEvent::ToolCall { extra, .. } => {
                self.text_bytes += bytes;
                self.extra_bytes += extra.bytes();
            }
            _ => self.text_bytes += bytes,
        }
        self.bytes += bytes;
        self.since.get_or_insert_with(Instant::now);
        let rest = match self.waiting.last_mut() {
            Some(last) => last.join(event, MAX_WAITING_BYTES),
            None => Some(event),
        };
        self.waiting.extend(rest);
    }
}

/// Splits a text into pieces that each fit a frame; an empty text is one piece.
fn split_text(text: &str) -> Vec<String> {
    let (mut all, mut rest) = (Vec::new(), text);
    while rest.len() > MAX_WAITING_BYTES {
        let at = (1..=MAX_WAITING_BYTES).rev().find(|at| rest.is_char_boundary(*at));
        let (piece, after) = rest.split_at(at.unwrap_or(rest.len()));
        all.push(piece.to_owned());
        rest = after;
    }
    all.push(rest.to_owned());
    all
}

/// Tool calls so far, in the order in which they arrived, with the upstream's indexes. Some
/// upstreams count from 1, give all calls the first index, or give no index.
#[derive(Default)]
struct ToolCalls(Vec<ToolCallState>);

struct ToolCallState {
    index: Option<u64>,
    id: Option<String>,
    is_custom: bool,
}

impl ToolCalls {
    /// Returns the index of the call that a part belongs to, and adds the call if it is new.
    fn index_of(&mut self, part: &ToolPart) -> u64 {
        let known = match (&part.id, part.index) {
            (Some(id), _) => self.0.iter().position(|call| call.id.as_ref() == Some(id)),
            (None, Some(index)) => self.0.iter().rposition(|call| call.index == Some(index)),
            (None, None) => self.0.len().checked_sub(1),
        };
        known.unwrap_or_else(|| {
            let (index, id) = (part.index, part.id.clone());
            self.0.push(ToolCallState { index, id, is_custom: part.custom.is_some() });
            self.0.len() - 1
        }) as u64
    }

    /// Returns true if the first part of a call named a tool type other than `function`.
    fn is_custom(&self, place: u64) -> bool {
        usize::try_from(place).ok().and_then(|at| self.0.get(at)).is_some_and(|call| call.is_custom)
    }
}

fn content_bytes(event: &ChatEvent) -> usize {
    match event {
        ChatEvent::Token { content, .. }
        | ChatEvent::Reasoning { content }
        | ChatEvent::Refusal { content } => content.len(),
        ChatEvent::ToolCall { id, name, arguments, .. } => {
            arguments.len() + [id, name].into_iter().flatten().map(String::len).sum::<usize>()
        }
        ChatEvent::Extra { extra } => extra.bytes(),
        _ => 0,
    }
}

/// Returns an event of a stream with this data; `None` if it is not valid, which does not happen.
pub(super) fn item(stream: &StreamName, data: &impl Serialize) -> Option<Item> {
    let data = to_raw_value(data).ok()?;
    let draft = Draft::from_json(vec![stream.clone()], EventType::default(), &data, now());
    draft.ok().map(Item::Event)
}

/// Publishes a unit, without a retry.
pub(super) async fn publish(publisher: &Publisher, unit: Vec<Item>) -> Result<(), PublishError> {
    super::super::publish_with_retry::publish(publisher, unit).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_split_between_characters() {
        let text = "é".repeat(20_000);
        let all = split_text(&text);
        assert_eq!((all.concat(), all.len()), (text, 3));
        assert_eq!(split_text(""), [""]);
    }

    #[test]
    fn tool_call_parts_are_assigned_to_their_call() {
        let part = |index, id: Option<&str>| ToolPart {
            index,
            id: id.map(str::to_owned),
            ..ToolPart::default()
        };
        let indexes = |parts: &[ToolPart]| {
            let mut calls = ToolCalls::default();
            parts.iter().map(|part| calls.index_of(part)).collect::<Vec<_>>()
        };
        let as_described = [
            part(Some(0), Some("a")),
            part(Some(0), None),
            part(Some(1), Some("b")),
            part(Some(1), None),
        ];
        assert_eq!(indexes(&as_described), [0, 0, 1, 1]);
        let without =
            [part(None, Some("a")), part(None, None), part(None, Some("b")), part(None, None)];
        assert_eq!(indexes(&without), [0, 0, 1, 1]);
        assert_eq!(
            indexes(&[
                part(Some(0), Some("a")),
                part(Some(0), Some("b")),
                part(Some(0), Some("a"))
            ]),
            [0, 1, 0]
        );
        assert_eq!(indexes(&[part(Some(3), None), part(Some(1), Some("x"))]), [0, 1]);
        let from_one = [
            part(Some(1), Some("a")),
            part(Some(1), None),
            part(Some(2), Some("b")),
            part(Some(2), None),
        ];
        assert_eq!(indexes(&from_one), [0, 0, 1, 1]);
    }
}
