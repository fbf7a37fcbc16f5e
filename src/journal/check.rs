//! Checks of a journal while no hub runs on it: every record is read and compared with the others.
//!
//! Never: changes stored events. The journal is opened as a hub would open it, except that damaged
//! write-ahead files are only reported.

use super::data_dir::DataDir;
use super::high_water::HighWater;
use super::keys::{self, IndexItem, KeyItem, StoredEntry, StreamNumber, Tombstone};
use super::kv::{DiskKv, Expiry, Kv, wal};
use super::loss::LossRecord;
use super::open::OpenError;
use super::sealing::{KeyFile, StreamKeys};
use super::store::{DeletedStreams, Epochs, MAX_LEAD_MS, StreamRow, Streams, Totals};
use super::stream_record::{ProducerState, StreamRecord};
use crate::event::{Body, EventId, PayloadKind, Position, StreamName, Timestamp};
use crate::journal::error::JournalError;
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Maximum number of errors that are listed; further ones are only counted.
const MAX_LISTED_ERRORS: usize = 100;

/// Result of a check.
#[derive(Default, Debug)]
pub struct CheckReport {
    /// Number of records that were read.
    pub records: u64,
    /// Number of stored entries: events and ends of streams.
    pub entries: u64,
    /// Bytes of the stored entries.
    pub bytes: u64,
    /// Bytes that the files take.
    pub disk_bytes: u64,
    /// Id and time of the oldest stored entry.
    pub oldest: Option<(EventId, Timestamp)>,
    /// Id and time of the newest entry ever committed.
    pub newest: Option<(EventId, Timestamp)>,
    /// Number of epochs.
    pub epochs: usize,
    /// Streams, sorted by name.
    pub streams: Vec<StreamSummary>,
    /// Number of events of each type, the most frequent first.
    pub types: Vec<(String, u64)>,
    /// Findings that are not errors.
    pub warnings: Vec<String>,
    /// Errors, each with its location.
    pub errors: Vec<String>,
    /// Number of further errors.
    pub unlisted_errors: u64,
}

/// Content of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamSummary {
    /// Name of the stream.
    pub name: StreamName,
    /// Number of stored events.
    pub events: u64,
    /// Bytes of the stored entries.
    pub bytes: u64,
    /// True if the stream has ended.
    pub ended: bool,
}

/// Keeps all entries of a journal that is being checked.
struct KeepAll;

impl Expiry for KeepAll {
    fn is_dead(&self, _: &[u8], _: &[u8]) -> bool {
        false
    }
}

/// Checks the journal in a data directory that no running hub uses.
pub fn check(data_dir: &Path, holder: &str) -> Result<CheckReport, OpenError> {
    let failed = |error| OpenError::Io(data_dir.to_owned(), error);
    if !data_dir.join("journal").is_dir() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "no journal found")));
    }
    let folder = DataDir::open(data_dir, holder)?;
    let store = folder.join("journal");
    let mut report = CheckReport::default();
    for loss in LossRecord::in_dir(&folder).load().map_err(failed)? {
        report.warnings.push(format!("unacknowledged loss, found at an earlier start: {loss}"));
    }
    match wal::inspect(&store).map_err(failed)? {
        None => {}
        Some(tail) if tail.is_torn => {
            wal::rewrite(&store, Some(&tail)).map_err(failed)?;
            report
                .warnings
                .push(format!("{tail}: removed an unfinished write that was not acknowledged"));
        }
        Some(tail) => {
            report.add_error(format!(
                "{tail}: the write-ahead file is damaged; when the hub starts, it keeps everything \
                 before this byte and a copy of the rest (nothing else was checked)"
            ));
            return Ok(report);
        }
    }
    let (_, mark) = HighWater::open(&folder.join("HEAD")).map_err(failed)?;
    let store_failed = |error| OpenError::of_store(data_dir, error);
    let kv = Kv::Disk(DiskKv::open(&store, Arc::new(KeepAll)).map_err(store_failed)?);
    let stream_keys = folder.join("stream-keys");
    let sealing = if stream_keys.exists() {
        KeyFile::open(&stream_keys).map_err(failed)?
    } else {
        KeyFile::none()
    };
    if sealing.damaged() > 0 {
        report.add_error(format!(
            "{} keys in {} are damaged",
            sealing.damaged(),
            stream_keys.display()
        ));
    }
    let mut inspection =
        Inspection::begin(&kv, sealing.keys(), &mut report).map_err(store_failed)?;
    inspection.check_entries().map_err(store_failed)?;
    inspection.check_index().map_err(store_failed)?;
    inspection.check_other_records().map_err(store_failed)?;
    inspection.compare_totals();
    if let Some(mark) = mark.filter(|mark| mark.position > inspection.totals.last) {
        let lost = EventId { epoch: mark.epoch, position: mark.position };
        let last_id = inspection.epochs.id(inspection.totals.last);
        report.add_error(format!("committed events after {last_id}, up to {lost}, are missing"));
    }
    report.disk_bytes = kv.disk_bytes();
    Ok(report)
}

