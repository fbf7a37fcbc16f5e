//! Storage on disk by fjall: a single keyspace, because a second, rarely flushed one would pin old
//! files.

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

/// Size of a memtable. With `MAX_WAL_BYTES`, it keeps the longest commit near 50 ms; with fjall's
/// defaults (64 and 512 MiB), it is near 190 ms.
const MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;
/// Number of tables in the first level that fjall merges into the next one, and number of levels.
const L0_TABLES_COMPACTED: usize = 4;
const LEVELS: usize = 7;
/// Size of a table file. A compaction rewrites several tables together, and dead entries are
/// dropped table by table; with fjall's default (64 MiB), a compaction took as much space as a
/// small journal.
const TABLE_BYTES: u64 = 16 * 1024 * 1024;
/// Maximum bytes of write-ahead files, which bounds what a start replays.
const MAX_WAL_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of blocks that are cached for readers behind the entries of `Recent`.
const BLOCK_CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Maximum number of open table files: a tenth of the smallest usual file limit.
const MAX_OPEN_TABLES: usize = 100;
/// Number of flush and compaction threads: there is one disk, and the cores are for the sessions.
const WORKER_THREADS: usize = 2;

/// Directory of the table files in that of a keyspace.
const TABLES_FOLDER: &str = "tables";

/// Key that is written to advance the sequence numbers.
const RECLAIMED: &[u8] = b"m:reclaimed";
/// Number of flushes that remove replaced files: the first moves the mark below which versions are
/// dropped, the second drops them.
const FLUSHES_UNTIL_REMOVED: usize = 2;

/// The first failure to read stored data; failed commits poison the journal instead.
#[derive(Default, Debug)]
pub struct ReadErrors(OnceLock<String>);

impl ReadErrors {
    /// Returns the first failure, if any.
    pub fn first(&self) -> Option<String> {
        self.0.get().cloned()
    }

    /// Records a failure; only the first is logged and kept.
    pub(in crate::journal) fn record(&self, error: &JournalError) {
        if self.0.set(error.to_string()).is_ok() {
            tracing::error!(%error, "failed to read the journal; a file may be damaged");
        }
    }
}

#[derive(Clone)]
pub(crate) struct DiskKv {
    db: Database,
    keyspace: Keyspace,
    expiry: Arc<dyn Expiry>,
    read_errors: Arc<ReadErrors>,
    /// Held while a batch is applied, because readers without a snapshot see it pair by pair.
    batch: Arc<Mutex<()>>,
    /// Table files that a failed compaction may have left.
    leftovers: Arc<Mutex<Vec<PathBuf>>>,
}

impl DiskKv {
    /// Opens or creates the files below `path`; `expiry` selects the keys that a rewrite drops.
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
        Ok(read.inspect_err(|e| self.read_errors.record(e))?.map(Bytes::from))
    }

    pub(super) fn walk(&self, from: Vec<u8>, until: Vec<u8>) -> Walk<'_> {
        Box::new(self.keyspace.range(from..until).map(|guard| self.pair(guard)))
    }

    pub(super) fn walk_back(&self, from: Vec<u8>, until: Vec<u8>) -> Walk<'_> {
        Box::new(self.keyspace.range(from..until).rev().map(|guard| self.pair(guard)))
    }

    /// Returns all pairs of a snapshot that was taken between two batches.
    pub(super) fn walk_snapshot(&self) -> Walk<'_> {
        let snapshot = {
            let _no_batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
            self.db.snapshot()
        };
        Box::new(snapshot.iter(&self.keyspace).map(|guard| self.pair(guard)))
    }

    fn pair(&self, guard: fjall::Guard) -> Result<super::Pair, JournalError> {
        let read = guard.into_inner().map_err(failed).inspect_err(|e| self.read_errors.record(e));
        let (key, value) = read?;
        Ok((key.into(), value.into()))
    }

    /// Syncs everything that was committed to disk.
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

    /// Removes table files that are no longer referenced, which takes almost no space: those with
    /// only dead entries, those that compaction has replaced, and leftovers of a failed compaction.
    pub(super) fn drop_obsolete(&self) -> Result<(), JournalError> {
        self.remove_leftovers();
        self.keyspace.rotate_memtable_and_wait().map_err(failed)?;
        if let Some(range) = self.expiry.dead_range() {
            let result = self.keyspace.tree.drop_range(range);
            result.map_err(|e| failed(fjall::Error::Storage(e)))?;
        }
        // Replaced files are removed by a later flush, once the sequence numbers have advanced; an
        // idle hub would not flush.
        for _ in 0..FLUSHES_UNTIL_REMOVED {
            self.commit(vec![(RECLAIMED.to_vec(), Some(Vec::new()))], Sync::Disk)?;
            self.keyspace.rotate_memtable_and_wait().map_err(failed)?;
        }
        Ok(())
    }

    /// Rewrites the tables without their dead keys.
    pub(super) fn compact(&self) -> Result<(), JournalError> {
        let existing: HashSet<_> = self.table_files().into_iter().collect();
        let result = self.keyspace.major_compact().map_err(failed);
        if result.is_err() {
            let new_files = self.table_files().into_iter().filter(|file| !existing.contains(file));
            self.leftovers.lock().unwrap_or_else(PoisonError::into_inner).extend(new_files);
            self.remove_leftovers();
        }
        result.and_then(|()| self.drop_obsolete())
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
        let used_ids: HashSet<_> = tree.current_version().iter_tables().map(|t| t.id()).collect();
        for file in leftovers.drain(..) {
            let id = file.file_name().and_then(|name| name.to_str()?.parse().ok());
            if id.is_some_and(|id| !used_ids.contains(&id))
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

    /// Returns the bytes of table files that are no longer in use and not removed yet; 0 while a
    /// compaction runs, as the tables that it writes are not in use yet.
    pub(super) fn replaced_bytes(&self) -> u64 {
        if self.db.active_compactions() > 0 {
            return 0;
        }
        let bytes = |file: &PathBuf| fs::metadata(file).map_or(0, |metadata| metadata.len());
        let all: u64 = self.table_files().iter().map(bytes).sum();
        all.saturating_sub(self.table_bytes())
    }

    /// Returns the maximum number of bytes of a compaction that the flushes of
    /// [`Self::drop_obsolete`] may trigger; 0 if they create too few tables for one.
    pub(super) fn next_compaction_bytes(&self) -> u64 {
        let tree = &self.keyspace.tree;
        if tree.l0_run_count() + FLUSHES_UNTIL_REMOVED + 1 < L0_TABLES_COMPACTED {
            return 0;
        }
        let tables = |level| tree.level_table_count(level).unwrap_or(0);
        let next_level_tables = (1..LEVELS).map(tables).find(|count| *count > 0).unwrap_or(0);
        (tables(0) + next_level_tables) as u64 * TABLE_BYTES
    }

    pub(super) fn compactions(&self) -> (usize, (u64, Duration)) {
        let completed = (self.db.compactions_completed() as u64, self.db.time_compacting());
        (self.db.active_compactions(), completed)
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

// `Expiry` only reads, behind its own locks, so a panic elsewhere leaves no partial state here.
impl RefUnwindSafe for ExpiryFactory {}
impl UnwindSafe for ExpiryFactory {}

struct ExpiryFilter(Arc<dyn Expiry>);

impl CompactionFilter for ExpiryFilter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let is_dead = self.0.is_dead(item.key(), &item.value()?);
        // `Destroy` may expose an older value of the key, which is dead, too, because it is older.
        Ok(if is_dead { Verdict::Destroy } else { Verdict::Keep })
    }
}
