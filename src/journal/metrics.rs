//! Metrics of the journal's content, sampled once a second by the writer.

use super::keys::{self, StoredEntry};
use super::kv::{Expiry as _, Kv};
use super::store::{Floors, Totals};
use crate::event::Position;
use crate::telemetry::JournalSample;
use std::sync::Arc;

/// Maximum number of dead entries that one search for the oldest skips; the next search continues.
const MAX_SKIPPED_DEAD_ENTRIES: usize = 4096;

pub(super) struct JournalMetrics {
    kv: Kv,
    floors: Arc<Floors>,
    /// Lower bound of the position of the oldest entry.
    oldest: Position,
}

impl JournalMetrics {
    pub(super) fn new(kv: Kv, floors: Arc<Floors>) -> Self {
        Self { kv, floors, oldest: Position::ZERO }
    }

    pub(super) fn sample(
        &mut self,
        totals: &Totals,
        streams: usize,
        free_bytes: u64,
    ) -> JournalSample {
        let (compacting, compacted) = self.kv.compactions();
        JournalSample {
            bytes: totals.bytes,
            streams,
            oldest_s: self.oldest_s(totals),
            disk_bytes: self.kv.disk_bytes(),
            disk_free_bytes: free_bytes,
            compacting,
            compacted,
        }
    }

    /// Returns the time of the oldest entry. An entry that cannot be read is skipped: other code
    /// looks for damage.
    fn oldest_s(&mut self, totals: &Totals) -> Option<f64> {
        if totals.bytes == 0 {
            return None;
        }
        let (from, until) = (keys::entry(self.oldest), keys::end_of(keys::ENTRY));
        let mut time = None;
        for (key, value) in
            self.kv.walk(from, until).map_while(Result::ok).take(MAX_SKIPPED_DEAD_ENTRIES)
        {
            self.oldest = keys::position_of(&key).unwrap_or(self.oldest);
            time = StoredEntry::read(&value).map(|entry| entry.time.ms() as f64 / 1000.0);
            if !self.floors.is_dead(&key, &value) {
                break;
            }
        }
        time
    }
}
