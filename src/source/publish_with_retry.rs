//! Publishing for those who cannot lose anything: again and again, until it is taken.

use crate::backoff::Backoff;
use crate::event::Draft;
use crate::journal::{Item, PublishError, Publisher, Unit};
use std::time::Duration;
use tokio::time::sleep;

/// Size of an event in the publish queue beside its data, in bytes.
const EVENT_OVERHEAD_BYTES: usize = 128;
/// Longest first pause, and longest pause.
const RETRY_AFTER: Duration = Duration::from_millis(50);
const RETRY_WITHIN: Duration = Duration::from_secs(5);

/// These as one unit.
pub(super) fn unit(drafts: Vec<Draft>) -> Unit {
    drafts.into_iter().map(Item::Event).collect()
}

/// Publishes a unit, once.
pub(super) async fn publish(publisher: &Publisher, unit: Unit) -> Result<(), PublishError> {
    let data = |item: &Item| match item {
        Item::Event(draft) => draft.payload().as_bytes().len(),
        Item::End(_) | Item::Delete { .. } => 0,
    };
    let bytes = unit.iter().map(|item| data(item) + EVENT_OVERHEAD_BYTES).sum();
    publisher.publish(unit, bytes).await.map(drop)
}

/// The same until it is taken, however long the journal has no room for it; an error where that would
/// never help. `waits` is told why it is tried again.
pub(super) async fn publish_with_retry(
    publisher: &Publisher,
    unit: Unit,
    waits: impl Fn(&PublishError),
) -> Result<(), PublishError> {
    let mut backoff = Backoff::new(RETRY_AFTER, RETRY_WITHIN);
    loop {
        match publish(publisher, unit.clone()).await {
            Err(why @ (PublishError::QueueFull | PublishError::DiskFull(_))) => waits(&why),
            done => return done,
        }
        sleep(backoff.pause()).await;
    }
}
