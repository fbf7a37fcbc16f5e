//! Batches of events for a hub, which are retried until the hub has accepted them.
//!
//! Each event has an idempotency key, so that a batch whose response was lost is not published
//! twice.

use super::client::{Client, Failure, Retries};
use crate::event::MAX_ENTRIES_PER_BATCH;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::VecDeque;

/// Maximum events of one batch: enough that the share of a disk sync is small.
pub(super) const BATCH_EVENTS: usize = 1_000;
const _: () = assert!(BATCH_EVENTS <= MAX_ENTRIES_PER_BATCH);
/// Maximum bytes of one batch: well below a hub's limit for a body.
pub(super) const BATCH_BYTES: usize = 256 * 1024;

/// An event in the form that a hub accepts.
#[derive(Serialize)]
pub(super) struct Event<'a> {
    pub(super) stream: &'a RawValue,
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    pub(super) data: &'a RawValue,
    /// Encoding of data that is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encoding: Option<&'a str>,
    pub(super) key: &'a str,
}

impl Event<'_> {
    /// Returns the event as JSON.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

/// Takes a batch from the front of the queue.
pub(super) fn take_batch(pending: &mut VecDeque<String>) -> Vec<String> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(next) = pending.front() {
        let is_full = batch.len() == BATCH_EVENTS || bytes + next.len() > BATCH_BYTES;
        if is_full && !batch.is_empty() {
            break;
        }
        bytes += next.len();
        batch.extend(pending.pop_front());
    }
    batch
}

/// Publishes a batch of events, all or none. Returns the number of events that were not published
/// before.
pub(super) async fn publish(client: &Client, events: &[String]) -> Result<usize, Failure> {
    #[derive(Deserialize)]
    struct Receipt {
        duplicate: bool,
    }
    let body = format!("[{}]", events.join(","));
    let request = client.request(Method::POST, "/publish").body(body);
    let answer = client.send(request.header("content-type", "application/json")).await?;
    // The response counts once it is read: a hub that dies meanwhile has not acknowledged.
    let answer = answer.bytes().await.map_err(|error| client.connection_failure(error))?;
    let receipts: Vec<Receipt> = serde_json::from_slice(&answer).unwrap_or_default();
    Ok(events.len() - receipts.iter().filter(|receipt| receipt.duplicate).count())
}

/// Publishes a batch with retries; returns an error if a retry cannot succeed.
pub(super) async fn publish_with_retry(
    client: &Client,
    events: &[String],
    pauses: &mut Retries,
) -> Result<usize, Failure> {
    loop {
        match publish(client, events).await {
            Ok(published) => {
                pauses.reset();
                return Ok(published);
            }
            Err(failure) => pauses.after(failure).await?,
        }
    }
}

/// Returns the index of the event that the hub refused, if it names one: `[7].data` is the eighth.
pub(super) fn refused_event_index(failure: &Failure) -> Option<usize> {
    let Failure::Refused { why, field } = failure else { return None };
    let index = |text: &str| text.split_once(']')?.0.parse().ok();
    let by_field = field.as_deref().and_then(|field| index(field.strip_prefix('[')?));
    // The hub's own text comes first; text of the request can only follow it.
    by_field.or_else(|| index(why.split_once(": event [")?.1))
}
