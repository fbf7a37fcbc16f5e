//! Inspection and repair of fjall's write-ahead files before fjall opens them.
//!
//! fjall silently cuts a file at the first bytes that it cannot read, and refuses to open one with
//! a wrong checksum. This module finds the first bad batch and classifies it: a write that a power
//! loss or a kill cut short was never acknowledged and is dropped; anything else is damage, of
//! which a copy is kept.
//!
//! The layout is that of fjall 3 (`FJL` 3), all numbers little-endian: a batch is `1`, count u32,
//! sequence u64; items `2`, kind u8, compression u8, keyspace u64, key length u16, value length
//! u32, stored length u32, key, value; clears `4`, keyspace u64; and `3`, xxh3 of the items u64,
//! magic. Files are preallocated, so zeros after the last batch are expected.

use super::salvage::Item;
use crate::disk::{sync_dir, write_file};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8] = b"FJL\x03";
/// Bytes of the end of a batch: `3`, checksum, magic.
const END_BYTES: usize = 1 + 8 + MAGIC.len();
/// The unit that a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Maximum length of a key: a stream name or an idempotency key, with its prefix.
const MAX_KEY_BYTES: u64 = 1024;
/// Length that no value has in practice; only used to distinguish wrong bytes from missing ones.
const MAX_VALUE_BYTES: u64 = 256 * 1024 * 1024;
/// Maximum step between the sequence numbers of two batches, and maximum number of the first batch
/// of a file. fjall counts up by one from 0. A flipped bit would make it continue from a far higher
/// number, and panic at the end of the range.
const MAX_SEQUENCE_STEP: u64 = 1 << 40;
const MAX_SEQUENCE: u64 = 1 << 56;

/// The first bad batch of the write-ahead files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::journal) struct BadTail {
    /// File with the bad batch.
    pub(in crate::journal) file: PathBuf,
    /// Offset at which the bad batch begins, in bytes.
    pub(in crate::journal) offset: u64,
    /// True for a write that was cut short and never acknowledged; false for damage.
    pub(in crate::journal) is_torn: bool,
    /// Later files, which cannot be used without this one.
    later: Vec<PathBuf>,
}

/// Returns the first bad batch of the write-ahead files in `folder`, oldest file first.
pub(in crate::journal) fn inspect(folder: &Path) -> io::Result<Option<BadTail>> {
    let mut files = match files(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        files => files?.into_iter(),
    };
    while let Some(file) = files.next() {
        let bytes = fs::read(&file)?;
        let valid_len = valid_prefix_len(&bytes);
        if used_bytes(&bytes[valid_len..]) > 0 {
            let later: Vec<_> = files.collect();
            let is_torn = later.is_empty() && is_torn_write(&bytes, valid_len);
            return Ok(Some(BadTail { file, offset: valid_len as u64, is_torn, later }));
        }
    }
    Ok(None)
}

impl std::fmt::Display for BadTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} from byte {} on", self.file.display(), self.offset)
    }
}

impl BadTail {
    /// Returns the directory name for the copy, which is the same each time the damage is found.
    pub(in crate::journal) fn copy_name(&self, epoch: u32) -> String {
        let file = self.file.file_stem().unwrap_or_default().to_string_lossy();
        format!("damaged-{epoch:08x}-{file}-{}", self.offset)
    }

    /// Copies the damaged bytes to `folder`, and syncs the copy.
    pub(in crate::journal) fn copy_to(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        copy_used(&self.file, self.offset, folder)?;
        for file in &self.later {
            copy_used(file, 0, folder)?;
        }
        sync_dir(folder)
    }
}

/// Copies a file from `offset` on, without the zeros that it was preallocated with.
fn copy_used(file: &Path, offset: u64, folder: &Path) -> io::Result<()> {
    let bytes = fs::read(file)?;
    let tail = bytes.get(offset as usize..).unwrap_or_default();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let copy = folder.join(format!("{name}.from-{offset}"));
    write_file(&copy, &tail[..used_bytes(tail)]).map(drop)
}

