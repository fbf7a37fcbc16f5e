//! The highest committed position, in a separate small file.
//!
//! The file is written after each commit, before receipts and fan-out, so a journal that opens with
//! a lower position has lost something. It is synced whenever the writer is idle and at least once
//! a second, not with each commit: that would double the cost of a commit.

use super::keys::{Decoder, Encoder};
use crate::event::{Epoch, Position};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Number of copies, written in turn, so that a torn write leaves the other one intact.
const SLOTS: u64 = 2;
const SLOT_BYTES: u64 = 64;

/// The last position that was committed, with its epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub(super) epoch: Epoch,
    pub(super) position: Position,
}

/// The file `HEAD`.
pub(super) struct HighWater {
    file: File,
    sequence: u64,
}

impl HighWater {
    /// Opens or creates the file; returns its newest intact mark, if any.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<Mark>)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        let read = |slot| {
            let mut bytes = [0; SLOT_BYTES as usize];
            file.read_exact_at(&mut bytes, slot * SLOT_BYTES).ok()?;
            decode(&bytes)
        };
        let newest = (0..SLOTS).filter_map(read).max_by_key(|(sequence, _)| *sequence);
        let sequence = newest.map_or(0, |(sequence, _)| sequence);
        Ok((Self { file, sequence }, newest.map(|(_, mark)| mark)))
    }

    /// Writes a mark, which survives this process, and power loss after the next [`Self::sync`].
    pub(super) fn write(&mut self, mark: Mark) -> io::Result<()> {
        self.sequence += 1;
        self.file.write_all_at(&encode(self.sequence, mark), self.sequence % SLOTS * SLOT_BYTES)
    }

    /// Syncs the last mark to disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn encode(sequence: u64, mark: Mark) -> Vec<u8> {
    let body = Encoder(Vec::with_capacity(SLOT_BYTES as usize))
        .u64(sequence)
        .u32(mark.epoch.0)
        .u64(mark.position.get())
        .0;
    let sum = crc32fast::hash(&body);
    let mut slot = Encoder(body).u32(sum).0;
    slot.resize(SLOT_BYTES as usize, 0);
    slot
}

fn decode(slot: &[u8]) -> Option<(u64, Mark)> {
    let mut fields = Decoder(slot);
    let (sequence, epoch) = (fields.u64()?, Epoch(fields.u32()?));
    let position = fields.position()?;
    let body = &slot[..slot.len() - fields.0.len()];
    let sum = fields.u32()?;
    (crc32fast::hash(body) == sum).then_some((sequence, Mark { epoch, position }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::cases;
    use proptest::prelude::*;

    #[test]
    fn newest_intact_mark_is_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("HEAD");
        let mark = |n| Mark { epoch: Epoch(1), position: Position::from_stored(n) };
        let (mut file, none) = HighWater::open(&path).expect("opens");
        assert_eq!(none, None);
        for n in 1..=3 {
            file.write(mark(n)).expect("writes");
        }
        assert_eq!(HighWater::open(&path).expect("opens").1, Some(mark(3)));
        file.file.write_all_at(&[0xff; 20], 3 % SLOTS * SLOT_BYTES).expect("damages");
        assert_eq!(HighWater::open(&path).expect("opens").1, Some(mark(2)));
    }

    proptest! {
        #![proptest_config(cases(1_000))]

        #[test]
        fn marks_round_trip_and_any_changed_byte_is_detected(
            (sequence, epoch, position) in any::<(u64, u32, u64)>(),
            (at, flip) in (0..24usize, 1..=255u8),
        ) {
            let position = Position::from_stored(position);
            let mark = Mark { epoch: Epoch(epoch), position };
            let mut slot = encode(sequence, mark);
            prop_assert_eq!(decode(&slot), Some((sequence, mark)));
            slot[at] ^= flip;
            prop_assert_eq!(decode(&slot), None);
            prop_assert_eq!(decode(&slot[..at]), None);
        }
    }
}
