//! Takes what a model says to the journal: the first of it at once, then what came within 25 ms as one.
//!
//! Promises: what it has told is in order and whole; it waits for the journal, so that an upstream is
//! not read faster than the journal takes it; how much it holds has a bound.

use super::super::insist::insist;
use crate::event::{Draft, EventType, StreamName};
use crate::journal::{Item, PublishError, Publisher, now};
use crate::wire::chat::{ChatEvent, Delta, State, ToolPart};
use serde::Serialize;
use serde_json::value::to_raw_value;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long what was said may wait for more.
const GATHERED_FOR: Duration = Duration::from_millis(25);
/// Bytes of it that do not wait: a frame of a late reader's.
const MAX_WAITING_BYTES: usize = 16 * 1024;
/// How long the journal may refuse a chat's events; then the chat has failed.
const JOURNAL_WITHIN: Duration = Duration::from_secs(10);
/// What stands for a character that is not to be shown.
const REDACTED: &str = "█";

/// The journal does not take it.
#[derive(Debug)]
pub(super) struct Untold(pub(super) String);

/// Tells one chat's events.
pub(super) struct Teller {
    publisher: Publisher,
    stream: StreamName,
    waiting: Vec<ChatEvent>,
    bytes: usize,
    /// Since when something waits.
    since: Option<Instant>,
    /// Characters of the answer so far.
    pub(super) characters: u64,
    /// Bytes of all that the model said.
    pub(super) said_bytes: usize,
    /// Parts of it, which are tokens, or more than one each.
    pub(super) parts: u64,
    /// When the first of it came.
    pub(super) first: Option<Instant>,
}

impl Teller {
    pub(super) fn new(publisher: Publisher, stream: StreamName) -> Self {
        Self {
            publisher,
            stream,
            waiting: Vec::new(),
            bytes: 0,
            since: None,
            characters: 0,
            said_bytes: 0,
            parts: 0,
            first: None,
        }
    }

    /// When what waits is to go.
    pub(super) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + GATHERED_FOR)
    }

    /// Takes a part of an answer; whether there was anything in it.
    pub(super) async fn hear(&mut self, delta: Delta) -> Result<bool, Untold> {
        let is_first = self.first.is_none();
        let before = self.waiting.len();
        let bytes = self.said_bytes;
        if let Some(content) = delta.reasoning {
            self.say(ChatEvent::Reasoning { content });
        }
        if let Some(content) = delta.content {
            let event = ChatEvent::token(content, self.characters);
            self.say(event);
        }
        if let Some(content) = delta.refusal {
            self.say(ChatEvent::Refusal { content });
        }
        for ToolPart { index, id, name, arguments } in delta.tools {
            self.say(ChatEvent::ToolCall { index, id, name, arguments });
        }
        let is_said = self.waiting.len() > before || self.said_bytes > bytes;
        if is_said {
            self.first.get_or_insert_with(Instant::now);
            self.parts += 1;
        }
        if let Some(results) = delta.filter {
            self.say(ChatEvent::Filter { results });
        }
        if let Some((from, to)) = delta.redact.filter(|(from, _)| *from < self.characters) {
            let to_index = to.min(self.characters);
            let replacement = REDACTED.repeat((to_index - from) as usize);
            self.say(ChatEvent::Redact { from_index: from, to_index, replacement });
        }
        if is_said && is_first || self.bytes >= MAX_WAITING_BYTES {
            self.tell().await?;
        }
        Ok(is_said)
    }

    /// Tells what goes on, at once.
    pub(super) async fn status(
        &mut self,
        state: State,
        (attempt, after): (u64, Option<Duration>),
        reason: Option<String>,
    ) -> Result<(), Untold> {
        let after_ms = after.map(|after| after.as_millis() as u64);
        self.say(ChatEvent::Status { state, attempt: Some(attempt), after_ms, reason });
        self.tell().await
    }

    /// Tells what waits.
    pub(super) async fn tell(&mut self) -> Result<(), Untold> {
        let unit = self.take();
        if unit.is_empty() {
            return Ok(());
        }
        match timeout(JOURNAL_WITHIN, insist(&self.publisher, unit, |_| {})).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(Untold(why.to_string())),
            Err(_) => Err(Untold("the journal takes nothing".into())),
        }
    }

    /// What waits, for somebody else to publish.
    pub(super) fn take(&mut self) -> Vec<Item> {
        self.since = None;
        self.bytes = 0;
        let stream = &self.stream;
        self.waiting.drain(..).filter_map(|event| item(stream, &event)).collect()
    }

    fn say(&mut self, event: ChatEvent) {
        let bytes = content_bytes(&event);
        if let ChatEvent::Token { n, .. } = &event {
            self.characters += n;
        }
        if event.is_content() {
            self.said_bytes += bytes;
        }
        self.bytes += bytes;
        self.since.get_or_insert_with(Instant::now);
        match (self.waiting.last_mut(), event) {
            (
                Some(ChatEvent::Token { content, n, .. }),
                ChatEvent::Token { content: more, n: of_more, .. },
            ) => {
                content.push_str(&more);
                *n += of_more;
            }
            (Some(ChatEvent::Reasoning { content }), ChatEvent::Reasoning { content: more }) => {
                content.push_str(&more);
            }
            (_, event) => self.waiting.push(event),
        }
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
        _ => 0,
    }
}

/// An entry of a stream with this data; `None` where there can be none, which is never.
pub(super) fn item(stream: &StreamName, data: &impl Serialize) -> Option<Item> {
    let data = to_raw_value(data).ok()?;
    let draft = Draft::from_json(vec![stream.clone()], EventType::default(), &data, now());
    draft.ok().map(Item::Event)
}

/// The same, at once or not at all.
pub(super) async fn publish(publisher: &Publisher, unit: Vec<Item>) -> Result<(), PublishError> {
    super::super::insist::publish(publisher, unit).await
}
