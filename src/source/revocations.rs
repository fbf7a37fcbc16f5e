//! Revocations of a cluster: each hub publishes its own on `hub.revocations`, and applies those of the
//! others.

use super::last_values::{off_thread, read, read_stream};
use super::own_streams::REVOCATIONS_STREAM;
use super::supervisor::SourceHandle;
use crate::access::{RevocationChange, Revocations};
use crate::event::{Body, Draft, Entry, EventType, Interest, Selector, StreamName, Timestamp};
use crate::journal::{History, Item};
use crate::source::error::SourceError;
use serde_json::value::to_raw_value;
use std::sync::Arc;
use std::time::Duration;

/// Interval at which the changes of other hubs are read.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Returns a change as an item to publish.
pub fn revocation_item(change: &RevocationChange, now: Timestamp) -> Result<Item, SourceError> {
    let stream = StreamName::parse(REVOCATIONS_STREAM)?;
    let data = to_raw_value(change)?;
    let kind = EventType::parse("revocation")?;
    Ok(Item::Event(Draft::from_json(vec![stream], kind, &data, now)?))
}

/// Applies the changes of all hubs until that fails.
pub async fn follow_revocations(
    _: SourceHandle,
    history: Arc<History>,
    revocations: Arc<Revocations>,
) -> Result<(), SourceError> {
    let stream = Selector::parse(REVOCATIONS_STREAM)?;
    let interest = Arc::new(Interest::new(vec![stream], None)?);
    let mut cursor = history.head();
    let (all, target) = (history.clone(), revocations.clone());
    off_thread(move || {
        let mut changes = Vec::new();
        read_stream(&all, REVOCATIONS_STREAM, &mut |entry| changes.extend(change_of(entry)))?;
        apply(&target, &changes)
    })
    .await?;
    let mut turns = tokio::time::interval(CHECK_INTERVAL);
    loop {
        turns.tick().await;
        let head = history.head();
        if head == cursor {
            continue;
        }
        let (history, target) = (history.clone(), revocations.clone());
        let (interest, after) = (interest.clone(), cursor);
        off_thread(move || {
            let mut changes = Vec::new();
            read(&history, &interest, after, head, &mut |entry| changes.extend(change_of(entry)))?;
            apply(&target, &changes)
        })
        .await?;
        cursor = head;
    }
}

fn change_of(entry: &Entry) -> Option<RevocationChange> {
    let Body::Event { payload, .. } = &entry.body else { return None };
    serde_json::from_slice(payload.as_bytes()).ok()
}

/// Applies the last change of each target, which is the one that counts.
fn apply(revocations: &Revocations, changes: &[RevocationChange]) -> Result<(), SourceError> {
    for (n, change) in changes.iter().enumerate() {
        if changes[n + 1..].iter().all(|later| later.target != change.target) {
            revocations.apply(change)?;
        }
    }
    Ok(())
}