/// Totals over the entries of a stream, or over its index.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct StreamTotals {
    events: u64,
    bytes: u64,
    /// Hash of positions, sizes and times, independent of their order.
    hash: u64,
}

impl StreamTotals {
    fn add(&mut self, position: Position, bytes: u64, is_event: bool, time: Timestamp) {
        if is_event {
            self.events += 1;
            self.bytes += bytes;
        }
        let mut record = [0; 25];
        record[..8].copy_from_slice(&position.get().to_be_bytes());
        record[8..16].copy_from_slice(&bytes.to_be_bytes());
        record[16..24].copy_from_slice(&time.ms().to_be_bytes());
        record[24] = u8::from(is_event);
        self.hash = self.hash.wrapping_add(xxh3_64(&record));
    }
}

struct Inspection<'a> {
    kv: &'a Kv,
    keys: StreamKeys,
    report: &'a mut CheckReport,
    table: Streams,
    totals: Totals,
    deleted: DeletedStreams,
    epochs: Epochs,
    rows: FxHashMap<StreamNumber, (StreamName, StreamRow)>,
    entry_totals: FxHashMap<StreamNumber, StreamTotals>,
    index_totals: FxHashMap<StreamNumber, StreamTotals>,
    types: FxHashMap<String, u64>,
}

impl<'a> Inspection<'a> {
    fn begin(
        kv: &'a Kv,
        keys: StreamKeys,
        report: &'a mut CheckReport,
    ) -> Result<Self, JournalError> {
        let table = Streams::load(kv)?;
        let totals = Totals::load(kv)?;
        let deleted = DeletedStreams::load(kv)?;
        let epochs = Epochs::load(kv)?.unwrap_or_else(|| Epochs::first(None));
        let mut rows = FxHashMap::default();
        table.for_each(|name, row| {
            rows.insert(row.number, (name.clone(), *row));
        });
        let (entry_totals, index_totals) = (FxHashMap::default(), FxHashMap::default());
        let types = FxHashMap::default();
        Ok(Self {
            kv,
            keys,
            report,
            table,
            totals,
            deleted,
            epochs,
            rows,
            entry_totals,
            index_totals,
            types,
        })
    }

