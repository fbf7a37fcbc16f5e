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
const MIN_PAUSE: Duration = Duration::from_secs(30);
const MIN_PAUSE_IN_MEMORY: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);
/// Pause between two attempts to drop obsolete tables while the disk is full.
const PAUSE_WHILE_FULL: Duration = Duration::from_secs(5);
/// Normal excess of the files over the stored entries, due to write-ahead files and tables that
/// wait for a compaction. A larger excess is treated as entries that an earlier process removed.
const MAX_PENDING_EXCESS_BYTES: u64 = 256 * 1024 * 1024;
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

/// Attempts to remove replaced table files after a rewrite, and the pause before each.
const REMOVE_ATTEMPTS: u32 = 5;
const REMOVE_PAUSE: Duration = Duration::from_secs(1);

/// A request to the reclaim thread.
struct ReclaimRequest {
    /// Bytes of live entries.
    live_bytes: u64,
    /// True if only obsolete tables are dropped.
    is_cheap: bool,
    /// True while publishes are refused for lack of space.
    is_full: bool,
}

/// Counts dead bytes and wakes the reclaim thread when a run is worthwhile.
pub(super) struct Reclaimer {
    requests: SyncSender<ReclaimRequest>,
    dead_bytes: u64,
    next: Instant,
    next_while_full: Instant,
    min_dead_bytes: u64,
    min_pause: Duration,
}

impl Reclaimer {
    /// Starts the thread, which ends when this value is dropped. `live_bytes` is the number of
    /// bytes of live entries.
    ///
    /// The first run waits for a pause, so that a hub that restarts repeatedly does not rewrite its
    /// store each time.
    pub(super) fn start(
        kv: Kv,
        live_bytes: u64,
        free_space: Option<FreeSpaceGuard>,
        telemetry: Telemetry,
    ) -> std::io::Result<Self> {
        let (requests, receiver) = sync_channel(1);
        let (min_dead_bytes, min_pause) = match kv {
            Kv::Disk(_) => (MIN_DEAD_BYTES, MIN_PAUSE),
            Kv::Memory(_) => (MIN_DEAD_BYTES_IN_MEMORY, MIN_PAUSE_IN_MEMORY),
        };
        let dead_bytes = kv.disk_bytes().saturating_sub(live_bytes + MAX_PENDING_EXCESS_BYTES);
        let worker = Worker {
            kv,
            free_space,
            telemetry,
            min_pause,
            failures: 0,
            next_attempt: Instant::now(),
        };
        std::thread::Builder::new().name("reclaim".into()).spawn(move || worker.run(&receiver))?;
        let now = Instant::now();
        Ok(Self {
            requests,
            dead_bytes,
            next: now + min_pause,
            next_while_full: now,
            min_dead_bytes,
            min_pause,
        })
    }

    /// Adds `removed_bytes` to the dead bytes, and requests a run if that is worthwhile for
    /// `live_bytes` of live entries or a full disk.
    pub(super) fn record_removed(&mut self, removed_bytes: u64, live_bytes: u64, is_full: bool) {
        self.dead_bytes += removed_bytes;
        let now = Instant::now();
        if self.dead_bytes >= self.min_dead_bytes.max(live_bytes / DEAD_BYTES_DIVISOR)
            && now >= self.next
        {
            if self
                .requests
                .try_send(ReclaimRequest { live_bytes, is_cheap: false, is_full })
                .is_ok()
            {
                self.dead_bytes = 0;
                self.next = now + self.min_pause;
                self.next_while_full = now + PAUSE_WHILE_FULL;
            }
        } else if is_full && now >= self.next_while_full {
            // A rewrite may free more if it fits; it keeps the usual pause between rewrites.
            let drops_only = now < self.next;
            if self
                .requests
                .try_send(ReclaimRequest { live_bytes, is_cheap: drops_only, is_full })
                .is_ok()
            {
                self.next_while_full = now + PAUSE_WHILE_FULL;
                if !drops_only {
                    self.next = now + self.min_pause;
                }
            }
        }
    }
}

