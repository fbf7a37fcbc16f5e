//! How far each file was read, remembered on a stream of the hub's own.
//!
//! Promises: a place is committed with the lines before it, in one unit of the journal; so whatever
//! happens to the hub, no line is lost and none comes twice.

use super::super::last_values::read_stream;
use crate::event::{Body, Draft, EventType, StreamName, Timestamp};
use crate::journal::History;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use std::collections::{HashMap, HashSet};
use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use xxhash_rust::xxh3::xxh3_64;

/// The stream.
pub const STREAM: &str = "hub.tail";
/// Events of it that are kept: more than come between two times that everything is said again.
pub const KEPT_EVENTS: u64 = 20_000;
/// Bytes at the beginning of a file, and before the place, by which it is told from another one.
const HEAD_BYTES: u64 = 256;
const LAST_BYTES: u64 = 64;

/// What a file is, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino() }
    }
}

/// By what a file is known again, beside its number: that may be used again, and a file may be emptied
/// and written anew.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct ContentMark {
    /// Of its beginning: so many bytes, and their hash.
    head: (u64, u64),
    /// Of what stands before the place: the same.
    last: (u64, u64),
}

/// What was read of a file: its beginning, and what stands before the place.
#[derive(Clone, Default, Debug)]
pub(super) struct FileSnapshot {
    head: Vec<u8>,
    last: Vec<u8>,
}

impl FileSnapshot {
    /// Of a file up to `offset`.
    pub(super) fn of(file: &File, offset: u64) -> std::io::Result<Self> {
        let mut head = vec![0; offset.min(HEAD_BYTES) as usize];
        file.read_exact_at(&mut head, 0)?;
        let mut last = vec![0; offset.min(LAST_BYTES) as usize];
        let from = offset - last.len() as u64;
        file.read_exact_at(&mut last, from)?;
        Ok(Self { head, last })
    }

    /// It was read on.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let room = (HEAD_BYTES as usize).saturating_sub(self.head.len());
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.last.extend_from_slice(bytes);
        let needless = self.last.len().saturating_sub(LAST_BYTES as usize);
        self.last.drain(..needless);
    }

    pub(super) fn mark(&self) -> ContentMark {
        let sum = |bytes: &[u8]| (bytes.len() as u64, xxh3_64(bytes));
        ContentMark { head: sum(&self.head), last: sum(&self.last) }
    }

    /// Whether the file still is the one that was read up to `offset`.
    pub(super) fn is_of(&self, file: &File, offset: u64) -> std::io::Result<bool> {
        match Self::of(file, offset) {
            Ok(seen) => Ok(seen.head == self.head && seen.last == self.last),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// How far a file was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct FilePosition {
    /// Whose file it is: see [`TailSpec::key`](super::TailSpec).
    pub(super) tail: String,
    pub(super) path: String,
    /// Where it is, where that is behind a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) real: Option<String>,
    #[serde(flatten)]
    pub(super) file: FileId,
    pub(super) offset: u64,
    pub(super) mark: ContentMark,
    /// When it had last been written to, as the file system says: seconds and nanoseconds.
    #[serde(default)]
    pub(super) written: (i64, i64),
    /// It is gone, and needs not be remembered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) gone: bool,
}

/// That files are followed as somebody wants it: what is new from here on is new.
#[derive(Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) tail: String,
}

/// What is remembered.
#[derive(Default, Debug)]
pub(super) struct FilePositions {
    pub(super) files: HashMap<(String, FileId), FilePosition>,
    pub(super) begun: HashSet<String>,
}

impl FilePositions {
    /// What was remembered last.
    pub(super) fn read(history: &History) -> Result<Self, String> {
        let mut places = Self::default();
        read_stream(history, STREAM, &mut |entry| {
            let Body::Event { kind, payload } = &entry.body else { return };
            match kind.as_str() {
                "place" => {
                    if let Ok(place) = serde_json::from_slice(payload.as_bytes()) {
                        places.note(place);
                    }
                }
                "begun" => {
                    let begun = serde_json::from_slice(payload.as_bytes());
                    places.begun.extend(begun.ok().map(|Begun { tail }| tail));
                }
                _ => {}
            }
        })?;
        Ok(places)
    }

    pub(super) fn note(&mut self, place: FilePosition) {
        let key = (place.tail.clone(), place.file);
        if place.gone {
            self.files.remove(&key)
        } else {
            self.files.insert(key, place)
        };
    }

    /// Everything, to be said again, so that what said it first may go.
    pub(super) fn drafts(&self, now: Timestamp) -> Result<Vec<Draft>, String> {
        let begun = self.begun.iter().map(|tail| {
            let tail = tail.clone();
            draft("begun", &Begun { tail }, now)
        });
        begun.chain(self.files.values().map(|place| draft("place", place, now))).collect()
    }
}

/// An event of the stream.
pub(super) fn draft(kind: &str, data: &impl Serialize, now: Timestamp) -> Result<Draft, String> {
    let invalid = |e: crate::event::Invalid| e.detail;
    let stream = StreamName::parse(STREAM).map_err(invalid)?;
    let kind = EventType::parse(kind).map_err(invalid)?;
    let data = to_raw_value(data).map_err(|e| e.to_string())?;
    Draft::from_json(vec![stream], kind, &data, now).map_err(invalid)
}