    /// Returns all pairs of a kind.
    fn walk(&self, kind: u8) -> impl Iterator<Item = Result<(Bytes, Bytes), JournalError>> + 'a {
        self.kv.walk(vec![kind], keys::end_of(kind))
    }

    fn check_entries(&mut self) -> Result<(), JournalError> {
        let mut last_time = Timestamp::default();
        for pair in self.walk(keys::ENTRY) {
            let (key, value) = pair?;
            self.report.records += 1;
            let Some(position) = keys::position_of(&key) else {
                self.report.add_error(format!("{key:?} is not a valid key of an entry"));
                continue;
            };
            let id = self.epochs.id(position);
            let Some(stored) = StoredEntry::read(&value) else {
                self.report.add_error(format!("entry {id} is damaged"));
                continue;
            };
            let (numbers, time, is_event) =
                (stored.numbers.clone(), stored.time, stored.is_event());
            if position > self.totals.last {
                self.report.add_error(format!("entry {id} is after the last committed entry"));
            }
            // A larger step back is legitimate: the clock was set back.
            if time < last_time && last_time.ms() <= time.ms().saturating_add(MAX_LEAD_MS) {
                self.report.add_error(format!("entry {id} is older than the entry before it"));
            }
            last_time = time;
            let bytes = value.len() as u64;
            let mut is_live = false;
            for number in &numbers {
                let Some((_, row)) = self.rows.get(number) else { continue };
                if position > row.floor {
                    is_live = true;
                    self.entry_totals
                        .entry(*number)
                        .or_default()
                        .add(position, bytes, is_event, time);
                }
            }
            // Entries of a deleted stream are subtracted in steps.
            let is_counted =
                numbers.len() > 1 && numbers.iter().any(|n| self.deleted.counts(*n, position));
            if is_counted && !is_live {
                self.report.bytes += bytes;
            }
            let names = numbers.iter().filter_map(|number| self.table.name_of(*number)).collect();
            if !is_live && stored.sealed_by().is_some() {
                // The key was erased with the stream.
                continue;
            }
            match stored.into_entry(position, names, &self.keys) {
                None => self.report.add_error(format!("the content of entry {id} is damaged")),
                Some(entry) if is_live => {
                    if let Body::Event { kind, payload } = &entry.body {
                        *self.types.entry(kind.as_str().to_owned()).or_default() += 1;
                        let data = payload.as_bytes();
                        let is_whole = match payload.kind() {
                            PayloadKind::Text => std::str::from_utf8(data).is_ok(),
                            PayloadKind::Json => {
                                serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok()
                            }
                            PayloadKind::Binary => true,
                        };
                        if !is_whole {
                            self.report.add_error(format!("the data of event {id} is damaged"));
                        }
                    }
                }
                Some(_) => {}
            }
            if is_live {
                self.report.entries += 1;
                self.report.bytes += bytes;
                self.report.oldest.get_or_insert((id, time));
            }
        }
        Ok(())
    }

    fn check_index(&mut self) -> Result<(), JournalError> {
        for pair in self.walk(keys::INDEX) {
            let (key, value) = pair?;
            self.report.records += 1;
            let decoded = (keys::number_of(&key), keys::position_of(&key), IndexItem::read(&value));
            let (Some(number), Some(position), Some(item)) = decoded else {
                self.report.add_error(format!("index item {key:?} is damaged"));
                continue;
            };
            if self.rows.get(&number).is_some_and(|(_, row)| position > row.floor) {
                let sum = self.index_totals.entry(number).or_default();
                sum.add(position, u64::from(item.bytes), item.is_event, item.time);
            }
        }
        Ok(())
    }

    /// Checks the items beside the entries: keys, times, tombstones, names and heads.
    fn check_other_records(&mut self) -> Result<(), JournalError> {
        type IsValid = fn(&[u8], &[u8]) -> bool;
        let kinds: [(u8, &str, IsValid); 9] = [
            (keys::KEY, "idempotency key", |_, value| KeyItem::read(value).is_some()),
            (keys::UPDATE_ID, "id of an update", |key, _| {
                keys::position_of(key).is_some() && keys::number_of(key).is_some()
            }),
            (keys::RECORD, "properties of a stream", |key, value| {
                keys::number_of(key).is_some() && StreamRecord::read(value).is_some()
            }),
            (keys::PRODUCER, "record of a producer", |key, value| {
                keys::number_of(key).is_some() && ProducerState::read(value).is_some()
            }),
            (keys::TOMBSTONE, "tombstone", |_, value| Tombstone::read(value).is_some()),
            (keys::TIME, "time mark", |key, value| key.len() == 9 && value.len() == 8),
            (keys::NAME, "stream name", |_, value| value.len() == 4),
            (keys::DELETED_STREAM, "record of a deleted stream", |key, value| {
                keys::number_of(key).is_some() && value.len() == 8
            }),
            (keys::HEAD, "stream head", |key, _| keys::number_of(key).is_some()),
        ];
        for (kind, name, is_valid) in kinds {
            for pair in self.walk(kind) {
                let (key, value) = pair?;
                self.report.records += 1;
                if !is_valid(&key, &value) {
                    self.report.add_error(format!("{name} {key:?} is damaged"));
                }
            }
        }
        Ok(())
    }

    /// Compares the counted values with the stored ones.
    fn compare_totals(&mut self) {
        let (rows, report) = (&self.rows, &mut *self.report);
        for (number, (name, row)) in rows {
            let counted = self.entry_totals.get(number).copied().unwrap_or_default();
            if counted != self.index_totals.get(number).copied().unwrap_or_default() {
                report
                    .add_error(format!("the index of stream {name:?} does not match its entries"));
            }
            if (counted.events, counted.bytes) != (row.events, row.bytes) {
                report.add_error(format!(
                    "stream {name:?} has {} events of {} bytes, but its head records {} of {}",
                    counted.events, counted.bytes, row.events, row.bytes
                ));
            }
            report.streams.push(StreamSummary {
                name: name.clone(),
                events: counted.events,
                bytes: counted.bytes,
                ended: row.end.is_some(),
            });
        }
        if report.bytes != self.totals.bytes {
            let (counted_bytes, recorded_bytes) = (report.bytes, self.totals.bytes);
            report.add_error(format!(
                "the entries have {counted_bytes} bytes, but the totals record {recorded_bytes}"
            ));
        }
        report.streams.sort_by(|a, b| a.name.cmp(&b.name));
        report.types = self.types.drain().collect();
        report.types.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        report.epochs = self.epochs.count();
        if self.totals.last != Position::ZERO {
            report.newest = Some((self.epochs.id(self.totals.last), self.totals.time));
        }
    }
}

impl CheckReport {
    fn add_error(&mut self, error: String) {
        if self.errors.len() < MAX_LISTED_ERRORS {
            self.errors.push(error)
        } else {
            self.unlisted_errors += 1
        }
    }

