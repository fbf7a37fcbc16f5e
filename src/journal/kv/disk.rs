//! The bytes on disk, by fjall: one keyspace, so that no rarely flushed second one pins old files.

use super::{Change, Expiry, JournalError, Sync, Walk};
use bytes::Bytes;
use fjall::compaction::Leveled;
use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};
use fjall::{
    AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable as _,
};
use std::collections::HashSet;
use std::fs;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Half and half with the journal bound below it keeps the longest commit near 50 ms; at fjall's
/// defaults (64 and 512 MiB) it is near 190 ms.
const MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;
/// Tables of the first level that fjall merges into the next one, and its levels.
const L0_TABLES_COMPACTED: usize = 4;
const LEVELS: usize = 7;
/// Size of a table file. A compaction rewrites some tables at once, and dead entries are dropped by
/// the table; at fjall's default (64 MiB) a compaction took as much room as a small journal.
const TABLE_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of write-ahead files kept at most, which bounds what a start replays.
const MAX_WAL_BYTES: u64 = 64 * 1024 * 1024;
/// Blocks kept in memory for readers who are behind what `Recent` holds.
const BLOCK_CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Open table files: a tenth of the smallest usual file limit.
const MAX_OPEN_TABLES: usize = 100;
/// Flush and compaction threads: the disk is one, and the cores belong to the sessions.
const WORKER_THREADS: usize = 2;

/// The folder of table files in a keyspace's.
const TABLES_FOLDER: &str = "tables";

/// Written to advance the sequence numbers.
const RECLAIMED: &[u8] = b"m:reclaimed";
/// The first flush moves the mark below which versions are let go, the second lets them go.
const FLUSHES_UNTIL_REMOVED: usize = 2;

/// The first failure to read what is stored; commits that fail poison the journal instead.
#[derive(Default, Debug)]
pub struct ReadErrors(OnceLock<String>);

impl ReadErrors {
    /// Returns the first failure, if there was one.
    pub fn first(&self) -> Option<String> {
        self.0.get().cloned()
    }

    /// Notes a failure; the first is logged and kept.
    pub(in crate::journal) fn note(&self, error: &JournalError) {
        if self.0.set(error.to_string()).is_ok() {
            tracing::error!(%error, "failed to read the journal: a file is damaged");
        }
    }
}

#[derive(Clone)]
pub(crate) struct DiskKv {
    db: Database,
    keyspace: Keyspace,
    expiry: Arc<dyn Expiry>,
    read_errors: Arc<ReadErrors>,
    /// Held while a batch is applied, which other readers see pair by pair.
    batch: Arc<Mutex<()>>,
    /// Table files that a failed compaction may have left.
    leftovers: Arc<Mutex<Vec<PathBuf>>>,
}

