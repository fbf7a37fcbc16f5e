//! Reclaiming disk space. Compaction is driven by writes, so an idle hub would keep removed
//! entries, and a full disk accepts no writes. A thread reclaims the space in both cases.
//!
//! Obsolete tables are dropped first, which writes almost nothing. Compacting the rest rewrites all
//! live entries, and starts only if they fit into the free space above the reserve, or above a
//! quarter of the reserve while the disk is full.

use super::free_space::FreeSpaceGuard;
use super::kv::Kv;
use crate::journal::error::JournalError;
use crate::telemetry::Telemetry;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Minimum number of dead bytes for a run; fewer are left to ordinary compaction. The minimum in
/// memory is lower, because there is no compaction.
const MIN_DEAD_BYTES: u64 = 32 * 1024 * 1024;
const MIN_DEAD_BYTES_IN_MEMORY: u64 = 1024 * 1024;
/// A rewrite reads and writes all live bytes, so it waits until the dead bytes reach the live bytes
/// divided by this.
const DEAD_BYTES_DIVISOR: u64 = 2;
/// Pause after a run; each consecutive failure doubles it.
const REST: Duration = Duration::from_secs(30);
const REST_IN_MEMORY: Duration = Duration::from_secs(1);
const MAX_REST: Duration = Duration::from_secs(60 * 60);
/// Pause between two attempts to drop obsolete tables while the disk is full.
const REST_WHILE_FULL: Duration = Duration::from_secs(5);
/// Normal excess of the files over the stored entries, due to write-ahead files and tables that
/// wait for a compaction. A larger excess is taken for entries that an earlier process removed.
const USUAL_EXCESS_BYTES: u64 = 256 * 1024 * 1024;
/// Upper bound of a rewritten store, per byte of live entries: the smallest entries take four times
/// their bytes with their indexes.
const BYTES_PER_KEPT_BYTE: u64 = 4;
const REWRITE_OVERHEAD_BYTES: u64 = 64 * 1024 * 1024;
/// Minimum bytes of replaced table files that are removed while the reserve is spent even if the
/// compaction that may follow does not fit. Without this, such a hub would stay full forever.
const MIN_REPLACED_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes that dropping obsolete tables writes besides unflushed entries: a manifest and small
/// tables.
const DROP_OVERHEAD_BYTES: u64 = 1024 * 1024;

/// A request to the reclaim thread.
struct ReclaimRequest {
    /// Bytes of live entries.
    kept: u64,
    /// True if only obsolete tables are dropped.
    is_cheap: bool,
    /// True while publishes are refused for lack of space.
    is_full: bool,
}

/// Counts dead bytes and wakes the reclaim thread when a run is worthwhile.
pub(super) struct Reclaimer {
    wake: SyncSender<ReclaimRequest>,
    dead_bytes: u64,
    next: Instant,
    next_while_full: Instant,
    min_dead_bytes: u64,
    rest: Duration,
}

impl Reclaimer {
    /// Starts the thread, which ends when this value is dropped. `kept` is the number of live
    /// bytes.
    ///
    /// The first run waits for a pause, so that a hub that restarts repeatedly does not rewrite its
    /// store each time.
    pub(super) fn start(
        kv: Kv,
        kept: u64,
        room: Option<FreeSpaceGuard>,
        telemetry: Telemetry,
    ) -> std::io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let (min_dead_bytes, rest) = match kv {
            Kv::Disk(_) => (MIN_DEAD_BYTES, REST),
            Kv::Memory(_) => (MIN_DEAD_BYTES_IN_MEMORY, REST_IN_MEMORY),
        };
        let dead_bytes = kv.disk_bytes().saturating_sub(kept + USUAL_EXCESS_BYTES);
        let worker = Worker { kv, room, telemetry, rest, failures: 0, resume: Instant::now() };
        std::thread::Builder::new().name("reclaim".into()).spawn(move || worker.run(&woken))?;
        let now = Instant::now();
        Ok(Self { wake, dead_bytes, next: now + rest, next_while_full: now, min_dead_bytes, rest })
    }

    /// Adds `removed` to the dead bytes, and requests a run if that is worthwhile for `kept` live
    /// bytes or a full disk.
    pub(super) fn note(&mut self, removed: u64, kept: u64, is_full: bool) {
        self.dead_bytes += removed;
        let now = Instant::now();
        if self.dead_bytes >= self.min_dead_bytes.max(kept / DEAD_BYTES_DIVISOR) && now >= self.next
        {
            if self.wake.try_send(ReclaimRequest { kept, is_cheap: false, is_full }).is_ok() {
                self.dead_bytes = 0;
                self.next = now + self.rest;
                self.next_while_full = now + REST_WHILE_FULL;
            }
        } else if is_full && now >= self.next_while_full {
            // A rewrite may free more if it fits; it keeps the usual pause between rewrites.
            let drops_only = now < self.next;
            if self.wake.try_send(ReclaimRequest { kept, is_cheap: drops_only, is_full }).is_ok() {
                self.next_while_full = now + REST_WHILE_FULL;
                if !drops_only {
                    self.next = now + self.rest;
                }
            }
        }
    }
}

