//! Backups: a file with a snapshot of a journal and of the files beside it.
//!
//! A backup can be taken of a running hub: it reads a snapshot of the store, and commits continue.
//! The file is a header line and records: `p`, key length u32, value length u32, key, value; `f`,
//! name length u32, content length u32, name, content; and at the end `z`, number of records u64,
//! crc32 of everything before it u32. Numbers are big-endian.

use super::data_dir::{DataDir, DataDirError};
use super::kv::{Changes, DiskKv, Expiry, Kv, Sync};
use crate::disk::{replace_file, sync_dir, sync_tree};
use crate::journal::error::JournalError;
use bytes::Bytes;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc::{self, Receiver};

const HEADER: &[u8] = b"fanfare backup 1\n";
/// Keys with which values in the store are encrypted.
const STREAM_KEYS: &str = "stream-keys";
/// Directory of a journal that a snapshot has replaced, until it is removed.
pub(super) const REPLACED_STORE: &str = "journal.replaced";
/// Files beside the store that belong to a journal.
const FILES: [&str; 4] = [STREAM_KEYS, "tickets.key", REVOCATIONS, "admin-key.sha256"];
/// File with the revocations, a line each.
const REVOCATIONS: &str = "revocations";
/// Maximum length of a key or value of a record; a longer one is damage.
const MAX_FIELD_BYTES: u32 = 1 << 30;
/// Maximum number of chunks of a backup that wait for the receiver.
const MAX_WAITING_CHUNKS: usize = 4;
/// Bytes per commit of a restore.
const RESTORE_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Reason why a backup could not be made or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Bytes could not be read or written.
    #[error("cannot read or write {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    /// The store could not be read or written.
    #[error("cannot use the store: {0}")]
    Store(#[source] JournalError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// The file is not a backup, or is incomplete.
    #[error("{0} is not a complete backup: {1}")]
    Damaged(PathBuf, &'static str),
    /// The target directory already holds a journal.
    #[error("{0} holds a journal; restore into an empty directory")]
    Occupied(PathBuf),
}

/// Makes backups of an open journal, one at a time, because a backup reads all of it.
#[derive(Clone)]
pub struct Backup {
    kv: Kv,
    data_dir: PathBuf,
    is_running: Arc<AtomicBool>,
}

impl Backup {
    pub(super) fn new(kv: Kv, data_dir: PathBuf) -> Self {
        Self { kv, data_dir, is_running: Arc::default() }
    }

    /// Begins a backup, and returns its chunks; `None` if another one is being made. It proceeds as the chunks
    /// are taken, and ends early, with an error, if it fails.
    pub fn start(&self, chunk_bytes: usize) -> Option<Receiver<io::Result<Bytes>>> {
        let permit = BackupPermit::take(&self.is_running)?;
        let (sender, chunks) = mpsc::channel(MAX_WAITING_CHUNKS);
        let backup = self.clone();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let out = BufWriter::with_capacity(chunk_bytes, ChunkWriter(sender.clone()));
            match backup.write(out) {
                Ok(()) => tracing::info!("made a backup"),
                Err(error) => {
                    tracing::error!(%error, "failed to make a backup");
                    let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
                }
            }
        });
        Some(chunks)
    }

    /// Writes a snapshot of the journal to `out`.
    pub fn write(&self, out: impl Write) -> Result<(), BackupError> {
        let failed = |e| BackupError::Io(self.data_dir.clone(), e);
        let mut out = RecordWriter { out, sum: crc32fast::Hasher::new(), count: 0 };
        out.bytes(HEADER).map_err(failed)?;
        for pair in self.kv.walk_snapshot() {
            let (key, value) = pair.map_err(BackupError::Store)?;
            out.record(b'p', &key, &value).map_err(failed)?;
        }
        // The files are read after the walk: a stream that was deleted meanwhile must not keep its
        // key, and a credential that was revoked meanwhile must not become valid again.
        for name in FILES {
            match fs::read(self.data_dir.join(name)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                content => {
                    let content = content.map_err(failed)?;
                    out.record(b'f', name.as_bytes(), &content).map_err(failed)?;
                }
            }
        }
        out.end().map_err(failed)
    }
}

/// Permit to make a backup.
struct BackupPermit(Arc<AtomicBool>);