/// Returns the length without trailing zeros, which make up most of a preallocated file.
fn used_bytes(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let zeros = bytes.rchunks(ZEROS.len()).take_while(|block| **block == ZEROS[..block.len()]);
    let rest = &bytes[..bytes.len() - zeros.map(<[u8]>::len).sum::<usize>()];
    rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Replaces every write-ahead file, up to `bad_tail`, with a new one that holds its whole batches.
///
/// After an unclean stop, the page cache may show bytes that a failed sync has marked clean: they
/// can be read, but are never written to disk. Only a new file is certain to be written.
pub(in crate::journal) fn rewrite(folder: &Path, bad_tail: Option<&BadTail>) -> io::Result<()> {
    for file in bad_tail.iter().flat_map(|bad_tail| &bad_tail.later) {
        fs::remove_file(file)?;
    }
    for file in files(folder)? {
        let bytes = fs::read(&file)?;
        let valid = &bytes[..valid_prefix_len(&bytes)];
        let new_file = file.with_extension("new");
        match write_file(&new_file, valid) {
            Ok(_) => fs::rename(&new_file, &file)?,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                fs::remove_file(&new_file)?;
                write_in_place(&file, valid)?;
            }
            Err(error) => return Err(error),
        }
    }
    sync_dir(folder)
}

/// Overwrites the start of the file with the same bytes, so that they are written to disk, and cuts
/// the rest. This takes no space, but writes to blocks that failed before.
fn write_in_place(file: &Path, content: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(file)?;
    file.write_all_at(content, 0)?;
    file.set_len(content.len() as u64)?;
    file.sync_all()
}

/// Returns the files in the order in which they were written.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number
            && path.extension().is_some_and(|e| e == "jnl")
        {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

/// Calls `visit` for every item of the whole batches in `folder`. Returns descriptions of the parts
/// that are damaged.
pub(super) fn read_items(folder: &Path, visit: &mut impl FnMut(Item)) -> io::Result<Vec<String>> {
    let mut damage = Vec::new();
    let files = files(folder)?;
    for (index, file) in files.iter().enumerate() {
        let bytes = fs::read(file)?;
        let valid_len = valid_prefix_len(&bytes);
        let mut rest = Parser::of(&bytes[..valid_len]);
        while rest.expect(&[1]).is_some() {
            let (Some(count), Some(sequence)) = (rest.number(4), rest.number(8)) else { break };
            for _ in 0..count {
                if rest.bytes.first() == Some(&4) {
                    rest.take(1 + 8);
                } else if let Some(item) = rest.read_item(sequence) {
                    visit(item);
                }
            }
            rest.take(1 + 8 + MAGIC.len());
        }
        let is_last = index + 1 == files.len();
        if used_bytes(&bytes[valid_len..]) > 0 && !(is_last && is_torn_write(&bytes, valid_len)) {
            damage.push(format!("{}: damaged from byte {valid_len} on", file.display()));
        }
    }
    Ok(damage)
}

/// Returns true if the bad batch at `begin` is a write that was cut short: bytes are missing from
/// it, and none is wrong. Only the last write can be unacknowledged, so a whole batch after it
/// proves damage. So does a batch that is wrong before its last written byte, or whose end is
/// present.
fn is_torn_write(bytes: &[u8], begin: usize) -> bool {
    let end = used_bytes(bytes);
    if Parser::of(&bytes[begin..]).batch().is_some() || has_whole_batch(&bytes[begin + 1..end]) {
        return false;
    }
    if has_unwritten_sector(bytes, begin, end) {
        return true;
    }
    let mut rest = Parser::of(&bytes[begin..]);
    let _ = rest.whole_batch();
    let failed_at = bytes.len() - rest.bytes.len();
    // Bytes are missing, unless a wrong length only makes it seem so.
    failed_at >= end && !rest.is_implausible && !ends_like_a_batch(&bytes[begin..end])
}

/// Returns true if a whole batch begins anywhere in `bytes`.
fn has_whole_batch(bytes: &[u8]) -> bool {
    memchr::memchr_iter(1, bytes).any(|at| {
        let mut rest = Parser::of(&bytes[at..]);
        // Zeros never look like an empty batch, because the checksum of no bytes is not zero.
        rest.batch().is_some()
    })
}

/// Returns true if a sector between `begin` and `end` holds only zeros from `begin` on.
fn has_unwritten_sector(bytes: &[u8], begin: usize, end: usize) -> bool {
    let mut from = begin;
    while from < end {
        let until = (from / SECTOR_BYTES + 1) * SECTOR_BYTES;
        if bytes[from..until.min(bytes.len())].iter().all(|byte| *byte == 0) {
            return true;
        }
        from = until;
    }
    false
}

fn ends_like_a_batch(bytes: &[u8]) -> bool {
    let end = bytes.len().checked_sub(END_BYTES).map(|at| &bytes[at..]);
    end.is_some_and(|end| end[0] == 3 && end.ends_with(MAGIC))
}

/// Returns the number of bytes from the start that are whole batches. The checksums do not cover
/// the sequence numbers, so their order is checked, too.
pub(in crate::journal) fn valid_prefix_len(bytes: &[u8]) -> usize {
    let mut rest = Parser::of(bytes);
    // Start and number of the previous batch, and true if it directly follows its own predecessor.
    let mut last: Option<(usize, u64)> = None;
    let mut last_follows = false;
    loop {
        let begin = bytes.len() - rest.bytes.len();
        let Some(number) = rest.batch() else { return begin };
        match last {
            // Either number is wrong: the previous one, unless it follows its own predecessor.
            Some((previous, last)) if number <= last => {
                return if last_follows { begin } else { previous };
            }
            Some((_, last)) if number - last > MAX_SEQUENCE_STEP => return begin,
            Some((_, last)) => last_follows = number == last + 1,
            None if number > MAX_SEQUENCE => return begin,
            None => last_follows = false,
        }
        last = Some((begin, number));
    }
}

/// Bytes of a file that were not parsed yet.
struct Parser<'a> {
    bytes: &'a [u8],
    /// True once an item had an impossible length.
    is_implausible: bool,
}

