//! Key-value storage: sorted keys and values, changed in atomic batches.
//!
//! Promises: a batch is applied as a whole or not at all; a commit with [`Sync::Disk`] survives
//! power loss, one with [`Sync::Process`] a killed process.
//! Never: knows what a key means.

mod disk;
mod memory;
mod salvage;
pub(super) mod wal;

pub(super) use disk::DiskKv;
pub use disk::ReadErrors;
pub(super) use memory::MemoryKv;
pub(super) use salvage::DamagedStore;

use crate::journal::error::JournalError;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Durability of a batch when `commit` returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sync {
    /// Synced to disk.
    Disk,
    /// Handed to the operating system.
    Process,
}

/// Decides which keys may be dropped permanently when files are rewritten.
pub(super) trait Expiry: Send + std::marker::Sync + 'static {
    /// Returns true if this key will never be read again.
    fn is_dead(&self, key: &[u8], value: &[u8]) -> bool;

    /// Returns a range of keys that are all dead, if one is known.
    fn dead_range(&self) -> Option<std::ops::RangeInclusive<Vec<u8>>> {
        None
    }
}

/// A key and its new value; `None` removes the key.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

/// A set of changes that is applied atomically. The last change of a key wins.
#[derive(Default)]
pub(super) struct Changes {
    list: Vec<Change>,
    /// True if a key may be in the list more than once.
    may_repeat: bool,
}

impl Changes {
    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.list.push((key, Some(value)));
    }

    /// Puts a value whose key an earlier change may have.
    pub(super) fn put_again(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.put(key, value);
        self.may_repeat = true;
    }

    pub(super) fn remove(&mut self, key: Vec<u8>) {
        self.list.push((key, None));
        self.may_repeat = true;
    }

    pub(super) fn append(&mut self, mut later: Self) {
        self.may_repeat |= later.may_repeat || !self.list.is_empty();
        self.list.append(&mut later.list);
    }

    /// Returns the changes, each key once. Only removals, values put again and appended changes can repeat a key, so
    /// that the usual batch is returned as it is.
    fn into_list(self) -> Vec<Change> {
        if self.may_repeat {
            self.list.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect()
        } else {
            self.list
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// A key and its value.
pub(super) type Pair = (Bytes, Bytes);
/// Pairs in key order, or the error that ended the walk.
pub(super) type Walk<'a> = Box<dyn Iterator<Item = Result<Pair, JournalError>> + 'a>;

/// Storage of one journal, for readers on any thread. Only a snapshot is certain to show whole
/// batches.
#[derive(Clone)]
pub(super) enum Kv {
    Disk(DiskKv),
    Memory(Arc<MemoryKv>),
}

impl Kv {
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, JournalError> {
        match self {
            Self::Disk(kv) => kv.get(key),
            Self::Memory(kv) => Ok(kv.get(key)),
        }
    }

    /// Returns the pairs with `from <= key < until`, ascending.
    pub(super) fn walk(&self, from: Vec<u8>, until: Vec<u8>) -> Walk<'_> {
        match self {
            Self::Disk(kv) => kv.walk(from, until),
            Self::Memory(kv) => kv.walk(from, until),
        }
    }

    /// Returns all pairs, ascending, of a snapshot between two batches; in memory without a
    /// snapshot.
    pub(super) fn walk_snapshot(&self) -> Walk<'_> {
        match self {
            Self::Disk(kv) => kv.walk_snapshot(),
            Self::Memory(kv) => kv.walk(Vec::new(), vec![u8::MAX]),
        }
    }

    /// Returns the pairs with `from <= key < until`, descending.
    pub(super) fn walk_back(&self, from: Vec<u8>, until: Vec<u8>) -> Walk<'_> {
        match self {
            Self::Disk(kv) => kv.walk_back(from, until),
            Self::Memory(kv) => kv.walk_back(from, until),
        }
    }

    pub(super) fn commit(&self, changes: Changes, sync: Sync) -> Result<(), JournalError> {
        match self {
            Self::Disk(kv) => kv.commit(changes.into_list(), sync),
            Self::Memory(kv) => {
                kv.commit(changes.into_list());
                Ok(())
            }
        }
    }

    /// Removes files that are no longer referenced; takes at most some seconds and almost no
    /// space. Commits continue meanwhile.
    pub(super) fn drop_obsolete(&self) -> Result<(), JournalError> {
        match self {
            Self::Disk(kv) => kv.drop_obsolete(),
            Self::Memory(_) => Ok(()),
        }
    }

    /// Drops all dead keys by rewriting the live ones. Slow; commits continue meanwhile.
    pub(super) fn compact(&self) -> Result<(), JournalError> {
        match self {
            Self::Disk(kv) => kv.compact(),
            Self::Memory(kv) => {
                kv.reclaim();
                Ok(())
            }
        }
    }

    /// Syncs everything that was committed to disk.
    pub(super) fn sync(&self) -> Result<(), JournalError> {
        match self {
            Self::Disk(kv) => kv.sync(),
            Self::Memory(_) => Ok(()),
        }
    }

    /// Returns the maximum number of bytes that a rewrite reads; 0 in memory.
    pub(super) fn table_bytes(&self) -> u64 {
        match self {
            Self::Disk(kv) => kv.table_bytes(),
            Self::Memory(_) => 0,
        }
    }

    /// Returns the maximum number of bytes that the next flush writes; 0 in memory.
    pub(super) fn unflushed_bytes(&self) -> u64 {
        match self {
            Self::Disk(kv) => kv.unflushed_bytes(),
            Self::Memory(_) => 0,
        }
    }

    /// Returns the bytes of files that are replaced but not removed yet; 0 in memory.
    pub(super) fn replaced_bytes(&self) -> u64 {
        match self {
            Self::Disk(kv) => kv.replaced_bytes(),
            Self::Memory(_) => 0,
        }
    }

    /// Returns the maximum number of bytes of a compaction after [`Kv::drop_obsolete`]; 0 in
    /// memory.
    pub(super) fn next_compaction_bytes(&self) -> u64 {
        match self {
            Self::Disk(kv) => kv.next_compaction_bytes(),
            Self::Memory(_) => 0,
        }
    }

    /// Returns the record of failures to read.
    pub(super) fn read_errors(&self) -> Arc<ReadErrors> {
        match self {
            Self::Disk(kv) => kv.read_errors(),
            Self::Memory(_) => Arc::default(),
        }
    }

    /// Returns the number of running compactions, and the number and total time of completed ones.
    pub(super) fn compactions(&self) -> (usize, (u64, Duration)) {
        match self {
            Self::Disk(kv) => kv.compactions(),
            Self::Memory(_) => (0, (0, Duration::ZERO)),
        }
    }

    /// Returns the bytes that the files take; 0 in memory.
    pub(super) fn disk_bytes(&self) -> u64 {
        match self {
            Self::Disk(kv) => kv.disk_bytes(),
            Self::Memory(_) => 0,
        }
    }
}
