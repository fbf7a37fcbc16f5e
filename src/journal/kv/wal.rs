//! fjall's write-ahead files, looked at before it opens them.
//!
//! fjall cuts a file at the first thing in it that makes no sense, silently, and refuses to open
//! one with a wrong checksum. Neither will do: here the first bad batch is found, what stands from
//! there on is put aside for whoever wants to look at it, and the rest opens.
//! The layout is that of fjall 3 (`FJL` 3), all numbers little-endian: a batch is `1`, count u32,
//! sequence u64; items `2`, kind u8, compression u8, keyspace u64, key length u16, value length
//! u32, stored length u32, key, value; clears `4`, keyspace u64; and `3`, xxh3 of the items u64,
//! magic. A file is allocated ahead, so zeros behind the last batch are as they should be.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

const MAGIC: &[u8] = b"FJL\x03";

/// Where the files stop to make sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::journal) struct Damage {
    /// The file.
    pub(in crate::journal) file: PathBuf,
    /// The byte at which its first bad batch begins.
    pub(in crate::journal) offset: u64,
    /// Files behind it, which cannot be used without it.
    later: Vec<PathBuf>,
}

/// Looks through the write-ahead files in `folder`, oldest first, for the first bad batch.
pub(in crate::journal) fn inspect(folder: &Path) -> io::Result<Option<Damage>> {
    let mut files = match files(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        files => files?.into_iter(),
    };
    while let Some(file) = files.next() {
        let bytes = fs::read(&file)?;
        let good = good_bytes(&bytes);
        if bytes[good..].iter().any(|byte| *byte != 0) {
            let later = files.collect();
            return Ok(Some(Damage { file, offset: good as u64, later }));
        }
    }
    Ok(None)
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} from byte {} on", self.file.display(), self.offset)
    }
}

impl Damage {
    /// Moves what is damaged to `aside`, so that the rest opens.
    pub(in crate::journal) fn put_aside(&self, aside: &Path) -> io::Result<()> {
        fs::create_dir_all(aside)?;
        copy_used(&self.file, self.offset, aside)?;
        for file in &self.later {
            copy_used(file, 0, aside)?;
        }
        File::open(aside)?.sync_all()?;
        for file in &self.later {
            fs::remove_file(file)?;
        }
        let cut = OpenOptions::new().write(true).open(&self.file)?;
        cut.set_len(self.offset)?;
        cut.sync_all()
    }
}

/// Copies a file from `offset` on, without the zeros that it was allocated with.
fn copy_used(file: &Path, offset: u64, aside: &Path) -> io::Result<()> {
    let bytes = fs::read(file)?;
    let from = bytes.get(offset as usize..).unwrap_or_default();
    let used = from.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let copy = aside.join(format!("{name}.from-{offset}"));
    fs::write(&copy, &from[..used])?;
    File::open(copy)?.sync_all()
}

/// The files in the order in which they were written.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let (Some(number), true) = (number, path.extension().is_some_and(|e| e == "jnl")) {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

