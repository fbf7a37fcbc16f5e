//! Keys of hidden streams. The payloads of a hidden stream are encrypted with a key of that stream
//! alone; erasing the key deletes them permanently.
//!
//! Erasing rewrites no tables, no write-ahead files and no copies of damaged files. The file
//! `stream-keys` stores the keys in slots; an erased slot is overwritten in place and synced. See
//! `docs/decisions/0014-erasing-by-key.md`.

use super::keys::{Decoder, Encoder, StreamNumber};
use super::kv::Sync;
use crate::event::Position;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

const KEY_BYTES: usize = 32;
/// Size of a slot, which lies within one sector, so that it is written whole or not at all.
const SLOT_BYTES: usize = 64;
/// The first byte of a slot that is in use.
const IN_USE: u8 = 1;

/// Reason why a payload or the key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// The file of keys could not be written.
    #[error("cannot write stream-keys: {0}")]
    Io(#[from] io::Error),
    /// The stream has no key.
    #[error("no key for stream number {0} in stream-keys")]
    NoKey(StreamNumber),
    /// The payload could not be encrypted.
    #[error("cannot encrypt a payload of stream number {0}")]
    Cipher(StreamNumber),
}

/// Keys of the existing hidden streams. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct StreamKeys {
    shared: Arc<RwLock<HashMap<StreamNumber, Arc<LessSafeKey>>>>,
}

impl StreamKeys {
    fn get(&self, number: StreamNumber) -> Option<Arc<LessSafeKey>> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// Encrypts `payload`, and authenticates the stream number and position with it.
    pub(super) fn seal(
        &self,
        number: StreamNumber,
        position: Position,
        payload: &[u8],
    ) -> Result<Vec<u8>, SealingError> {
        let key = self.get(number).ok_or(SealingError::NoKey(number))?;
        // Random, because a position may be assigned again after a loss.
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = payload.to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            aad(number, position),
            &mut sealed,
        )
        .map_err(|_| SealingError::Cipher(number))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Decrypts the output of [`Self::seal`]; returns `None` if the key is erased or the bytes are
    /// damaged.
    pub(super) fn open(
        &self,
        number: StreamNumber,
        position: Position,
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut payload = sealed.to_vec();
        let key = self.get(number)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let bytes = key.open_in_place(nonce, aad(number, position), &mut payload).ok()?.len();
        payload.truncate(bytes);
        Some(payload)
    }
}

fn aad(number: StreamNumber, position: Position) -> Aad<Vec<u8>> {
    Aad::from(Encoder(Vec::with_capacity(12)).u32(number).u64(position.get()).0)
}

fn key_of(bytes: &[u8]) -> Option<Arc<LessSafeKey>> {
    UnboundKey::new(&AES_256_GCM, bytes).ok().map(|key| Arc::new(LessSafeKey::new(key)))
}

/// The key file, which only the writer changes. In mode `memory` there is none, and nothing is
/// sealed.
pub(super) struct KeyFile {
    keys: StreamKeys,
    file: Option<File>,
    slots: HashMap<StreamNumber, u64>,
    free: Vec<u64>,
    end: u64,
    /// Number of slots that are neither empty nor intact; their streams cannot be read any more.
    damaged: usize,
    is_unsynced: bool,
}

impl KeyFile {
    /// Returns an empty set of keys without a file.
    pub(super) fn none() -> Self {
        Self {
            keys: StreamKeys::default(),
            file: None,
            slots: HashMap::new(),
            free: Vec::new(),
            end: 0,
            damaged: 0,
            is_unsynced: false,
        }
    }

