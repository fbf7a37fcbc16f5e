//! Lifetimes of streams: which are over, and the removal of those that are.
//!
//! Reads are recorded in memory, and in the journal once they prolong a lifetime by a tenth. A start counts as a use.

use super::last_values::off_thread;
use super::publish_with_retry::publish;
use super::supervisor::SourceHandle;
use crate::event::durable::{Lifetime, StreamChange, StreamCommand};
use crate::event::{Position, StreamName, Timestamp};
use crate::journal::{History, Item, PublishError, Publisher, StreamState, now};
use crate::source::error::SourceError;
use dashmap::DashMap;
use std::sync::Arc;
use std::time::Duration;

/// Interval at which streams whose lifetime is over are removed. They are refused exactly from its end on.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of streams that one sweep removes.
const MAX_REMOVED: usize = 1_000;
/// Part of a lifetime by which a read prolongs it before that is recorded in the journal.
const RECORDED_SHARE: u64 = 10;

/// Lifetimes of the streams of this hub. Cheap to clone.
#[derive(Clone)]
pub struct Lifetimes(Arc<Inner>);

struct Inner {
    publisher: Publisher,
    started: Timestamp,
    /// Last use of streams that are read; only of those whose lifetime depends on it.
    uses: DashMap<StreamName, Use>,
}

/// Use of a stream.
#[derive(Clone, Copy)]
struct Use {
    created: Position,
    last: Timestamp,
    /// Time of the use that the journal has, or is about to have.
    recorded: Timestamp,
}

impl Lifetimes {
    /// Creates the list; the journal has been opened just now.
    pub fn new(publisher: Publisher) -> Self {
        Self(Arc::new(Inner { publisher, started: now(), uses: DashMap::new() }))
    }

    /// Returns true if the lifetime of a stream is over.
    pub fn is_over(&self, name: &StreamName, state: &StreamState) -> bool {
        let Some(record) = &state.record else { return false };
        let used = self.last_use(name, state.created);
        let used = used.max(record.used).max(state.last_time);
        record.properties.lifetime.is_over(used, now())
    }

    fn last_use(&self, name: &StreamName, created: Position) -> Timestamp {
        let found = self.0.uses.get(name).filter(|found| found.created == created);
        found.map_or(self.0.started, |found| found.last.max(self.0.started))
    }

    /// Records that a stream is read.
    pub fn touch(&self, name: &StreamName, state: &StreamState) {
        let Some(record) = &state.record else { return };
        let Lifetime::AfterUse { seconds } = record.properties.lifetime else { return };
        let (last, created) = (now(), state.created);
        let recorded = record.used.max(state.last_time);
        let mut found = self.0.uses.entry(name.clone()).or_insert(Use { created, last, recorded });
        if found.created != created {
            *found = Use { created, last, recorded };
        }
        found.last = last;
        found.recorded = found.recorded.max(recorded);
        let share_ms = seconds.saturating_mul(1000) / RECORDED_SHARE;
        if last.ms() < found.recorded.ms().saturating_add(share_ms) {
            return;
        }
        let before = std::mem::replace(&mut found.recorded, last);
        drop(found);
        let (own, name) = (self.clone(), name.clone());
        actix::spawn(async move {
            let change = StreamChange::Touch { created };
            if command(&own.0.publisher, name.clone(), change).await.is_err()
                && let Some(mut found) = own.0.uses.get_mut(&name)
            {
                // The next read tries again.
                found.recorded = before;
            }
        });
    }

    /// Removes a stream whose lifetime is over, without waiting for it.
    pub fn expire(&self, name: &StreamName, created: Position) {
        let (publisher, name) = (self.0.publisher.clone(), name.clone());
        let change = StreamChange::Expire { created };
        // A failure leaves the stream to the next read or sweep.
        actix::spawn(async move { drop(command(&publisher, name, change).await) });
    }

    /// Removes streams whose lifetime is over, once a second.
    pub async fn run(self, _feed: SourceHandle, history: Arc<History>) -> Result<(), SourceError> {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            let (lifetimes, history) = (self.clone(), history.clone());
            for (name, created) in off_thread(move || Ok(lifetimes.over(&history))).await? {
                match command(&self.0.publisher, name, StreamChange::Expire { created }).await {
                    // It was used or removed meanwhile.
                    Ok(()) | Err(PublishError::Refused(_)) => {}
                    Err(error) => {
                        tracing::debug!(%error, "failed to remove a stream whose lifetime is over");
                        break;
                    }
                }
            }
        }
    }

    /// Returns streams whose lifetime is over, and forgets the use of those that are gone.
    fn over(&self, history: &History) -> Vec<(StreamName, Position)> {
        self.0.uses.retain(|name, found| {
            history.stream_state(name).is_some_and(|state| state.created == found.created)
        });
        let (mut over, now) = (Vec::new(), now());
        history.for_each_lifetime(|name, record| {
            let used = record.used.max(self.last_use(name, record.created));
            if over.len() < MAX_REMOVED && record.properties.lifetime.is_over(used, now) {
                over.push((name.clone(), record.created));
            }
        });
        over.retain(|(name, _)| {
            history.stream_state(name).is_some_and(|state| self.is_over(name, &state))
        });
        over
    }
}

async fn command(
    publisher: &Publisher,
    stream: StreamName,
    change: StreamChange,
) -> Result<(), PublishError> {
    publish(publisher, vec![Item::Command(Box::new(StreamCommand { stream, change }))]).await
}
