//! Totals of the hub.

use super::super::keys::{self, Decoder, Encoder};
use super::super::kv::Kv;
use crate::event::{Position, Timestamp};
use crate::journal::error::JournalError;

/// Hub-wide totals, written with every batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Totals {
    /// The last batch applied.
    pub(crate) number: u64,
    /// The last entry applied.
    pub(crate) last: Position,
    /// Time of the last batch.
    pub(crate) time: Timestamp,
    /// The number that the next new stream gets; from 1.
    pub(crate) next_stream: u32,
    /// Bytes of the stored entries, each counted once.
    pub(crate) bytes: u64,
    /// Position up to which the total cap has removed all entries.
    pub(crate) floor: Position,
    /// Upper bound of the positions of all removals.
    pub(crate) removed_to: Position,
    /// Upper bound of the positions of entries of streams that were deleted or emptied.
    pub(crate) forgotten_to: Position,
    /// Position up to which tombstones of removed streams are dropped.
    pub(crate) tombstones_lost_to: Position,
}

impl Totals {
    pub(in crate::journal) fn load(kv: &Kv) -> Result<Self, JournalError> {
        let Some(value) = kv.get(keys::TOTALS)? else {
            return Ok(Self { next_stream: 1, ..Self::default() });
        };
        Self::read(&value).ok_or_else(|| JournalError::damaged("the totals record"))
    }

    fn read(value: &[u8]) -> Option<Self> {
        let mut fields = Decoder(value);
        Some(Self {
            number: fields.u64()?,
            last: fields.position()?,
            time: Timestamp::from_ms(fields.u64()?),
            next_stream: fields.u32()?,
            bytes: fields.u64()?,
            floor: fields.position()?,
            removed_to: fields.position()?,
            forgotten_to: fields.position()?,
            // Format 1 lacks this field.
            tombstones_lost_to: if fields.0.is_empty() {
                Position::ZERO
            } else {
                fields.position()?
            },
        })
    }

    pub(super) fn write(&self) -> Vec<u8> {
        Encoder(Vec::with_capacity(68))
            .u64(self.number)
            .u64(self.last.get())
            .u64(self.time.ms())
            .u32(self.next_stream)
            .u64(self.bytes)
            .u64(self.floor.get())
            .u64(self.removed_to.get())
            .u64(self.forgotten_to.get())
            .u64(self.tombstones_lost_to.get())
            .0
    }
}
