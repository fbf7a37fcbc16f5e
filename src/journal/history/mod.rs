//! History: all stored entries, read forward from a position.
//!
//! Promises: a read of `(after, until]` returns every selected entry that is still stored once, in
//! order; [`History::gap`] reports the removal of others. Recent entries come from memory, older
//! ones from the store.
//! Never: blocks the writer. [`History::read`] may wait for a disk; callers on a worker thread try
//! [`History::read_recent`] first.

mod forks;
mod read;
mod removal;
mod start;
#[cfg(feature = "mercure")]
mod updates;

pub use forks::{MAX_FORK_DEPTH, StreamState};
pub use read::FirstEntry;
pub use start::Start;

use super::keys;
use super::kv::Kv;
use super::recent::Recent;
use super::sealing::StreamKeys;
use super::store::{Epochs, StreamView, Streams, Totals};
use crate::cluster::{LogState, LogStatus};
use crate::event::{Epoch, EventId, Position, StreamName};
use crate::journal::error::{Damaged, JournalError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Maximum number of names that one list examines, including those that the caller may not read.
const MAX_EXAMINED: usize = 100_000;
/// Maximum number of batches between the last known end of the log and the id of a client that has read at
/// another hub. The end is read each second, unless this hub is cut off.
const MAX_BATCHES_AHEAD: u64 = 1_000_000;

/// A page of a list of streams.
pub struct StreamPage {
    /// Streams with their properties.
    pub streams: Vec<(StreamName, StreamView)>,
    /// Name at which the search stopped, if there may be more after it.
    pub stopped_at: Option<StreamName>,
}

/// Read access to a journal.
pub struct History {
    pub(super) kv: Kv,
    pub(super) streams: Arc<Streams>,
    pub(super) recent: Recent,
    pub(super) epochs: Epochs,
    pub(super) marks: Arc<Watermarks>,
    pub(super) keys: StreamKeys,
    /// State of the log, if other hubs have the same events.
    pub(super) log: Option<Arc<LogStatus>>,
}

/// Positions that the writer advances and readers check.
#[derive(Default)]
pub(crate) struct Watermarks {
    head: AtomicU64,
    removed_to: AtomicU64,
    removed_streams_to: AtomicU64,
    removals: AtomicU64,
    tombstones_lost_to: AtomicU64,
    /// Number of the removal at which `tombstones_lost_to` last moved.
    tombstones_lost_removal: AtomicU64,
}

impl Watermarks {
    pub(crate) fn set_removed(&self, totals: &Totals, removals: u64) {
        self.removed_streams_to.store(totals.forgotten_to.get(), Ordering::Release);
        self.removed_to.store(totals.removed_to.get(), Ordering::Release);
        self.removals.store(removals, Ordering::Release);
    }

    pub(crate) fn set_tombstones_lost(&self, totals: &Totals, removals: u64) {
        self.tombstones_lost_removal.store(removals, Ordering::Release);
        self.tombstones_lost_to.store(totals.tombstones_lost_to.get(), Ordering::Release);
    }

    pub(crate) fn set_head(&self, head: Position) {
        self.head.store(head.get(), Ordering::Release);
    }
}

fn load(mark: &AtomicU64) -> Position {
    Position::from_stored(mark.load(Ordering::Acquire))
}

impl History {
    /// Returns the last committed position.
    pub fn head(&self) -> Position {
        load(&self.marks.head)
    }

    /// Returns the epoch of new events.
    pub fn epoch(&self) -> Epoch {
        self.epochs.current()
    }

    /// Returns the id of the entry at `position`.
    pub fn id(&self, position: Position) -> EventId {
        self.epochs.id(position)
    }

    /// Returns the position that `id` names, or `None` if this journal does not know the id. In a cluster it
    /// may be one that another hub has applied and this one has not yet.
    pub fn resolve(&self, id: EventId) -> Option<Position> {
        self.epochs.resolve(id, self.head()).or_else(|| self.resolve_ahead(id))
    }

    fn resolve_ahead(&self, id: EventId) -> Option<Position> {
        // The end may not be known yet.
        let end = self.log.as_ref()?.state().end.max(self.head().batch());
        let is_plausible = id.position.batch() <= end.saturating_add(MAX_BATCHES_AHEAD);
        (id.epoch == self.epoch() && is_plausible).then_some(id.position)
    }

    /// Returns the log of the cluster; `None` for a single hub.
    pub fn log_status(&self) -> Option<&Arc<LogStatus>> {
        self.log.as_ref()
    }

    /// Returns the state of the log of the cluster; `None` for a single hub.
    pub fn log(&self) -> Option<LogState> {
        self.log.as_ref().map(|log| log.state())
    }

    /// Returns true if anything was removed after a position; a cheap first check.
    pub fn removed_after(&self, after: Position) -> bool {
        load(&self.marks.removed_to) > after
    }

    /// Returns the properties of a stream.
    pub fn stream(&self, name: &StreamName) -> Result<Option<StreamView>, JournalError> {
        let Some(row) = self.streams.visible(name) else { return Ok(None) };
        let from = keys::index(row.number, Position::from_stored(row.floor.get() + 1));
        let until = keys::index(row.number, Position::from_stored(u64::MAX));
        let first = self.kv.walk(from, until).next().transpose()?;
        Ok(Some(StreamView {
            ended: row.end.is_some(),
            events: row.events,
            bytes: row.bytes,
            first: first.and_then(|(key, _)| keys::position_of(&key)),
            last: row.last,
            last_time: row.last_time,
            published: row.ordinal,
        }))
    }

    /// Returns the streams with history that `may_read` allows and whose names start with `prefix`,
    /// sorted, beginning after `after`.
    pub fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        may_read: impl Fn(&StreamName) -> bool,
    ) -> Result<StreamPage, JournalError> {
        let start = match after {
            Some(after) if after >= prefix => [keys::name(after), vec![0]].concat(),
            _ => keys::name(prefix),
        };
        let mut page = StreamPage { streams: Vec::new(), stopped_at: None };
        for (examined, pair) in self.kv.walk(start, keys::end_of(keys::NAME)).enumerate() {
            let (key, _) = pair?;
            let Ok(text) = std::str::from_utf8(&key[1..]) else { continue };
            if page.streams.len() == limit || !text.starts_with(prefix) {
                break;
            }
            let Ok(name) = StreamName::parse(text) else { continue };
            if may_read(&name)
                && let Some(view) = self.stream(&name)?
            {
                page.streams.push((name.clone(), view));
            }
            if examined + 1 == MAX_EXAMINED {
                page.stopped_at = Some(name);
                break;
            }
        }
        Ok(page)
    }

    /// Returns the number of streams that have history.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }
}

fn damaged(key: &[u8]) -> JournalError {
    JournalError::Damaged(Damaged::Entry(key.to_vec()))
}