impl<'a> Parser<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, is_implausible: false }
    }

    /// Takes `length` bytes; if there are fewer, skips those and returns `None`.
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.bytes.split_at(length.min(self.bytes.len()));
        self.bytes = tail;
        (head.len() == length).then_some(head)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        let taken = self.take(bytes)?;
        Some(taken.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    /// Reads an item that [`Parser::whole_batch`] has accepted.
    fn read_item(&mut self, sequence: u64) -> Option<Item> {
        if self.take(1)?.first() != Some(&2) {
            return None;
        }
        let (kind, compression) = (self.number(1)?, self.number(1)?);
        self.take(8)?;
        let key_len = self.number(2)? as usize;
        let (unpacked_len, len) = (self.number(4)? as usize, self.number(4)? as usize);
        let (key, stored) = (self.take(key_len)?.to_vec(), self.take(len)?);
        let value = match compression {
            0 => stored.to_vec(),
            _ => lz4_flex::block::decompress(stored, unpacked_len).ok()?,
        };
        Some(Item { key, sequence, value: (kind == 0).then(|| value.into()) })
    }

    /// Skips one batch if it is complete and valid, and returns its sequence number.
    fn batch(&mut self) -> Option<u64> {
        let mut rest = Parser::of(self.bytes);
        let number = rest.whole_batch()?;
        self.bytes = rest.bytes;
        Some(number)
    }

    fn whole_batch(&mut self) -> Option<u64> {
        self.expect(&[1])?;
        let count = self.number(4)?;
        let sequence = self.number(8)?;
        let items = self.bytes;
        for _ in 0..count {
            self.item()?;
        }
        let items = &items[..items.len() - self.bytes.len()];
        self.expect(&[3])?;
        // The magic is checked first: bytes that only resemble a batch are not worth a checksum.
        let magic = self.bytes.get(8..).unwrap_or_default();
        if !magic.starts_with(MAGIC) {
            // If the end of a batch is missing, skip the part of it that is there and right.
            let matching =
                magic.iter().zip(MAGIC).take_while(|(actual, expected)| actual == expected).count();
            self.take(8 + matching);
            return None;
        }
        self.expect(&xxh3_64(items).to_le_bytes())?;
        self.expect(MAGIC)?;
        Some(sequence)
    }

    /// Skips `bytes`; if other bytes follow, skips nothing and returns `None`.
    fn expect(&mut self, bytes: &[u8]) -> Option<()> {
        self.bytes = self.bytes.strip_prefix(bytes)?;
        Some(())
    }

    fn item(&mut self) -> Option<()> {
        match self.bytes.first()? {
            2 => {
                self.take(1 + 1 + 1 + 8)?;
                let key = self.number(2)?;
                let unpacked = self.number(4)?;
                let value = self.number(4)?;
                // A value is stored as it is, or compressed with LZ4, which adds at most 1/255.
                self.is_implausible |= key > MAX_KEY_BYTES
                    || value > MAX_VALUE_BYTES
                    || value > unpacked + unpacked / 128 + 64;
                self.take((key + value) as usize).map(drop)
            }
            4 => self.take(1 + 8).map(drop),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::kv::{Change, DiskKv, Expiry, Sync};
    use crate::properties::cases;
    use proptest::prelude::*;
    use std::sync::Arc;

    struct Never;
    impl Expiry for Never {
        fn is_dead(&self, _: &[u8], _: &[u8]) -> bool {
            false
        }
    }

    fn put(n: u8, bytes: usize) -> Vec<Change> {
        vec![(vec![b'k', n], Some(vec![n; bytes])), (vec![b'l', n], Some(vec![])), (vec![n], None)]
    }

    /// Writes and closes a store with twenty batches; returns its directory and its only
    /// write-ahead file.
    fn written() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let kv = DiskKv::open(folder.path(), Arc::new(Never)).expect("opens");
        for n in 0..20 {
            // Some values are large enough for fjall to compress.
            kv.commit(put(n, if n % 2 == 0 { 10 } else { 9000 }), Sync::Disk).expect("commits");
        }
        drop(kv);
        let file = files(folder.path()).expect("a list").pop().expect("a file");
        (folder, file)
    }

    fn open(folder: &Path) -> Vec<u8> {
        let kv = DiskKv::open(folder, Arc::new(Never)).expect("opens");
        (0..20).filter(|n| kv.get(&[b'k', *n]).expect("reads").is_some()).collect()
    }

    #[test]
    fn files_of_fjall_are_understood() {
        let (folder, _) = written();
        assert_eq!(inspect(folder.path()).expect("looks"), None);
        assert_eq!(open(folder.path()).len(), 20);
    }

    #[test]
    fn files_are_rewritten_in_place() {
        let (folder, file) = written();
        let before = fs::read(&file).expect("reads");
        let valid_len = valid_prefix_len(&before);
        write_in_place(&file, &before[..valid_len]).expect("writes");
        assert_eq!(fs::read(&file).expect("reads"), before[..valid_len]);
        assert_eq!(open(folder.path()).len(), 20);
    }

    #[test]
    fn flipped_bytes_are_found_and_copied_and_the_rest_opens() {
        let (original, file) = written();
        let bytes = fs::read(&file).expect("reads");
        let used = valid_prefix_len(&bytes);
        let mut found = 0;
        for at in (0..used).step_by(used / 40) {
            let folder = tempfile::tempdir().expect("a folder");
            let status = std::process::Command::new("cp")
                .args(["-r", "--sparse=always"])
                .arg(original.path())
                .arg(folder.path().join("s"))
                .status();
            assert!(status.expect("cp").success());
            let (store, copies) = (folder.path().join("s"), folder.path().join("aside"));
            let file = store.join(file.file_name().expect("a name"));
            let writable = fs::File::options().write(true).open(&file).expect("opens");
            writable.write_all_at(&[bytes[at] ^ 0x20], at as u64).expect("writes");
            let Some(bad_tail) = inspect(&store).expect("looks") else {
                // The number of the last batch is too high: nothing follows it, so nothing is lost.
                assert_eq!(open(&store).len(), 20);
                continue;
            };
            found += 1;
            assert_eq!(bad_tail.file, file);
            assert!(bad_tail.offset as usize <= at);
            assert!(!bad_tail.is_torn, "a flipped bit at {at} is not a torn write");
            bad_tail.copy_to(&copies).expect("copies");
            rewrite(&store, Some(&bad_tail)).expect("rewrites");
            let remaining = open(&store);
            assert_eq!(
                remaining,
                (0..remaining.len() as u8).collect::<Vec<_>>(),
                "a prefix is kept"
            );
            assert!(remaining.len() < 20);
            let copy = fs::read_dir(&copies).expect("a list").next().expect("one").expect("one");
            let copy = fs::read(copy.path()).expect("it is there");
            let (from, to) = (bad_tail.offset as usize, bad_tail.offset as usize + copy.len());
            let changed = at - from;
            assert_eq!(copy[..changed], bytes[from..at]);
            assert_eq!(copy[changed], bytes[at] ^ 0x20);
            assert_eq!(copy[changed + 1..], bytes[at + 1..to]);
            assert!(to >= used);
        }
        assert!(found >= 39);
    }

    /// Encodes a batch as fjall does; an item without a value is a clear.
    fn batch(sequence: u64, items: &[(Vec<u8>, Option<Vec<u8>>)]) -> Vec<u8> {
        let mut written = Vec::new();
        for (key, value) in items {
            let Some(value) = value else {
                written.extend([4, 1, 0, 0, 0, 0, 0, 0, 0]);
                continue;
            };
            written.extend([2, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
            written.extend((key.len() as u16).to_le_bytes());
            written.extend([(value.len() as u32).to_le_bytes(); 2].concat());
            written.extend(key.iter().chain(value));
        }
        let sum = xxh3_64(&written).to_le_bytes();
        let head = [&[1][..], &(items.len() as u32).to_le_bytes(), &sequence.to_le_bytes()];
        [&head.concat()[..], &written, &[3], &sum, MAGIC].concat()
    }

    #[test]
    fn distant_sequence_numbers_are_damage() {
        let items = [(vec![1], Some(vec![2; 10]))];
        let high_bit = 1 << 62;
        let first = batch(1, &items);
        for follower in [3, 1_000_000] {
            let file = [&first[..], &batch(2, &items), &batch(follower, &items)].concat();
            assert_eq!(valid_prefix_len(&file), file.len());
        }
        let file = [&first[..], &batch(2, &items), &batch(3 | high_bit, &items)].concat();
        assert_eq!(valid_prefix_len(&file), 2 * first.len());
        assert!(!is_torn_write(&file, 2 * first.len()));
        assert_eq!(valid_prefix_len(&batch(1 | high_bit, &items)), 0);
        // An intact batch before it stays, even if it does not follow its own predecessor.
        let file = [&first[..], &batch(2 | high_bit, &items)].concat();
        assert_eq!(valid_prefix_len(&file), first.len());
        let file = [&first[..], &batch(5, &items), &batch(6 | high_bit, &items)].concat();
        assert_eq!(valid_prefix_len(&file), 2 * first.len());
    }

    #[test]
    fn writes_cut_at_any_byte_are_torn() {
        let first = batch(1, &[(vec![1], Some(vec![7; 30]))]);
        let last = batch(2, &[(vec![1], Some(vec![7; 600])), (vec![2], None)]);
        for cut in 1..last.len() {
            for zeros in [0, 4096] {
                let file = [&first[..], &last[..cut], &vec![0; zeros]].concat();
                assert_eq!(valid_prefix_len(&file), first.len(), "cut at {cut}");
                assert!(is_torn_write(&file, first.len()), "cut at {cut} of {}", last.len());
            }
        }
    }

    #[test]
    fn writes_with_impossible_lengths_are_not_torn() {
        let complete = batch(1, &[(vec![1], Some(vec![7; 600]))]);
        let torn = &complete[..complete.len() - 60];
        assert!(is_torn_write(torn, 0));
        // A length of the value as noise may produce it.
        let mut damaged = torn.to_vec();
        let at = damaged.windows(4).position(|bytes| bytes == 600_u32.to_le_bytes()).unwrap();
        damaged[at + 4..at + 8].copy_from_slice(&0xf000_0000_u32.to_le_bytes());
        assert!(!is_torn_write(&damaged, 0));
        // A length that is possible, but not for this value.
        damaged[at + 4..at + 8].copy_from_slice(&1_000_000_u32.to_le_bytes());
        assert!(!is_torn_write(&damaged, 0));
    }

    /// Bytes of the sequence number in a batch.
    const SEQUENCE: std::ops::Range<usize> = 5..13;

    /// Generates a file of some batches, with the start of each and the end of the last.
    fn file() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..20);
        let item = (bytes(), proptest::option::weighted(0.9, bytes()));
        let batch_of = (1..3u64, proptest::collection::vec(item, 0..4));
        proptest::collection::vec(batch_of, 1..6).prop_map(|batches| {
            let (mut written, mut starts, mut sequence) = (Vec::new(), vec![0], 0);
            for (step, items) in batches {
                sequence += step;
                written.extend(batch(sequence, &items));
                starts.push(written.len());
            }
            (written, starts)
        })
    }

    proptest! {
        #![proptest_config(cases(1_000))]

        #[test]
        fn good_bytes_are_the_whole_batches_of_a_cut_file(
            (written, starts) in file(),
            (zeros, cut) in (0..100usize, any::<proptest::sample::Index>()),
        ) {
            let used = written.len();
            let allocated = [&written[..], &vec![0; zeros]].concat();
            prop_assert_eq!(valid_prefix_len(&allocated), used);
            let cut = cut.index(used);
            let last_whole = starts.iter().copied().filter(|start| *start <= cut).max();
            prop_assert_eq!(Some(valid_prefix_len(&written[..cut])), last_whole);
        }

        #[test]
        fn good_bytes_end_before_a_changed_batch(
            (mut written, starts) in file(),
            (at, flip) in (any::<proptest::sample::Index>(), prop_oneof![1..4u8, 1..=255u8]),
            changed_number in proptest::option::weighted(0.2, 0..5usize),
        ) {
            // Sometimes the low byte of a sequence number, so that numbers collide.
            let low = changed_number.and_then(|batch| starts[..starts.len() - 1].get(batch));
            let at = low.map_or_else(|| at.index(written.len()), |start| start + SEQUENCE.start);
            let batch = starts.iter().rposition(|start| *start <= at).expect("one");
            let start = starts[batch];
            written[at] ^= flip;
            let valid_len = valid_prefix_len(&written);
            if SEQUENCE.contains(&(at - start)) {
                // No checksum covers it: only a wrong order is detected, and it may be unclear
                // which of two batches is wrong.
                prop_assert!(starts.contains(&valid_len));
                prop_assert!(batch == 0 || valid_len >= starts[batch - 1]);
            } else {
                prop_assert_eq!(valid_len, start);
            }
            prop_assert_eq!(
                valid_prefix_len(&written[..valid_len]),
                valid_len,
                "the rest opens"
            );
            let number = |start: &usize| {
                let bytes = &written[start + SEQUENCE.start..start + SEQUENCE.end];
                u64::from_le_bytes(bytes.try_into().expect("eight"))
            };
            let numbers: Vec<u64> = starts.iter().filter(|b| **b < valid_len).map(number).collect();
            prop_assert!(numbers.is_sorted_by(|one, other| one < other), "{:?}", numbers);
        }

        #[test]
        fn good_bytes_stay_good_without_the_rest(
            (written, _) in file(),
            (at, inserted) in (any::<proptest::sample::Index>(), proptest::collection::vec(any::<u8>(), 0..30)),
        ) {
            let mut bytes = written;
            let at = at.index(bytes.len());
            bytes.splice(at..at, inserted);
            let valid_len = valid_prefix_len(&bytes);
            prop_assert!(valid_len <= bytes.len());
            prop_assert_eq!(valid_prefix_len(&bytes[..valid_len]), valid_len);
        }
    }
}
