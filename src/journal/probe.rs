//! Decoders of on-disk data, exposed for the fuzz targets.
//!
//! Only tests use this module.

use super::keys::{IndexItem, KeyItem, StoredEntry, Tombstone, write_entry};
use super::kv::wal;
use super::sealing::StreamKeys;
use crate::event::{Position, StreamName};
use bytes::Bytes;

/// Returns the number of bytes of a write-ahead file that form whole batches.
pub fn whole_batches(file: &[u8]) -> usize {
    wal::valid_prefix_len(file)
}

/// Decodes a stored entry and encodes it again; returns `None` if it is damaged.
pub fn entry_again(value: &[u8]) -> Option<Vec<u8>> {
    let stored = StoredEntry::read(&Bytes::copy_from_slice(value))?;
    let numbers = stored.numbers.clone();
    let names = numbers.iter().filter_map(|n| StreamName::parse(&n.to_string()).ok()).collect();
    let entry = stored.into_entry(Position::ZERO, names, &StreamKeys::default())?;
    Some(write_entry(&entry, &numbers, None))
}

/// Does the same with the other values: an index item, an idempotency key's item, a tombstone.
pub fn items_again(value: &[u8]) -> [Option<Vec<u8>>; 3] {
    [
        IndexItem::read(value).map(|item| item.write()),
        KeyItem::read(value).map(|item| item.write()),
        Tombstone::read(value).map(|item| item.write()),
    ]
}
