//! Reading a damaged store without opening it: each table file by itself, past its damaged blocks,
//! and the whole batches of the write-ahead files.

use super::wal;
use bytes::Bytes;
use lsm_tree::{Cache, Checksum, InternalValue, Table, ValueType};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Directories of the table files, below a store.
const KEYSPACES: &str = "keyspaces";
const TABLES: &str = "tables";
/// Keyspace of the journal; others hold the names of keyspaces.
const JOURNAL_KEYSPACE: &str = "1";
/// Bytes of the cache, which holds only what one scan reads.
const CACHE_BYTES: u64 = 1024 * 1024;
/// Bytes of a key, after its kind, by which a scan skips damage.
const NUMBER_BYTES: usize = 8;

/// A stored change of a key.
pub(in crate::journal) struct Item {
    pub(in crate::journal) key: Vec<u8>,
    /// Number of the change; the highest of a key counts.
    pub(in crate::journal) sequence: u64,
    /// The value; `None` if the change removes the key.
    pub(in crate::journal) value: Option<Bytes>,
}

/// The readable parts of a store.
pub(in crate::journal) struct DamagedStore {
    tables: Vec<(PathBuf, Table)>,
    wal: Vec<Item>,
    /// Files that cannot be read, wholly or in part, with the reason.
    pub(in crate::journal) damage: Vec<String>,
}

impl DamagedStore {
    /// Reads the files below `store`, the directory of a journal's store.
    pub(in crate::journal) fn open(store: &Path) -> io::Result<Self> {
        let mut found = Self { tables: Vec::new(), wal: Vec::new(), damage: Vec::new() };
        let cache = Arc::new(Cache::with_capacity_bytes(CACHE_BYTES));
        let folder = store.join(KEYSPACES).join(JOURNAL_KEYSPACE).join(TABLES);
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in files {
            let opened = Table::recover(
                file.clone(),
                Checksum::from_raw(0),
                0,
                0,
                cache.clone(),
                None,
                false,
                false,
            );
            match opened {
                Ok(table) => found.tables.push((file, table)),
                Err(error) => found.damage.push(format!("{}: {error}", file.display())),
            }
        }
        let whole = wal::read_items(store, &mut |item| found.wal.push(item))?;
        found.damage.extend(whole);
        Ok(found)
    }

    /// Returns the files below `store` that cannot be read, wholly or in part, with the reason.
    pub(in crate::journal) fn find(store: &Path) -> Vec<String> {
        let Ok(mut found) = Self::open(store) else { return Vec::new() };
        for kind in u8::MIN..u8::MAX {
            found.read(kind, &mut |_| {});
        }
        found.damage
    }

    /// Calls `visit` for the readable items whose keys begin with `kind`, sorted by key; of one key
    /// only the last change.
    pub(in crate::journal) fn read(&mut self, kind: u8, visit: &mut impl FnMut(&Item)) {
        let mut wal: Vec<&Item> =
            self.wal.iter().filter(|item| item.key.first() == Some(&kind)).collect();
        wal.sort_by(|a, b| a.key.cmp(&b.key).then(a.sequence.cmp(&b.sequence)));
        let mut wal = wal.into_iter().peekable();
        let mut scans: Vec<Scan<'_>> =
            self.tables.iter().map(|(file, table)| Scan::begin(file, table, kind)).collect();
        loop {
            let in_tables =
                scans.iter().filter_map(|scan| scan.next.as_ref().map(|item| &item.key));
            let in_wal = wal.peek().map(|item| &item.key);
            let Some(key) = in_tables.chain(in_wal).min().cloned() else { break };
            let mut last: Option<Item> = None;
            let mut keep = |item: Item| {
                if last.as_ref().is_none_or(|last| last.sequence <= item.sequence) {
                    last = Some(item);
                }
            };
            for scan in &mut scans {
                while scan.next.as_ref().is_some_and(|item| item.key == key) {
                    scan.take().into_iter().for_each(&mut keep);
                }
            }
            while let Some(item) = wal.next_if(|item| item.key == key) {
                let (key, value) = (item.key.clone(), item.value.clone());
                keep(Item { key, sequence: item.sequence, value });
            }
            if let Some(last) = last {
                visit(&last);
            }
        }
        self.damage.extend(scans.into_iter().flat_map(|scan| scan.damage));
    }
}

