//! `fanfare tail --grep`: searches stored events on the hub, then filters new ones here.

use super::client::{Client, Failure, Retries};
use super::output::Envelope;
use crate::event::{EventType, Filter, Payload, PayloadKind, StreamName};
use crate::wire::SseEvent;
use anyhow::Context as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Maximum number of matches of one request.
const MATCHES_PER_REQUEST: u64 = 10_000;

/// A line of a search.
#[derive(Deserialize)]
struct Line<'a> {
    id: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Data of the last line of a search.
#[derive(Deserialize)]
struct Done {
    complete: bool,
    next: String,
}

/// Calls `event` with the stored events that match, in order. `query` selects streams, types and
/// the start. Returns the id up to which the journal was searched.
pub(super) async fn search(
    client: &Client,
    query: &str,
    filter: &str,
    pauses: &mut Retries,
    event: &mut impl FnMut(&SseEvent) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let filter = utf8_percent_encode(filter, NON_ALPHANUMERIC);
    let base = format!("/search?{query}&q={filter}&limit={MATCHES_PER_REQUEST}");
    let mut last_id: Option<String> = None;
    loop {
        let after = last_id.as_ref().map(|id| format!("&last_event_id={id}")).unwrap_or_default();
        let path = format!("{base}{after}");
        let request = |client: &Client| client.request(Method::GET, &path);
        let answer = client.send_with_retry(request, pauses).await?;
        match page(client, answer, &mut last_id, event).await? {
            Ok(Some(Done { complete: true, next })) => return Ok(next),
            Ok(Some(Done { next, .. })) => last_id = Some(next),
            Ok(None) => {
                let why = "the response ended early".to_owned();
                pauses.after(Failure::Unavailable { why, after: None }).await?;
            }
            Err(failure) => pauses.after(failure).await?,
        }
    }
}

/// Reads one response; `last_id` becomes the id of the last match.
async fn page(
    client: &Client,
    mut answer: reqwest::Response,
    last_id: &mut Option<String>,
    event: &mut impl FnMut(&SseEvent) -> anyhow::Result<()>,
) -> anyhow::Result<Result<Option<Done>, Failure>> {
    let mut partial = Vec::new();
    loop {
        let part = match answer.chunk().await {
            Ok(Some(part)) => part,
            Ok(None) => return Ok(Ok(None)),
            Err(error) => return Ok(Err(client.connection_failure(error))),
        };
        partial.extend_from_slice(&part);
        let Some(end) = memchr::memrchr(b'\n', &partial) else { continue };
        for line in partial[..end].split(|byte| *byte == b'\n') {
            let Line { id, kind, data } =
                serde_json::from_slice(line).context("not a line of a search")?;
            match (id, kind.as_str()) {
                (Some(id), _) => {
                    let text = std::str::from_utf8(line)?;
                    // Without the id, the line is the envelope.
                    let envelope = text.replacen(&format!("\"id\":\"{id}\","), "", 1);
                    event(&SseEvent { kind, id: id.clone(), data: envelope.into_bytes() })?;
                    *last_id = Some(id);
                }
                (None, "hub-done") => return Ok(Ok(Some(serde_json::from_str(data.get())?))),
                (None, _) => {}
            }
        }
        partial.drain(..=end);
    }
}

/// Returns true if a received event, which is an envelope, matches.
pub(super) fn matches(filter: &Filter, event: &SseEvent) -> anyhow::Result<bool> {
    let envelope: Envelope<'_> = serde_json::from_slice(&event.data)?;
    let names = envelope.streams();
    let streams: Vec<_> = names.iter().filter_map(|name| StreamName::parse(name).ok()).collect();
    let invalid = |invalid: crate::event::Invalid| anyhow::anyhow!("{}", invalid.detail);
    let kind = EventType::parse(&envelope.kind).map_err(invalid)?;
    let payload = Payload::from_stored(envelope.data.get().to_owned().into(), PayloadKind::Json);
    Ok(filter.matches(&streams.iter().collect::<Vec<_>>(), &kind, &payload))
}
