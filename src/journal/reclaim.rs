//! Giving space back. Compaction is driven by writes, so an idle hub would keep what retention
//! removed; here a thread rewrites the store once enough of it is dead.

use super::keys;
use super::kv::{Changes, Kv, KvError, Sync};
use crate::telemetry::Telemetry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Dead bytes below this are left to ordinary compaction; in memory there is none.
const MIN_DEAD_BYTES: u64 = 32 * 1024 * 1024;
const MIN_DEAD_BYTES_IN_MEMORY: u64 = 1024 * 1024;
/// A rewrite reads and writes what is alive, so it waits until this share of it is dead.
const DEAD_SHARE: u64 = 2;
/// A fully rewritten store is left alone at least this long.
const REST: Duration = Duration::from_secs(30);
const REST_IN_MEMORY: Duration = Duration::from_secs(1);
/// What the files may take beyond what is kept before it looks as if something dead was left by
/// an earlier run: write-ahead files, and tables that wait for a compaction.
const USUAL_EXCESS_BYTES: u64 = 256 * 1024 * 1024;

/// What the thread is woken for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Enough is dead.
    Space,
    /// Something is that must not stay.
    Purge,
}

/// Counts what died and wakes the thread when it is worth it, or when it is due.
pub(super) struct Reclaimer {
    wake: SyncSender<Work>,
    purge_within: Duration,
    purge_at: Option<Instant>,
    /// Whether it was told that one waits for room.
    purge_waits: bool,
    /// Whether one failed, so that it is to be tried again.
    purge_failed: Arc<AtomicBool>,
    dead_bytes: u64,
    last: Option<Instant>,
    min_dead_bytes: u64,
    rest: Duration,
}

impl Reclaimer {
    /// Starts the thread; it ends when this value is dropped. `kept` are the bytes alive now.
    pub(super) fn start(
        kv: Kv,
        (kept, purge_within): (u64, Duration),
        telemetry: Telemetry,
    ) -> std::io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let (min_dead_bytes, rest) = match kv {
            Kv::Disk(_) => (MIN_DEAD_BYTES, REST),
            Kv::Memory(_) => (MIN_DEAD_BYTES_IN_MEMORY, REST_IN_MEMORY),
        };
        let dead_bytes = kv.disk_bytes().saturating_sub(kept + USUAL_EXCESS_BYTES);
        let purge_failed = Arc::<AtomicBool>::default();
        let failed = purge_failed.clone();
        std::thread::Builder::new().name("reclaim".into()).spawn(move || {
            run(&kv, &woken, (&telemetry, &failed));
        })?;
        let (last, purge_at) = (None, None);
        Ok(Self {
            wake,
            purge_within,
            purge_at,
            purge_waits: false,
            purge_failed,
            dead_bytes,
            last,
            min_dead_bytes,
            rest,
        })
    }

    /// Notes that `removed` bytes died while `kept` live on.
    pub(super) fn note(&mut self, removed: u64, kept: u64) {
        self.dead_bytes += removed;
        let enough = self.dead_bytes >= self.min_dead_bytes.max(kept / DEAD_SHARE);
        let rested = self.last.is_none_or(|last| last.elapsed() >= self.rest);
        if enough && rested && self.wake.try_send(Work::Space).is_ok() {
            self.dead_bytes = 0;
            self.last = Some(Instant::now());
        }
    }

    /// Notes whether something was deleted that must not stay; those of a while go together. To rewrite
    /// takes room, without which it waits.
    pub(super) fn note_purge(&mut self, must_purge: bool, has_room: bool) {
        if must_purge {
            self.purge_at.get_or_insert_with(|| Instant::now() + self.purge_within);
        }
        if self.purge_failed.swap(false, Ordering::AcqRel) {
            self.purge_at.get_or_insert_with(|| Instant::now() + REST);
        }
        let is_due = self.purge_at.is_some_and(|at| at <= Instant::now());
        let waits = is_due && !has_room;
        if waits && !self.purge_waits {
            tracing::warn!(
                "what is deleted stays in the files until the disk has room to rewrite them"
            );
        }
        self.purge_waits = waits;
        // Where it is busy, it is tried again.
        if is_due && has_room && self.wake.try_send(Work::Purge).is_ok() {
            self.purge_at = None;
            self.dead_bytes = 0;
        }
    }
}

fn run(kv: &Kv, woken: &Receiver<Work>, (telemetry, failed): (&Telemetry, &AtomicBool)) {
    while let Ok(work) = woken.recv() {
        let (began, before) = (Instant::now(), kv.disk_bytes());
        let done = match work {
            Work::Space => kv.reclaim(),
            Work::Purge => purge(kv),
        };
        match done {
            Ok(()) => {
                telemetry.journal_reclaimed();
                tracing::info!(
                    before_bytes = before,
                    after_bytes = kv.disk_bytes(),
                    seconds = began.elapsed().as_secs_f64(),
                    "gave back the space of what retention removed"
                );
            }
            Err(error) => {
                failed.store(work == Work::Purge, Ordering::Release);
                tracing::error!("space could not be given back: {error}");
            }
        }
    }
}

/// Rewrites the store, and notes that nothing is left of what was deleted before.
fn purge(kv: &Kv) -> Result<(), KvError> {
    let before = kv.get(keys::PURGE)?;
    kv.purge()?;
    // What was deleted meanwhile has another rewrite to come.
    if kv.get(keys::PURGE)? == before {
        let mut changes = Changes::default();
        changes.remove(keys::PURGE.to_vec());
        kv.commit(changes, Sync::Process)?;
    }
    Ok(())
}