/// How many bytes from the start are whole batches. The sums do not cover the sequence numbers,
/// so their order is looked at, too.
pub(in crate::journal) fn good_bytes(bytes: &[u8]) -> usize {
    let mut rest = Rest(bytes);
    // Where each of the last two batches begins, and its number.
    let mut last: Option<(usize, u64)> = None;
    let mut last_follows = false;
    loop {
        let begin = bytes.len() - rest.0.len();
        let Some(number) = rest.batch() else { return begin };
        match last {
            // One of the two is wrong: the one before, unless it followed its own predecessor.
            Some((before, last)) if number <= last => {
                return if last_follows { begin } else { before };
            }
            Some((_, last)) => last_follows = number == last + 1,
            None => last_follows = false,
        }
        last = Some((begin, number));
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        let taken = self.take(bytes)?;
        Some(taken.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    /// Passes one batch, if it is whole and right; its sequence number. Stays put otherwise.
    fn batch(&mut self) -> Option<u64> {
        let mut rest = Rest(self.0);
        let number = rest.whole_batch()?;
        self.0 = rest.0;
        Some(number)
    }

    fn whole_batch(&mut self) -> Option<u64> {
        if self.number(1)? != 1 {
            return None;
        }
        let count = self.number(4)?;
        let sequence = self.number(8)?;
        let mut sum = Xxh3::new();
        for _ in 0..count {
            let before = self.0;
            self.item()?;
            sum.update(&before[..before.len() - self.0.len()]);
        }
        let ends = self.number(1)? == 3 && self.number(8)? == sum.digest();
        (ends && self.take(MAGIC.len())? == MAGIC).then_some(sequence)
    }

    fn item(&mut self) -> Option<()> {
        match self.number(1)? {
            2 => {
                self.take(1 + 1 + 8)?;
                let key = self.number(2)? as usize;
                self.take(4)?;
                let value = self.number(4)? as usize;
                self.take(key.checked_add(value)?).map(drop)
            }
            4 => self.take(8).map(drop),
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

    /// A store with twenty batches, closed; the folder and its one write-ahead file.
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
    fn what_fjall_writes_is_understood() {
        let (folder, _) = written();
        assert_eq!(inspect(folder.path()).expect("looks"), None);
        assert_eq!(open(folder.path()).len(), 20);
    }

    #[test]
    fn a_flipped_byte_anywhere_is_found_put_aside_and_the_rest_opens() {
        let (whole, file) = written();
        let bytes = fs::read(&file).expect("reads");
        let used = good_bytes(&bytes);
        let mut found = 0;
        for at in (0..used).step_by(used / 40) {
            let folder = tempfile::tempdir().expect("a folder");
            let copied = std::process::Command::new("cp")
                .args(["-r", "--sparse=always"])
                .arg(whole.path())
                .arg(folder.path().join("s"))
                .status();
            assert!(copied.expect("cp").success());
            let (store, aside) = (folder.path().join("s"), folder.path().join("aside"));
            let file = store.join(file.file_name().expect("a name"));
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x20;
            fs::write(&file, &damaged).expect("writes");
            let Some(damage) = inspect(&store).expect("looks") else {
                // A last batch with too high a number: nothing comes after it, nothing is lost.
                assert_eq!(open(&store).len(), 20);
                continue;
            };
            found += 1;
            assert_eq!(damage.file, file);
            assert!(damage.offset as usize <= at);
            damage.put_aside(&aside).expect("puts aside");
            let kept = open(&store);
            assert_eq!(kept, (0..kept.len() as u8).collect::<Vec<_>>(), "a prefix is kept");
            assert!(kept.len() < 20);
            let put_aside =
                fs::read_dir(&aside).expect("a list").next().expect("one").expect("one");
            let put_aside = fs::read(put_aside.path()).expect("it is there");
            let from = damage.offset as usize;
            assert_eq!(put_aside, damaged[from..from + put_aside.len()]);
            assert!(damaged[from + put_aside.len()..].iter().all(|byte| *byte == 0));
        }
        assert!(found >= 39);
    }

    /// A batch as fjall writes it; an item without a value is a clear.
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
        let sum = xxhash_rust::xxh3::xxh3_64(&written).to_le_bytes();
        let head = [&[1][..], &(items.len() as u32).to_le_bytes(), &sequence.to_le_bytes()];
        [&head.concat()[..], &written, &[3], &sum, MAGIC].concat()
    }

    /// Where the sequence number of a batch stands in it.
    const SEQUENCE: std::ops::Range<usize> = 5..13;

    /// A file of some batches, and where each of them begins and the last one ends.
    fn file() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..20);
        let item = (bytes(), proptest::option::weighted(0.9, bytes()));
        let batch_of = (1..3u64, proptest::collection::vec(item, 0..4));
        proptest::collection::vec(batch_of, 1..6).prop_map(|batches| {
            let (mut written, mut begins, mut sequence) = (Vec::new(), vec![0], 0);
            for (step, items) in batches {
                sequence += step;
                written.extend(batch(sequence, &items));
                begins.push(written.len());
            }
            (written, begins)
        })
    }

    proptest! {
        #![proptest_config(cases(1_000))]

        #[test]
        fn whole_batches_are_good_up_to_where_a_file_ends(
            (written, begins) in file(),
            (zeros, cut) in (0..100usize, any::<proptest::sample::Index>()),
        ) {
            let used = written.len();
            let allocated = [&written[..], &vec![0; zeros]].concat();
            prop_assert_eq!(good_bytes(&allocated), used);
            let cut = cut.index(used);
            let last_whole = begins.iter().copied().filter(|begin| *begin <= cut).max();
            prop_assert_eq!(Some(good_bytes(&written[..cut])), last_whole);
        }

        #[test]
        fn what_stands_before_a_changed_byte_is_good_and_nothing_behind_it(
            (mut written, begins) in file(),
            (at, flip) in (any::<proptest::sample::Index>(), prop_oneof![1..4u8, 1..=255u8]),
            in_number in proptest::option::weighted(0.2, 0..5usize),
        ) {
            // Now and then the low byte of a number, so that numbers meet.
            let low = in_number.and_then(|batch| begins[..begins.len() - 1].get(batch));
            let at = low.map_or_else(|| at.index(written.len()), |begin| begin + SEQUENCE.start);
            let batch = begins.iter().rposition(|begin| *begin <= at).expect("one");
            let begin = begins[batch];
            written[at] ^= flip;
            let good = good_bytes(&written);
            if SEQUENCE.contains(&(at - begin)) {
                // No sum covers it: what shows is an order that is wrong, and of which of two
                // batches it is may not be known.
                prop_assert!(begins.contains(&good));
                prop_assert!(batch == 0 || good >= begins[batch - 1]);
            } else {
                prop_assert_eq!(good, begin);
            }
            prop_assert_eq!(good_bytes(&written[..good]), good, "what is left opens");
            let number = |begin: &usize| {
                let bytes = &written[begin + SEQUENCE.start..begin + SEQUENCE.end];
                u64::from_le_bytes(bytes.try_into().expect("eight"))
            };
            let kept: Vec<u64> = begins.iter().filter(|b| **b < good).map(number).collect();
            prop_assert!(kept.is_sorted_by(|one, other| one < other), "{:?}", kept);
        }

        #[test]
        fn of_anything_what_is_good_stays_good(
            (written, _) in file(),
            (at, with) in (any::<proptest::sample::Index>(), proptest::collection::vec(any::<u8>(), 0..30)),
        ) {
            let mut bytes = written;
            let at = at.index(bytes.len());
            bytes.splice(at..at, with);
            let good = good_bytes(&bytes);
            prop_assert!(good <= bytes.len());
            prop_assert_eq!(good_bytes(&bytes[..good]), good);
        }
    }
}
