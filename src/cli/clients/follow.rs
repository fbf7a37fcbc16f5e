//! A subscription that reconnects and resumes after the last event that it received.

use super::client::{Client, Failure, Retries};
use crate::wire::{SseDecoder, SseEvent, SseFrame};
use reqwest::header::ACCEPT;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use std::time::Duration;

/// Maximum bytes of one event; those of a hub are far smaller.
const MAX_EVENT_BYTES: usize = 64 * 1024 * 1024;
/// Time without any bytes, including heartbeats, after which the connection counts as broken;
/// heartbeats come every 15 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);

/// Streams to read.
pub(super) struct Subscription {
    /// Query string without the position to resume from.
    pub(super) query: String,
    /// True to continue with new events.
    pub(super) follows: bool,
    /// Id of the event to start after; empty for the start in the query.
    pub(super) after: String,
    /// Retries of connections.
    pub(super) pauses: Retries,
}

/// Reason for the end of a connection.
enum Ended {
    /// The streams have ended, and all events were read.
    Finished,
    /// The hub closed the connection; reconnect immediately.
    Closed,
    /// The connection failed; reconnect later.
    Failed(Failure),
}

/// Data of the hub's control events.
#[derive(Deserialize)]
struct ServerNotices {
    resume: Option<String>,
    missed: Option<u64>,
    code: Option<String>,
    stream: Option<String>,
    reason: Option<String>,
    at: Option<String>,
}

impl Subscription {
    /// Calls `event` with every event, in order and once, until none is left or a call fails. A
    /// reconnect repeats no event. `flush` is called when all received events have been passed on.
    pub(super) async fn read(
        mut self,
        client: &Client,
        event: &mut impl FnMut(&SseEvent) -> anyhow::Result<()>,
        flush: &mut impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let after = std::mem::take(&mut self.after);
        let mut reader = SseDecoder::new(MAX_EVENT_BYTES).after(after);
        loop {
            match self.connection(client, &mut reader, event, flush).await? {
                Ended::Finished => return Ok(()),
                Ended::Closed => {}
                Ended::Failed(failure) => self.pauses.after(failure).await?,
            }
        }
    }

    async fn connection(
        &mut self,
        client: &Client,
        reader: &mut SseDecoder,
        event: &mut impl FnMut(&SseEvent) -> anyhow::Result<()>,
        flush: &mut impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Ended> {
        reader.restart();
        let path = format!("/events?refusal=status&{}", self.query);
        let mut request = client.request(Method::GET, &path).header(ACCEPT, "text/event-stream");
        if !reader.last_id().is_empty() {
            request = request.header("last-event-id", reader.last_id());
        }
        let mut answer = match client.send(request).await {
            Ok(answer) if answer.status() == StatusCode::NO_CONTENT => return Ok(Ended::Finished),
            Ok(answer) => answer,
            Err(failure) => return Ok(Ended::Failed(failure)),
        };
        self.pauses.reset();
        let (mut why, mut has_ended) = (None, false);
        loop {
            let part = match tokio::time::timeout(IDLE_TIMEOUT, answer.chunk()).await {
                Ok(Ok(Some(part))) => part,
                Ok(Ok(None)) if !self.follows && why.is_none() => return Ok(Ended::Finished),
                Ok(Ok(None)) if has_ended && why.is_none() => return Ok(Ended::Closed),
                Ok(Ok(None)) => {
                    let why = why.unwrap_or_else(|| "the hub closed the connection".to_owned());
                    let after = reader.retry_ms().map(Duration::from_millis);
                    return Ok(Ended::Failed(Failure::Unavailable { why, after }));
                }
                Ok(Err(error)) => return Ok(Ended::Failed(client.connection_failure(error))),
                Err(_) => {
                    let why = format!("no data received for {} s", IDLE_TIMEOUT.as_secs());
                    return Ok(Ended::Failed(Failure::Unavailable { why, after: None }));
                }
            };
            let mut frames = Vec::new();
            reader.take(&part, &mut frames)?;
            for frame in &frames {
                let SseFrame::Event(received) = frame else { continue };
                match received.kind.strip_prefix("hub-") {
                    Some(kind) => {
                        has_ended |= kind == "end";
                        why = report_notice(kind, &received.data).or(why);
                    }
                    None => event(received)?,
                }
            }
            flush()?;
        }
    }
}

/// Prints a notice of the hub. Returns the reason if the hub closes the connection with an error.
fn report_notice(kind: &str, data: &[u8]) -> Option<String> {
    let notice: ServerNotices = serde_json::from_slice(data).ok()?;
    let missed = || match notice.missed {
        Some(missed) => format!("{missed} events were missed: they are no longer stored"),
        None => "some events were missed: they are no longer stored".to_owned(),
    };
    match (kind, notice.resume.as_deref()) {
        ("open", Some("gap")) | ("gap", _) => super::print_message(&missed()),
        ("open", Some("reset")) => {
            super::print_message(
                "the hub does not know this event id; reading from the oldest stored event",
            );
        }
        ("end", _) => {
            let (stream, reason) =
                (notice.stream.unwrap_or_default(), notice.reason.unwrap_or_default());
            super::print_message(&format!("stream {stream} was {reason}"));
        }
        ("notice", _) => {
            let (code, at) = (notice.code.unwrap_or_default(), notice.at.unwrap_or_default());
            super::print_message(&format!("notice: {code} at {at}"));
        }
        ("error", _) => return notice.code,
        _ => {}
    }
    None
}
