//! Salvage: the readable events of a journal that cannot be opened, or that has damaged files.
//!
//! Never: changes the journal.

use super::data_dir::DataDir;
use super::keys::{self, StoredEntry, StreamNumber};
use super::kv::{Changes, DamagedStore, Expiry, Kv, MemoryKv, Sync};
use super::open::OpenError;
use super::sealing::KeyFile;
use super::store::{Epochs, Streams};
use crate::event::{Entry, EventId, Position, StreamName};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Result of a salvage.
#[derive(Default, Debug)]
pub struct Salvaged {
    /// Number of events that were read.
    pub events: u64,
    /// Streams that have lost their names; their events are in streams `salvaged.NUMBER`.
    pub unnamed_streams: u64,
    /// Files, or parts of them, that cannot be read.
    pub damage: Vec<String>,
}

struct KeepAll;

impl Expiry for KeepAll {
    fn is_dead(&self, _: &[u8], _: &[u8]) -> bool {
        false
    }
}

/// Calls `write` for every readable event of the journal in `data_dir`, in order, with its id.
pub fn salvage(
    data_dir: &Path,
    holder: &str,
    write: &mut impl FnMut(EventId, &Entry) -> io::Result<()>,
) -> Result<Salvaged, OpenError> {
    let failed = |error| OpenError::Io(data_dir.to_owned(), error);
    let store_failed = |error| OpenError::Store(data_dir.to_owned(), error);
    if !data_dir.join("journal").is_dir() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "no journal found")));
    }
    let folder = DataDir::open(data_dir, holder)?;
    let mut store = DamagedStore::open(&folder.join("journal")).map_err(failed)?;
    let stream_keys = folder.join("stream-keys");
    let sealing = if stream_keys.exists() {
        KeyFile::open(&stream_keys).map_err(failed)?
    } else {
        KeyFile::none()
    };
    // Names, heads and epochs are few; they are read like those of an intact store.
    let small = Kv::Memory(Arc::new(MemoryKv::new(Arc::new(KeepAll))));
    let mut changes = Changes::default();
    for kind in [keys::NAME, keys::HEAD, keys::EPOCHS[0]] {
        store.read(kind, &mut |item| {
            if let Some(value) = &item.value {
                changes.put(item.key.clone(), value.to_vec());
            }
        });
    }
    small.commit(changes, Sync::Process).map_err(store_failed)?;
    let streams = Streams::load(&small).map_err(store_failed)?;
    let epochs = Epochs::load(&small).map_err(store_failed)?.unwrap_or_else(|| Epochs::first(None));
    let mut floors: HashMap<StreamNumber, (StreamName, Position)> = HashMap::new();
    streams.for_each(|name, row| {
        floors.insert(row.number, (name.clone(), row.floor));
    });
    let has_lost_rows = !store.damage.is_empty();
    let (mut salvaged, mut unnamed) = (Salvaged::default(), BTreeSet::new());
    let mut written = Ok(());
    store.read(keys::ENTRY, &mut |item| {
        let Some(position) = keys::position_of(&item.key).filter(|_| written.is_ok()) else {
            return;
        };
        let Some(stored) = item.value.as_ref().and_then(StoredEntry::read) else { return };
        if !stored.is_event() {
            return;
        }
        let names = stored.numbers.iter().filter_map(|number| match floors.get(number) {
            Some((name, floor)) => (*floor < position).then(|| name.clone()),
            // Without damage, a stream without a row was deleted.
            None if has_lost_rows => {
                unnamed.insert(*number);
                StreamName::parse(&format!("salvaged.{number}")).ok()
            }
            None => None,
        });
        let names: Vec<StreamName> = names.collect();
        if names.is_empty() {
            return;
        }
        if let Some(entry) = stored.into_entry(position, names, &sealing.keys()) {
            salvaged.events += 1;
            written = write(epochs.id(position), &entry);
        }
    });
    written.map_err(failed)?;
    salvaged.unnamed_streams = unnamed.len() as u64;
    salvaged.damage = store.damage;
    Ok(salvaged)
}