impl DiskKv {
    /// Opens or creates the files below `path`; `expiry` is asked whenever they are rewritten.
    pub(crate) fn open(path: &Path, expiry: Arc<dyn Expiry>) -> Result<Self, JournalError> {
        let filter: Arc<dyn Factory> = Arc::new(ExpiryFactory(expiry.clone()));
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
                .compaction_strategy(Arc::new(
                    Leveled::default()
                        .with_table_target_size(TABLE_BYTES)
                        .with_l0_threshold(L0_TABLES_COMPACTED as u8),
                ))
                .manual_journal_persist(true)
        };
        let keyspace = db.keyspace("hub", options).map_err(failed)?;
        let (read_errors, batch, leftovers) = (Arc::default(), Arc::default(), Arc::default());
        Ok(Self { db, keyspace, expiry, read_errors, batch, leftovers })
    }

    pub(in crate::journal) fn read_errors(&self) -> Arc<ReadErrors> {
        self.read_errors.clone()
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, JournalError> {
        let read = self.keyspace.get(key).map_err(failed);
        Ok(read.inspect_err(|e| self.read_errors.note(e))?.map(Bytes::from))
    }

    pub(super) fn walk(&self, from: Vec<u8>, until: Vec<u8>) -> Walk<'_> {
        Box::new(self.keyspace.range(from..until).map(|guard| self.pair(guard)))
    }

    pub(super) fn walk_back(&self, from: Vec<u8>, until: Vec<u8>) -> Walk<'_> {
        Box::new(self.keyspace.range(from..until).rev().map(|guard| self.pair(guard)))
    }

    /// Every pair as of one moment between two batches.
    pub(super) fn walk_snapshot(&self) -> Walk<'_> {
        let snapshot = {
            let _no_batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
            self.db.snapshot()
        };
        Box::new(snapshot.iter(&self.keyspace).map(|guard| self.pair(guard)))
    }

    fn pair(&self, guard: fjall::Guard) -> Result<super::Pair, JournalError> {
        let read = guard.into_inner().map_err(failed).inspect_err(|e| self.read_errors.note(e));
        let (key, value) = read?;
        Ok((key.into(), value.into()))
    }

    /// Puts everything that was committed on the medium.
    pub(super) fn sync(&self) -> Result<(), JournalError> {
        self.db.persist(PersistMode::SyncAll).map_err(failed)
    }

    pub(super) fn commit(&self, changes: Vec<Change>, sync: Sync) -> Result<(), JournalError> {
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
        let _no_snapshot = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        batch.commit().map_err(failed)
    }

    /// Removes table files that nothing refers to any more, which takes next to no space: those of
    /// dead entries alone, those that compaction has replaced, and what a failed compaction left.
    pub(super) fn drop_obsolete(&self) -> Result<(), JournalError> {
        self.remove_leftovers();
        self.keyspace.rotate_memtable_and_wait().map_err(failed)?;
        if let Some(range) = self.expiry.dead_range() {
            let dropped = self.keyspace.tree.drop_range(range);
            dropped.map_err(|e| failed(fjall::Error::Storage(e)))?;
        }
        // Replaced files are removed by a later flush that finds the sequence numbers advanced; an
        // idle hub would have none.
        for _ in 0..FLUSHES_UNTIL_REMOVED {
            self.commit(vec![(RECLAIMED.to_vec(), Some(Vec::new()))], Sync::Disk)?;
            self.keyspace.rotate_memtable_and_wait().map_err(failed)?;
        }
        Ok(())
    }

    /// Rewrites the tables without their dead keys.
    pub(super) fn compact(&self) -> Result<(), JournalError> {
        let before: HashSet<_> = self.table_files().into_iter().collect();
        let done = self.keyspace.major_compact().map_err(failed);
        if done.is_err() {
            let made = self.table_files().into_iter().filter(|file| !before.contains(file));
            self.leftovers.lock().unwrap_or_else(PoisonError::into_inner).extend(made);
            self.remove_leftovers();
        }
        done.and_then(|()| self.drop_obsolete())
    }

    /// Removes what a failed compaction left, unless the files may have come into use since.
    fn remove_leftovers(&self) {
        let mut leftovers = self.leftovers.lock().unwrap_or_else(PoisonError::into_inner);
        if leftovers.is_empty() {
            return;
        }
        let tree = &self.keyspace.tree;
        let _no_flush = tree.get_flush_lock();
        if self.db.active_compactions() > 0 || tree.version_free_list_len() > 0 {
            return;
        }
        let used: HashSet<_> = tree.current_version().iter_tables().map(|t| t.id()).collect();
        for file in leftovers.drain(..) {
            let id = file.file_name().and_then(|name| name.to_str()?.parse().ok());
            if id.is_some_and(|id| !used.contains(&id))
                && let Err(error) = fs::remove_file(&file)
            {
                tracing::warn!(%error, file = %file.display(), "failed to remove a leftover table");
            }
        }
    }

    fn table_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.keyspace.path().join(TABLES_FOLDER));
        entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }

    /// Returns the bytes of the table files in use.
    pub(super) fn table_bytes(&self) -> u64 {
        self.keyspace.disk_space()
    }

    /// Returns the bytes that are in the write-ahead files and in memory, but in no table.
    pub(super) fn unflushed_bytes(&self) -> u64 {
        let tree = &self.keyspace.tree;
        tree.active_memtable().size() + tree.sealed_memtable_count() as u64 * MEMTABLE_BYTES
    }

    /// Returns the bytes of table files that are not in use any more and not removed yet; 0 while a
    /// compaction runs, as the tables that it writes are not in use yet.
    pub(super) fn replaced_bytes(&self) -> u64 {
        if self.db.active_compactions() > 0 {
            return 0;
        }
        let bytes = |file: &PathBuf| fs::metadata(file).map_or(0, |metadata| metadata.len());
        let all: u64 = self.table_files().iter().map(bytes).sum();
        all.saturating_sub(self.table_bytes())
    }

    /// Returns the most bytes that a compaction may write which the flushes of dropping obsolete tables
    /// bring about; 0 where they make too few tables for one.
    pub(super) fn next_compaction_bytes(&self) -> u64 {
        let tree = &self.keyspace.tree;
        if tree.l0_run_count() + FLUSHES_UNTIL_REMOVED + 1 < L0_TABLES_COMPACTED {
            return 0;
        }
        let tables = |level| tree.level_table_count(level).unwrap_or(0);
        let below = (1..LEVELS).map(tables).find(|count| *count > 0).unwrap_or(0);
        (tables(0) + below) as u64 * TABLE_BYTES
    }

    pub(super) fn compactions(&self) -> (usize, (u64, Duration)) {
        let done = (self.db.compactions_completed() as u64, self.db.time_compacting());
        (self.db.active_compactions(), done)
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.db.disk_space().unwrap_or(0)
    }
}

fn failed(error: fjall::Error) -> JournalError {
    match error {
        fjall::Error::Poisoned => JournalError::Poisoned,
        fjall::Error::Locked => JournalError::Locked,
        fjall::Error::Io(e) => JournalError::Io(Arc::new(e)),
        other => JournalError::Store(Arc::new(other)),
    }
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