impl BackupPermit {
    fn take(is_taken: &Arc<AtomicBool>) -> Option<Self> {
        (!is_taken.swap(true, Ordering::AcqRel)).then(|| Self(is_taken.clone()))
    }
}

impl Drop for BackupPermit {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Writer that sends its bytes as chunks, at the pace of the receiver.
struct ChunkWriter(mpsc::Sender<io::Result<Bytes>>);

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct RecordWriter<W> {
    out: W,
    sum: crc32fast::Hasher,
    count: u64,
}

impl<W: Write> RecordWriter<W> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.out.write_all(bytes)
    }

    fn record(&mut self, kind: u8, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.count += 1;
        self.bytes(&[kind])?;
        self.bytes(&(key.len() as u32).to_be_bytes())?;
        self.bytes(&(value.len() as u32).to_be_bytes())?;
        self.bytes(key)?;
        self.bytes(value)
    }

    fn end(&mut self) -> io::Result<()> {
        let count = self.count.to_be_bytes();
        self.bytes(b"z")?;
        self.bytes(&count)?;
        let sum = self.sum.clone().finalize();
        self.out.write_all(&sum.to_be_bytes())?;
        self.out.flush()
    }
}

/// A pair of the store, or a file beside it.
enum Record {
    Pair(Vec<u8>, Vec<u8>),
    File(String, Vec<u8>),
}

/// Calls `visit` for every record of the backup in `input`, named `file` in errors; returns their number. Fails
/// if it is incomplete or damaged, which is known only after all of it was read.
fn read(
    input: impl Read,
    file: &Path,
    mut visit: impl FnMut(Record) -> Result<(), BackupError>,
) -> Result<u64, BackupError> {
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::Damaged(file.to_owned(), "it is truncated"),
        _ => BackupError::Io(file.to_owned(), e),
    };
    let damaged = |reason| BackupError::Damaged(file.to_owned(), reason);
    let mut input = RecordReader { input: BufReader::new(input), sum: crc32fast::Hasher::new() };
    if input.bytes(HEADER.len()).map_err(failed)? != HEADER {
        return Err(damaged("it has no backup header"));
    }
    let mut count = 0;
    loop {
        let kind = input.bytes(1).map_err(failed)?[0];
        if kind == b'z' {
            break;
        }
        let lengths = [input.number().map_err(failed)?, input.number().map_err(failed)?];
        if lengths.iter().any(|length| *length > MAX_FIELD_BYTES) {
            return Err(damaged("a record is too long"));
        }
        let key = input.bytes(lengths[0] as usize).map_err(failed)?;
        let value = input.bytes(lengths[1] as usize).map_err(failed)?;
        count += 1;
        visit(match kind {
            b'p' => Record::Pair(key, value),
            b'f' => {
                let name = String::from_utf8(key).ok().filter(|n| FILES.contains(&n.as_str()));
                Record::File(name.ok_or_else(|| damaged("it contains an unknown file"))?, value)
            }
            _ => return Err(damaged("a record has an unknown kind")),
        })?;
    }
    let record_count = input.bytes(8).map_err(failed)?;
    let sum = input.sum.clone().finalize();
    if record_count != u64::to_be_bytes(count) || input.number().map_err(failed)? != sum {
        return Err(damaged("its checksum does not match"));
    }
    Ok(count)
}

struct RecordReader<R> {
    input: BufReader<R>,
    sum: crc32fast::Hasher,
}

impl<R: Read> RecordReader<R> {
    fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // Not preallocated: a damaged length must not exhaust the memory.
        (&mut self.input).take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.sum.update(&bytes);
        Ok(bytes)
    }

    fn number(&mut self) -> io::Result<u32> {
        let bytes = self.bytes(4)?;
        Ok(bytes.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte)))
    }
}

/// Verifies the backup in `file`; returns its number of records.
pub fn verify_backup(file: &Path) -> Result<u64, BackupError> {
    read(open(file)?, file, |_| Ok(()))
}

fn open(file: &Path) -> Result<File, BackupError> {
    File::open(file).map_err(|error| BackupError::Io(file.to_owned(), error))
}

/// Keeps all entries of a journal that is being restored.
struct KeepAll;

impl Expiry for KeepAll {
    fn is_dead(&self, _: &[u8], _: &[u8]) -> bool {
        false
    }
}