/// State of the reclaim thread.
struct Worker {
    kv: Kv,
    free_space: Option<FreeSpaceGuard>,
    telemetry: Telemetry,
    min_pause: Duration,
    /// Consecutive failures, and the time of the next allowed attempt.
    failures: u32,
    next_attempt: Instant,
}

impl Worker {
    fn run(mut self, receiver: &Receiver<ReclaimRequest>) {
        while let Ok(request) = receiver.recv() {
            if Instant::now() < self.next_attempt {
                continue;
            }
            let (started_at, before_bytes) = (Instant::now(), self.kv.disk_bytes());
            match self.reclaim(&request) {
                Ok(has_rewritten) => {
                    self.failures = 0;
                    let after_bytes = self.kv.disk_bytes();
                    if has_rewritten {
                        self.telemetry.journal_reclaimed();
                    }
                    if has_rewritten || after_bytes < before_bytes {
                        let seconds = started_at.elapsed().as_secs_f64();
                        tracing::info!(before_bytes, after_bytes, seconds, "reclaimed disk space");
                    }
                }
                Err(error) => {
                    let pause = pause_after(self.failures, self.min_pause);
                    self.failures += 1;
                    self.next_attempt = Instant::now() + pause;
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
    fn has_space_to_drop(&self, free_space: &FreeSpaceGuard) -> bool {
        let flushed_bytes = self.kv.unflushed_bytes() + DROP_OVERHEAD_BYTES;
        let may_ignore_compaction =
            !free_space.is_reserve_spent() || self.kv.replaced_bytes() >= MIN_REPLACED_BYTES;
        let compaction_bytes =
            if may_ignore_compaction { 0 } else { self.kv.next_compaction_bytes() };
        free_space.free_bytes().is_none_or(|free| free >= flushed_bytes + compaction_bytes)
    }

    /// Drops obsolete tables, then rewrites the live entries if they fit; returns true if it
    /// rewrote them.
    fn reclaim(&self, request: &ReclaimRequest) -> Result<bool, JournalError> {
        if self.free_space.as_ref().is_some_and(|free_space| !self.has_space_to_drop(free_space)) {
            return Ok(false);
        }
        self.kv.drop_obsolete()?;
        if request.is_cheap {
            return Ok(false);
        }
        let needed_bytes = rewritten_bytes(request.live_bytes, self.kv.table_bytes());
        // While the disk is full, a rewrite may use the reserve, down to the level below which
        // nothing may be written.
        let available = self.free_space.as_ref().and_then(|free_space| {
            if request.is_full {
                free_space.above_spent_reserve()
            } else {
                free_space.above_reserve()
            }
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
        // On a full disk, the next request removes them, and further flushes would start compactions.
        if !request.is_full {
            self.remove_replaced()?;
        }
        Ok(true)
    }

    /// Removes the table files that the rewrite has replaced and that a concurrent compaction has
    /// kept: an idle hub would keep them.
    fn remove_replaced(&self) -> Result<(), JournalError> {
        for _ in 0..REMOVE_ATTEMPTS {
            let (active_compactions, _) = self.kv.compactions();
            if active_compactions == 0 && self.kv.replaced_bytes() == 0 {
                break;
            }
            std::thread::sleep(REMOVE_PAUSE);
            self.kv.drop_obsolete()?;
        }
        Ok(())
    }
}

/// Returns the maximum number of bytes that a rewrite of `table_bytes` of tables with `live_bytes`
/// of live entries can write.
fn rewritten_bytes(live_bytes: u64, table_bytes: u64) -> u64 {
    let bound =
        live_bytes.saturating_mul(BYTES_PER_KEPT_BYTE).saturating_add(REWRITE_OVERHEAD_BYTES);
    bound.min(table_bytes)
}

/// Returns the pause after a failure, which doubles with each one before it.
fn pause_after(failures: u32, min_pause: Duration) -> Duration {
    min_pause.saturating_mul(1 << failures.min(16)).min(MAX_PAUSE)
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
