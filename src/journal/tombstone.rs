//! Records of streams that are gone, for clients that resume.

use super::keys::{Decoder, Encoder, StreamNumber};
use crate::event::{Position, Timestamp};

/// Record of a stream that was deleted or emptied by retention.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tombstone {
    /// Position of the deletion, or of the last entry if retention emptied the stream.
    pub(super) position: Position,
    /// Position of the stream's last entry.
    pub(super) last: Position,
    pub(super) time: Timestamp,
    /// True if the stream was deleted, false if retention emptied it.
    pub(super) deleted: bool,
    /// Stream number under which the idempotency keys are stored.
    pub(super) keys_number: StreamNumber,
}

impl Tombstone {
    pub(super) fn write(&self) -> Vec<u8> {
        Encoder(Vec::with_capacity(29))
            .u64(self.position.get())
            .u64(self.last.get())
            .u64(self.time.ms())
            .u8(u8::from(self.deleted))
            .u32(self.keys_number)
            .0
    }

    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let mut fields = Decoder(value);
        Some(Self {
            position: fields.position()?,
            last: fields.position()?,
            time: Timestamp::from_ms(fields.u64()?),
            deleted: fields.u8()? == 1,
            // Format 1 lacks this field; no stream has the number 0.
            keys_number: if fields.0.is_empty() { 0 } else { fields.u32()? },
        })
    }
}
