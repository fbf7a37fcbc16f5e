//! Publishing for sources that must not lose events: retries until they are accepted.

use crate::backoff::Backoff;
use crate::event::Draft;
use crate::journal::{Item, PublishError, PublishUnit, Publisher};
use std::time::Duration;
use tokio::time::sleep;

/// Overhead of an event in the publish queue, in bytes.
const EVENT_OVERHEAD_BYTES: usize = 128;
/// Maximum first pause, and maximum pause.
const RETRY_AFTER: Duration = Duration::from_millis(50);
const RETRY_WITHIN: Duration = Duration::from_secs(5);

/// Returns events as one unit.
pub(super) fn unit(drafts: Vec<Draft>) -> PublishUnit {
    drafts.into_iter().map(Item::Event).collect()
}

/// Publishes a unit, without a retry.
pub(super) async fn publish(publisher: &Publisher, unit: PublishUnit) -> Result<(), PublishError> {
    let bytes = unit.iter().map(|item| item.data_bytes() + EVENT_OVERHEAD_BYTES).sum();
    publisher.publish(unit, bytes).await.map(drop)
}

/// Publishes a unit, and retries for as long as the publish queue or the disk is full. Returns any
/// other error. `waits` is called with the reason of each retry.
pub(super) async fn publish_with_retry(
    publisher: &Publisher,
    unit: PublishUnit,
    waits: impl Fn(&PublishError),
) -> Result<(), PublishError> {
    let mut backoff = Backoff::new(RETRY_AFTER, RETRY_WITHIN);
    loop {
        match publish(publisher, unit.clone()).await {
            Err(
                why @ (PublishError::QueueFull
                | PublishError::DiskFull(_)
                | PublishError::LogUnavailable),
            ) => waits(&why),
            done => return done,
        }
        sleep(backoff.pause()).await;
    }
}