    /// Opens or creates the file; the caller must sync its directory afterwards.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        let bytes = std::fs::read(path)?;
        let mut keys = HashMap::new();
        let mut opened = Self { file: Some(file), ..Self::none() };
        for (slot, bytes) in bytes.chunks(SLOT_BYTES).enumerate() {
            let slot = slot as u64;
            opened.end = slot + 1;
            match decode(bytes) {
                Some((number, key)) => {
                    keys.insert(number, key);
                    opened.slots.insert(number, slot);
                }
                None => {
                    opened.damaged += usize::from(bytes.iter().any(|byte| *byte != 0));
                    opened.free.push(slot);
                }
            }
        }
        opened.keys = StreamKeys { shared: Arc::new(RwLock::new(keys)) };
        Ok(opened)
    }

    pub(super) fn keys(&self) -> StreamKeys {
        self.keys.clone()
    }

    /// Returns the number of slots that were damaged when the file was opened.
    pub(super) fn damaged(&self) -> usize {
        self.damaged
    }

    /// Returns true if payloads of hidden streams are sealed.
    pub(super) fn seals(&self) -> bool {
        self.file.is_some()
    }

    /// Returns true if there is a key for the stream.
    pub(super) fn has(&self, number: StreamNumber) -> bool {
        self.slots.contains_key(&number)
    }

    /// Creates a key for a new stream. Call [`Self::sync_new_keys`] before the batch is committed.
    pub(super) fn add(&mut self, number: StreamNumber) -> Result<(), SealingError> {
        let Some(file) = &self.file else { return Ok(()) };
        let key: [u8; KEY_BYTES] = rand::random();
        let slot = self.free.pop().unwrap_or(self.end);
        file.write_all_at(&encode(number, &key), slot * SLOT_BYTES as u64)?;
        self.end = self.end.max(slot + 1);
        self.slots.insert(number, slot);
        self.is_unsynced = true;
        let key = key_of(&key).ok_or(SealingError::Cipher(number))?;
        self.write().insert(number, key);
        Ok(())
    }

    /// Makes new keys as durable as the batch that needs them will be.
    pub(super) fn sync_new_keys(&mut self, sync: Sync) -> Result<(), SealingError> {
        if self.is_unsynced
            && sync == Sync::Disk
            && let Some(file) = &self.file
        {
            file.sync_data()?;
            self.is_unsynced = false;
        }
        Ok(())
    }

    /// Erases the keys of streams that no longer exist, on disk as well.
    pub(super) fn erase(&mut self, removed: &[StreamNumber]) -> Result<(), SealingError> {
        let slots: Vec<_> =
            removed.iter().filter_map(|n| Some((*n, self.slots.remove(n)?))).collect();
        let Some(file) = self.file.as_ref().filter(|_| !slots.is_empty()) else { return Ok(()) };
        for (_, slot) in &slots {
            file.write_all_at(&[0; SLOT_BYTES], slot * SLOT_BYTES as u64)?;
        }
        file.sync_data()?;
        let mut keys = self.keys.shared.write().unwrap_or_else(PoisonError::into_inner);
        for (number, slot) in slots {
            keys.remove(&number);
            self.free.push(slot);
        }
        Ok(())
    }

    /// Erases the keys of every stream for which `exists` returns false: a crash came after the
    /// deletion of the stream and before this erasure, or the creation of the stream was lost.
    pub(super) fn erase_orphans(
        &mut self,
        exists: impl Fn(StreamNumber) -> bool,
    ) -> Result<(), SealingError> {
        let orphans: Vec<_> = self.slots.keys().copied().filter(|n| !exists(*n)).collect();
        self.erase(&orphans)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<StreamNumber, Arc<LessSafeKey>>> {
        self.keys.shared.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode(number: StreamNumber, key: &[u8; KEY_BYTES]) -> Vec<u8> {
    let body = Encoder(Vec::with_capacity(SLOT_BYTES)).u8(IN_USE).u32(number).bytes(key).0;
    let sum = crc32fast::hash(&body);
    let mut slot = Encoder(body).u32(sum).0;
    slot.resize(SLOT_BYTES, 0);
    slot
}

fn decode(slot: &[u8]) -> Option<(StreamNumber, Arc<LessSafeKey>)> {
    let mut fields = Decoder(slot);
    let (in_use, number, key) = (fields.u8()?, fields.u32()?, fields.take(KEY_BYTES)?);
    let body = &slot[..slot.len() - fields.0.len()];
    let is_valid = in_use == IN_USE && fields.u32()? == crc32fast::hash(body);
    is_valid.then(|| key_of(key)).flatten().map(|key| (number, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_payloads_open_until_their_key_is_erased_even_after_reopening() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stream-keys");
        let position = Position::from_stored(7);
        let mut file = KeyFile::open(&path).expect("opens");
        for number in 1..=3 {
            file.add(number).expect("a key");
        }
        file.sync_new_keys(Sync::Disk).expect("synced");
        let sealed: Vec<_> =
            (1..=3).map(|n| file.keys().seal(n, position, b"words").expect("sealed")).collect();
        assert!(!sealed[0].windows(5).any(|part| part == b"words"));
        let open = |file: &KeyFile, n: u32| file.keys().open(n, position, &sealed[n as usize - 1]);
        assert_eq!(open(&file, 1).as_deref(), Some(&b"words"[..]));
        assert_eq!(
            file.keys().open(1, Position::from_stored(8), &sealed[0]),
            None,
            "another position"
        );
        assert_eq!(file.keys().open(2, position, &sealed[0]), None, "another stream");
        file.erase(&[2]).expect("erased");
        file.add(9).expect("takes the free slot");
        let file = KeyFile::open(&path).expect("opens");
        assert_eq!(
            (1..=3).map(|n| open(&file, n).is_some()).collect::<Vec<_>>(),
            [true, false, true]
        );
        assert_eq!(std::fs::metadata(&path).expect("is there").len(), 3 * SLOT_BYTES as u64);
    }

    #[test]
    fn flipped_bit_is_detected_and_costs_one_stream() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stream-keys");
        let mut file = KeyFile::open(&path).expect("opens");
        file.add(1).expect("a key");
        file.add(2).expect("a key");
        let sealed = file.keys().seal(2, Position::ZERO, b"words").expect("sealed");
        let mut bytes = std::fs::read(&path).expect("reads");
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).expect("writes");
        let mut file = KeyFile::open(&path).expect("opens");
        assert_eq!(file.damaged(), 1);
        assert!(file.keys().open(2, Position::ZERO, &sealed).is_some());
        file.erase_orphans(|_| false).expect("erased");
        assert!(file.keys().open(2, Position::ZERO, &sealed).is_none());
    }
}
