//! Read positions of followed files, stored on a stream of the hub.
//!
//! Promises: a position is committed in one unit with the lines before it, so that no line is lost
//! or repeated, even if the hub is killed.

use super::super::last_values::read_stream;
use crate::event::{Body, Draft, EventType, StreamName, Timestamp};
use crate::journal::History;
use crate::source::error::SourceError;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use std::collections::{HashMap, HashSet};
use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use xxhash_rust::xxh3::xxh3_64;

/// Number of bytes at the beginning of a file, and before the read position, that identify it.
const HEAD_BYTES: u64 = 256;
const LAST_BYTES: u64 = 64;

/// Identity of a file, independent of its name.
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

/// Content by which a file is recognised, beside its inode: inodes are reused, and a file may be
/// emptied and rewritten.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct ContentMark {
    /// Length and hash of its beginning.
    head: (u64, u64),
    /// Length and hash of the bytes before the position.
    last: (u64, u64),
}

/// Beginning of a file and the bytes before the read position.
#[derive(Clone, Default, Debug)]
pub(super) struct FileSnapshot {
    head: Vec<u8>,
    last: Vec<u8>,
}

impl FileSnapshot {
    /// Returns the snapshot of a file up to `offset`.
    pub(super) fn of(file: &File, offset: u64) -> std::io::Result<Self> {
        let mut head = vec![0; offset.min(HEAD_BYTES) as usize];
        file.read_exact_at(&mut head, 0)?;
        let mut last = vec![0; offset.min(LAST_BYTES) as usize];
        let from = offset - last.len() as u64;
        file.read_exact_at(&mut last, from)?;
        Ok(Self { head, last })
    }

    /// Adds bytes that were read.
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

    /// Returns true if the file is still the one that was read up to `offset`.
    pub(super) fn is_of(&self, file: &File, offset: u64) -> std::io::Result<bool> {
        match Self::of(file, offset) {
            Ok(seen) => Ok(seen.head == self.head && seen.last == self.last),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Read position of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct FilePosition {
    /// Key of the followed pattern; see [`TailSpec::key`](super::TailSpec).
    pub(super) tail: String,
    pub(super) path: String,
    /// Target of a symbolic link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) real: Option<String>,
    #[serde(flatten)]
    pub(super) file: FileId,
    pub(super) offset: u64,
    pub(super) mark: ContentMark,
    /// Time of the last write that was seen: seconds and nanoseconds.
    #[serde(default)]
    pub(super) written: (i64, i64),
    /// True if the file is gone and need not be remembered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) gone: bool,
}

/// Record that a pattern is followed: files that appear from here on are read from the start.
#[derive(Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) tail: String,
}

/// Remembered read positions.
#[derive(Default, Debug)]
pub(super) struct FilePositions {
    pub(super) files: HashMap<(String, FileId), FilePosition>,
    pub(super) begun: HashSet<String>,
}

impl FilePositions {
    /// Reads the positions that were stored last.
    pub(super) fn read(history: &History, own: &StreamName) -> Result<Self, SourceError> {
        let mut places = Self::default();
        read_stream(history, own.as_str(), &mut |entry| {
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

    /// Returns a snapshot of all positions, so that retention may remove the earlier events.
    pub(super) fn drafts(
        &self,
        own: &StreamName,
        now: Timestamp,
    ) -> Result<Vec<Draft>, SourceError> {
        let begun = self.begun.iter().map(|tail| {
            let tail = tail.clone();
            draft(own, "begun", &Begun { tail }, now)
        });
        begun.chain(self.files.values().map(|place| draft(own, "place", place, now))).collect()
    }
}

/// Returns an event of the stream of read positions.
pub(super) fn draft(
    own: &StreamName,
    kind: &str,
    data: &impl Serialize,
    now: Timestamp,
) -> Result<Draft, SourceError> {
    let kind = EventType::parse(kind)?;
    let data = to_raw_value(data)?;
    Ok(Draft::from_json(vec![own.clone()], kind, &data, now)?)
}
