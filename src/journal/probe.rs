//! Readers of what is on disk by themselves, for the fuzz targets.
//!
//! Nothing of the hub uses it but tests.

use super::keys::{IndexItem, KeyItem, StoredEntry, Tombstone, write_entry};
use super::kv::wal;
use super::sealing::StreamKeys;
use crate::event::{Position, StreamName};
use bytes::Bytes;

/// Returns the number of bytes of a write-ahead file that are whole batches.
pub fn whole_batches(file: &[u8]) -> usize {
    wal::good_bytes(file)
}

/// A stored entry that is read and written again; `None` where it is damaged.
pub fn entry_again(value: &[u8]) -> Option<Vec<u8>> {
    let stored = StoredEntry::read(&Bytes::copy_from_slice(value))?;
    let numbers = stored.numbers.clone();
    let names = numbers.iter().filter_map(|n| StreamName::parse(&n.to_string()).ok()).collect();
    let entry = stored.into_entry(Position::ZERO, names, &StreamKeys::default())?;
    Some(write_entry(&entry, &numbers, None))
}

/// The other values of the journal, likewise: an index item, a key's, a trace.
pub fn items_again(value: &[u8]) -> [Option<Vec<u8>>; 3] {
    [
        IndexItem::read(value).map(|item| item.write()),
        KeyItem::read(value).map(|item| item.write()),
        Tombstone::read(value).map(|item| item.write()),
    ]
}