/// A scan of one kind of keys in a table, past damaged blocks.
struct Scan<'a> {
    file: &'a Path,
    table: &'a Table,
    kind: u8,
    rest: Box<dyn Iterator<Item = lsm_tree::Result<InternalValue>> + Send + 'a>,
    next: Option<Item>,
    /// Number in the key of the last item that was read.
    last: Option<u64>,
    damage: Vec<String>,
}

impl<'a> Scan<'a> {
    fn begin(file: &'a Path, table: &'a Table, kind: u8) -> Self {
        let mut scan = Self {
            file,
            table,
            kind,
            rest: from(table, vec![kind], kind),
            next: None,
            last: None,
            damage: Vec::new(),
        };
        scan.advance();
        scan
    }

    fn take(&mut self) -> Option<Item> {
        let taken = self.next.take();
        self.advance();
        taken
    }

    fn advance(&mut self) {
        self.next = match self.rest.next() {
            None => None,
            Some(Ok(value)) => Some(self.item(value)),
            Some(Err(error)) => {
                let after = self.last.map_or_else(String::new, |last| format!(" after {last:#x}"));
                let kind = char::from(self.kind);
                self.damage.push(format!(
                    "{}: keys of the kind {kind}{after}: {error}",
                    self.file.display()
                ));
                self.skip_damage()
            }
        };
    }

    fn item(&mut self, value: InternalValue) -> Item {
        let key = value.key.user_key.to_vec();
        self.last = Some(number_of(&key));
        let is_value = value.key.value_type == ValueType::Value;
        let bytes = is_value.then(|| Bytes::copy_from_slice(&value.value));
        Item { key, sequence: value.key.seqno, value: bytes }
    }

    /// Finds the first readable key after the damage: in steps that double, then between the last
    /// two.
    fn skip_damage(&mut self) -> Option<Item> {
        let table = self.table;
        let kind = self.kind;
        let read = |number: u64| from(table, key_at(kind, number), kind);
        let is_readable = |number: u64| !matches!(read(number).next(), Some(Err(_)));
        let mut damaged = self.last.unwrap_or(0);
        let mut step = 1;
        let mut readable = loop {
            let Some(number) = damaged.checked_add(step) else {
                self.rest = Box::new(std::iter::empty());
                return None;
            };
            if is_readable(number) {
                break number;
            }
            (damaged, step) = (number, step.saturating_mul(2));
        };
        while readable - damaged > 1 {
            let middle = damaged + (readable - damaged) / 2;
            if is_readable(middle) { readable = middle } else { damaged = middle }
        }
        self.rest = read(readable);
        // The range began with a readable item, or is empty.
        let first = self.rest.next()?.ok()?;
        Some(self.item(first))
    }
}

fn from<'a>(
    table: &'a Table,
    start: Vec<u8>,
    kind: u8,
) -> Box<dyn Iterator<Item = lsm_tree::Result<InternalValue>> + Send + 'a> {
    Box::new(table.range(lsm_tree::Slice::from(start)..lsm_tree::Slice::from(vec![kind + 1])))
}

/// Returns the first bytes of a key after its kind, as a number.
fn number_of(key: &[u8]) -> u64 {
    let bytes = key.iter().skip(1).chain(std::iter::repeat(&0)).take(NUMBER_BYTES);
    bytes.fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

fn key_at(kind: u8, number: u64) -> Vec<u8> {
    [&[kind][..], &number.to_be_bytes()].concat()
}