/// Restores the backup in `file` into a data directory that holds no journal. The hub that starts
/// on it begins a new epoch, because clients may have seen events that were published after the
/// backup.
pub fn restore(file: &Path, data_dir: &Path, holder: &str) -> Result<u64, BackupError> {
    verify_backup(file)?;
    let folder = DataDir::open(data_dir, holder)?;
    if folder.join("journal").exists() {
        return Err(BackupError::Occupied(data_dir.to_owned()));
    }
    replace_store(open(file)?, file, data_dir, &folder)
}

/// Replaces the journal in a data directory by the snapshot in `input`, which another hub of the cluster sends.
/// The old one stays until the snapshot is complete.
#[cfg(feature = "cluster")]
pub fn restore_snapshot(
    input: impl Read,
    data_dir: &Path,
    holder: &str,
) -> Result<u64, BackupError> {
    let folder = DataDir::open(data_dir, holder)?;
    replace_store(input, Path::new("the snapshot"), data_dir, &folder)
}

fn remove_if_exists(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Finishes the replacement of a journal by a snapshot that a kill has interrupted.
pub(super) fn finish_replacement(folder: &DataDir) -> io::Result<()> {
    let [store, new_store] = ["journal", "journal.new"].map(|name| folder.join(name));
    // The new one is complete and synced before the old one is moved.
    if !store.exists() && folder.join(REPLACED_STORE).exists() && new_store.exists() {
        fs::rename(&new_store, &store)?;
        folder.sync()?;
    }
    remove_replaced(folder)
}

fn remove_replaced(folder: &DataDir) -> io::Result<()> {
    match fs::remove_dir_all(folder.join(REPLACED_STORE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Returns the complete lines of a file of this hub, and those of another one.
fn both_lines(mut own: Vec<u8>, other: &[u8]) -> Vec<u8> {
    own.truncate(own.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    own.extend_from_slice(other);
    own
}

fn replace_store(
    input: impl Read,
    name: &Path,
    data_dir: &Path,
    folder: &DataDir,
) -> Result<u64, BackupError> {
    let store = folder.join("journal");
    let failed = |e| BackupError::Io(data_dir.to_owned(), e);
    let new_store = folder.join("journal.new");
    finish_replacement(folder).map_err(failed)?;
    if new_store.exists() {
        fs::remove_dir_all(&new_store).map_err(failed)?;
    }
    let kv = Kv::Disk(DiskKv::open(&new_store, Arc::new(KeepAll)).map_err(BackupError::Store)?);
    let (mut batch, mut bytes, mut files) = (Changes::default(), 0, Vec::new());
    let count = read(input, name, |record| {
        match record {
            Record::Pair(key, value) => {
                bytes += key.len() + value.len();
                batch.put(key, value);
            }
            Record::File(name, content) => files.push((name, content)),
        }
        if bytes >= RESTORE_BATCH_BYTES {
            bytes = 0;
            kv.commit(std::mem::take(&mut batch), Sync::Process).map_err(BackupError::Store)?;
        }
        Ok(())
    })?;
    kv.commit(batch, Sync::Disk).map_err(BackupError::Store)?;
    kv.sync().map_err(BackupError::Store)?;
    drop(kv);
    sync_tree(&new_store).map_err(failed)?;
    if store.exists() {
        // Without its mark, a journal that is missing after a kill is created empty by the next start, which
        // then gets another snapshot.
        remove_if_exists(&folder.join("HEAD")).map_err(failed)?;
    }
    for (name, content) in files {
        let file = folder.join(&name);
        // The stream keys belong to the store. Other files, if there are any, are of this hub.
        let content = match fs::read(&file) {
            Ok(own) if name == REVOCATIONS => both_lines(own, &content),
            Ok(_) if name != STREAM_KEYS => continue,
            _ => content,
        };
        replace_file(&file, &content).map_err(failed)?;
    }
    sync_dir(data_dir).map_err(failed)?;
    // A directory is renamed at once, but not removed at once.
    if store.exists() {
        fs::rename(&store, folder.join(REPLACED_STORE)).map_err(failed)?;
    }
    fs::rename(&new_store, &store).map_err(failed)?;
    sync_dir(data_dir).map_err(failed)?;
    remove_replaced(folder).map_err(failed)?;
    Ok(count)
}