/// State of the reclaim thread.
struct Worker {
    kv: Kv,
    room: Option<FreeSpaceGuard>,
    telemetry: Telemetry,
    rest: Duration,
    /// Consecutive failures, and the time of the next allowed attempt.
    failures: u32,
    resume: Instant,
}

impl Worker {
    fn run(mut self, woken: &Receiver<ReclaimRequest>) {
        while let Ok(work) = woken.recv() {
            if Instant::now() < self.resume {
                continue;
            }
            let (began, before_bytes) = (Instant::now(), self.kv.disk_bytes());
            match self.reclaim(&work) {
                Ok(has_rewritten) => {
                    self.failures = 0;
                    let after_bytes = self.kv.disk_bytes();
                    if has_rewritten {
                        self.telemetry.journal_reclaimed();
                    }
                    if has_rewritten || after_bytes < before_bytes {
                        let seconds = began.elapsed().as_secs_f64();
                        tracing::info!(before_bytes, after_bytes, seconds, "reclaimed disk space");
                    }
                }
                Err(error) => {
                    let pause = pause_after(self.failures, self.rest);
                    self.failures += 1;
                    self.resume = Instant::now() + pause;
                    let retry_s = pause.as_secs();
                    tracing::error!(%error, retry_s, "failed to reclaim disk space");
                }
            }
        }
    }

    /// Returns true if there is space to drop obsolete tables: for the flushes that this needs and,
    /// if the reserve is spent, for the compaction that fjall may start after them, whose failure
    /// would poison the store. Space for that compaction is not required if the drop frees much
    /// space.
    fn has_room_to_drop(&self, room: &FreeSpaceGuard) -> bool {
        let flushed_bytes = self.kv.unflushed_bytes() + DROP_OVERHEAD_BYTES;
        let is_risked = !room.is_reserve_spent() || self.kv.replaced_bytes() >= MIN_REPLACED_BYTES;
        let behind_bytes = if is_risked { 0 } else { self.kv.next_compaction_bytes() };
        room.free_bytes().is_none_or(|free| free >= flushed_bytes + behind_bytes)
    }

    /// Drops obsolete tables, then rewrites the live entries if they fit; returns true if it
    /// rewrote them.
    fn reclaim(&self, work: &ReclaimRequest) -> Result<bool, JournalError> {
        if self.room.as_ref().is_some_and(|room| !self.has_room_to_drop(room)) {
            return Ok(false);
        }
        self.kv.drop_obsolete()?;
        if work.is_cheap {
            return Ok(false);
        }
        let needed_bytes = rewritten_bytes(work.kept, self.kv.table_bytes());
        // While the disk is full, a rewrite may use the reserve, down to the level below which
        // nothing may be written.
        let available = self.room.as_ref().and_then(|room| {
            if work.is_full { room.above_spent_reserve() } else { room.above_reserve() }
        });
        if let Some(available_bytes) = available
            && available_bytes < needed_bytes
        {
            tracing::warn!(
                needed_bytes,
                available_bytes,
                "too little disk space to compact the journal"
            );
            return Ok(false);
        }
        self.kv.compact()?;
        Ok(true)
    }
}

/// Returns the maximum number of bytes that a rewrite of `table_bytes` of tables with `kept` live
/// bytes of entries can write.
fn rewritten_bytes(kept: u64, table_bytes: u64) -> u64 {
    let bound = kept.saturating_mul(BYTES_PER_KEPT_BYTE).saturating_add(REWRITE_OVERHEAD_BYTES);
    bound.min(table_bytes)
}

/// Returns the pause after a failure, which doubles with each one before it.
fn pause_after(failures: u32, rest: Duration) -> Duration {
    rest.saturating_mul(1 << failures.min(16)).min(MAX_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrite_size_is_bounded_by_live_bytes_and_table_bytes() {
        const MIB: u64 = 1024 * 1024;
        assert_eq!(rewritten_bytes(190 * MIB, 250 * MIB), 250 * MIB);
        assert_eq!(rewritten_bytes(10 * MIB, 900 * MIB), 104 * MIB);
        assert_eq!(rewritten_bytes(u64::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn pause_doubles_with_each_failure_up_to_an_hour() {
        let minutes = |failures| pause_after(failures, Duration::from_secs(60)).as_secs() / 60;
        assert_eq!([0, 1, 2, 5, 6, 40].map(minutes), [1, 2, 4, 32, 60, 60]);
    }
}
