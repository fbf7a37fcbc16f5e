//! The bytes on disk, by fjall: one keyspace, so that no rarely flushed second one pins old files.

use super::{Change, Expiry, KvError, Sync, Walk};
use bytes::Bytes;
use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use rand::RngCore as _;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Half and half with the journal bound below it keeps the longest commit near 50 ms; at fjall's
/// defaults (64 and 512 MiB) it is near 190 ms.
const MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of write-ahead files kept at most, which bounds what a start replays.
const MAX_WAL_BYTES: u64 = 64 * 1024 * 1024;
/// Blocks kept in memory for readers who are behind what `Recent` holds.
const BLOCK_CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Open table files: a tenth of the smallest usual file limit.
const MAX_OPEN_TABLES: usize = 100;
/// Flush and compaction threads: the disk is one, and the cores belong to the sessions.
const WORKER_THREADS: usize = 2;

/// Bytes after which fjall begins a new write-ahead file, at a flush; until then what was deleted stays in
/// the one there is.
const WAL_TURNS_AFTER_BYTES: usize = 64_000_000;
/// What is written at once to come to that.
const FILLER_BYTES: usize = 1024 * 1024;
/// Where it is written.
const FILLER: &[u8] = b"m:filler";

/// Written to move the sequence numbers on.
const RECLAIMED: &[u8] = b"m:reclaimed";
/// The first flush moves the mark below which versions are let go, the second lets them go.
const FLUSHES_UNTIL_REMOVED: usize = 2;

#[derive(Clone)]
pub(crate) struct DiskKv {
    db: Database,
    keyspace: Keyspace,
}

impl DiskKv {
    /// Opens or creates the files below `path`; `expiry` is asked whenever they are rewritten.
    pub(crate) fn open(path: &Path, expiry: Arc<dyn Expiry>) -> Result<Self, KvError> {
        let filter: Arc<dyn Factory> = Arc::new(ExpiryFactory(expiry));
        let db = Database::builder(path)
            .manual_journal_persist(true)
            .max_journaling_size(MAX_WAL_BYTES)
            .cache_size(BLOCK_CACHE_BYTES)
            .max_cached_files(Some(MAX_OPEN_TABLES))
            .worker_threads(WORKER_THREADS)
            .with_compaction_filter_factories(Arc::new(move |_| Some(filter.clone())))
            .open()
            .map_err(failed)?;
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .manual_journal_persist(true)
        };
        let keyspace = db.keyspace("hub", options).map_err(failed)?;
        Ok(Self { db, keyspace })
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        Ok(self.keyspace.get(key).map_err(failed)?.map(Bytes::from))
    }

    pub(super) fn walk(&self, from: Vec<u8>, until: Vec<u8>) -> Walk<'_> {
        Box::new(self.keyspace.range(from..until).map(pair))
    }

    pub(super) fn walk_back(&self, from: Vec<u8>, until: Vec<u8>) -> Walk<'_> {
        Box::new(self.keyspace.range(from..until).rev().map(pair))
    }

    pub(super) fn commit(&self, changes: Vec<Change>, sync: Sync) -> Result<(), KvError> {
        let mode = match sync {
            Sync::Disk => PersistMode::SyncData,
            Sync::Process => PersistMode::Buffer,
        };
        let mut batch = self.db.batch().durability(Some(mode));
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        batch.commit().map_err(failed)
    }

    pub(super) fn reclaim(&self) -> Result<(), KvError> {
        self.keyspace.rotate_memtable_and_wait().map_err(failed)?;
        self.keyspace.major_compact().map_err(failed)?;
        // The files that compaction replaced are removed by a later flush that finds the sequence
        // numbers gone on; an idle hub would have none.
        for _ in 0..FLUSHES_UNTIL_REMOVED {
            self.commit(vec![(RECLAIMED.to_vec(), Some(Vec::new()))], Sync::Process)?;
            self.keyspace.rotate_memtable_and_wait().map_err(failed)?;
        }
        Ok(())
    }

    /// Drops every dead key from every file, the write-ahead files too.
    pub(super) fn purge(&self) -> Result<(), KvError> {
        let mut filler = vec![0; FILLER_BYTES];
        for _ in 0..=WAL_TURNS_AFTER_BYTES / FILLER_BYTES {
            // What could be compressed would not fill it.
            rand::rng().fill_bytes(&mut filler);
            self.commit(vec![(FILLER.to_vec(), Some(filler.clone()))], Sync::Process)?;
        }
        self.keyspace.rotate_memtable_and_wait().map_err(failed)?;
        self.commit(vec![(FILLER.to_vec(), None)], Sync::Process)?;
        self.reclaim()
    }

    pub(super) fn compactions(&self) -> (usize, (u64, Duration)) {
        let done = (self.db.compactions_completed() as u64, self.db.time_compacting());
        (self.db.active_compactions(), done)
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.db.disk_space().unwrap_or(0)
    }
}

fn pair(guard: fjall::Guard) -> Result<super::Pair, KvError> {
    let (key, value) = guard.into_inner().map_err(failed)?;
    Ok((key.into(), value.into()))
}

fn failed(error: fjall::Error) -> KvError {
    KvError(match error {
        fjall::Error::Poisoned => {
            "an earlier write or sync failed; restart the hub once the disk is well".into()
        }
        fjall::Error::Locked => "another process holds it".into(),
        fjall::Error::Io(e) => e.to_string(),
        other => other.to_string(),
    })
}

struct ExpiryFactory(Arc<dyn Expiry>);

impl Factory for ExpiryFactory {
    fn name(&self) -> &str {
        "expiry"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(ExpiryFilter(self.0.clone()))
    }
}

// `Expiry` only reads behind locks of its own, so a panic elsewhere leaves nothing half done here.
impl RefUnwindSafe for ExpiryFactory {}
impl UnwindSafe for ExpiryFactory {}

struct ExpiryFilter(Arc<dyn Expiry>);

impl CompactionFilter for ExpiryFilter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let dead = self.0.is_dead(item.key(), &item.value()?);
        // `Destroy` may bring back an older value of the key; that one is dead, too, being older.
        Ok(if dead { Verdict::Destroy } else { Verdict::Keep })
    }
}