    /// Returns true if there are no errors.
    pub fn is_sound(&self) -> bool {
        self.errors.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::kv::{Changes, Sync};
    use super::super::{Durability, Item, Journal, RetentionLimits, RetentionPolicy, Settings};
    use super::*;
    use crate::event::{Draft, EventType};
    use crate::telemetry::Telemetry;

    /// Creates a journal with a few events on two streams, and closes it.
    async fn journal(path: &Path) {
        let (sender, mut dispatched) = tokio::sync::mpsc::channel::<super::super::Dispatch>(16);
        tokio::spawn(async move {
            while let Some(dispatch) = dispatched.recv().await {
                dispatch.answer();
            }
        });
        let settings = Settings {
            data_dir: path.to_owned(),
            durability: Durability::Os,
            retention: RetentionPolicy {
                rules: Vec::new(),
                otherwise: RetentionLimits::default(),
                total_bytes: u64::MAX,
            },
            limits: Arc::default(),
            min_free_bytes: 0,
            recent_bytes: 1 << 20,
            cluster: None,
            holder: String::new(),
        };
        let journal =
            Journal::open(settings, Telemetry::new().expect("metrics"), sender).expect("opens");
        for n in 0..10 {
            let streams = ["a", "b"].map(|name| StreamName::parse(name).expect("a name"));
            let text = n.to_string();
            let time = super::super::now();
            let draft = Draft::from_text(streams.into(), EventType::default(), &text, time);
            let unit = vec![Item::Event(draft.expect("a draft"))];
            journal.publisher.publish(unit, 1).await.expect("published");
        }
        tokio::task::spawn_blocking(move || journal.close()).await.expect("closes");
        // A process that another test starts shares the lock until it calls `exec`.
        use crate::journal::data_dir::DataDirError::Locked;
        while let Err(Locked(..)) = DataDir::open(path, "") {
            tokio::task::yield_now().await;
        }
    }

    /// A fault, the change that causes it, and a part of the error that reports it.
    type Case = (&'static str, fn(&Kv, &mut Changes), &'static str);

    fn first(kv: &Kv, kind: u8) -> (Vec<u8>, Vec<u8>) {
        let pair = kv.walk(vec![kind], keys::end_of(kind)).next();
        let (key, value) = pair.expect("there is one").expect("it can be read");
        (key.to_vec(), value.to_vec())
    }

    #[tokio::test]
    async fn inconsistencies_are_reported() {
        let cases: [Case; 8] = [
            ("an index item is gone", |kv, c| c.remove(first(kv, keys::INDEX).0), "the index of"),
            ("an entry is gone", |kv, c| c.remove(first(kv, keys::ENTRY).0), "has 9 events"),
            (
                "an entry is cut",
                |kv, c| {
                    let (key, value) = first(kv, keys::ENTRY);
                    c.put(key, value[..3].to_vec());
                },
                "is damaged",
            ),
            (
                "an entry is another",
                |kv, c| {
                    let (key, mut value) = first(kv, keys::ENTRY);
                    value.push(b'x');
                    c.put(key, value);
                },
                "the index of",
            ),
            (
                "data are no text",
                |kv, c| {
                    let (key, mut value) = first(kv, keys::ENTRY);
                    *value.last_mut().expect("data") = 0xff;
                    c.put(key, value);
                },
                "the data of",
            ),
            (
                "an entry is behind the last",
                |kv, c| {
                    let (_, value) = first(kv, keys::ENTRY);
                    c.put(keys::entry(Position::from_stored(u64::MAX)), value);
                },
                "after the last committed",
            ),
            ("a name is invalid", |kv, c| c.put(first(kv, keys::NAME).0, vec![1]), "damaged"),
            (
                "the totals are others",
                |kv, c| {
                    let mut value =
                        kv.get(keys::TOTALS).expect("reads").expect("are there").to_vec();
                    value[35] ^= 1;
                    c.put(keys::TOTALS.to_vec(), value);
                },
                "the totals record",
            ),
        ];
        for (fault, change, expected) in cases {
            let folder = tempfile::tempdir().expect("a folder");
            journal(folder.path()).await;
            let report = check(folder.path(), "").expect("checks");
            assert_eq!((report.errors, report.entries, report.streams.len()), (Vec::new(), 10, 2));
            let kv =
                DiskKv::open(&folder.path().join("journal"), Arc::new(KeepAll)).expect("opens");
            let kv = Kv::Disk(kv);
            let mut changes = Changes::default();
            change(&kv, &mut changes);
            kv.commit(changes, Sync::Process).expect("commits");
            drop(kv);
            let errors = match check(folder.path(), "") {
                Ok(report) => report.errors.join("\n"),
                Err(error) => error.to_string(),
            };
            assert!(errors.contains(expected), "{fault}: {errors}");
        }
    }
}
