//! Positions in the hub-wide order, and event ids.

use super::Invalid;
use std::fmt;

/// Maximum number of entries in a batch; positions of a batch are `number * 4096 + index`.
pub const MAX_ENTRIES_PER_BATCH: usize = 4096;

/// A position in the hub-wide order of events. Only the journal assigns positions; they ascend and
/// have gaps. `Position(0)` is before everything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct Position(u64);

impl Position {
    /// Position before the first event.
    pub const ZERO: Self = Self(0);

    /// Returns the position of an entry: its index in batch `number`.
    pub fn of(number: u64, index: usize) -> Self {
        debug_assert!(index < MAX_ENTRIES_PER_BATCH);
        Self(number * MAX_ENTRIES_PER_BATCH as u64 + index as u64)
    }

    /// Returns the number of the batch with this position.
    pub fn batch(self) -> u64 {
        self.0 / MAX_ENTRIES_PER_BATCH as u64
    }

    /// Returns the position just before this one; `ZERO` stays `ZERO`.
    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// Returns the number that the journal stores.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Creates a position from the number that the journal stored.
    pub fn from_stored(number: u64) -> Self {
        Self(number)
    }
}

/// Epoch of a journal's numbering. Positions of different epochs cannot be compared; the epoch
/// tells clients that a journal was lost or replaced.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Epoch(pub u32);

/// An event's id on the wire: `EEEEEEEE-PPPPPPPPPPPPPPPP`, lower-case hex. Fixed width, so ids
/// sort as text; safe in a URL and a header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EventId {
    /// The epoch that assigned the position.
    pub epoch: Epoch,
    /// Position of the event.
    pub position: Position,
}

impl EventId {
    /// Length of every id, in bytes.
    pub const LEN: usize = 25;

    /// Parses an id; an error names `last_event_id`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let malformed =
            || Invalid::new("last_event_id", format!("{text:?} is not a valid event id"));
        let hex = |part: &str| {
            let digits = part.bytes().all(|b| b.is_ascii_hexdigit());
            digits.then(|| u64::from_str_radix(part, 16).ok()).flatten()
        };
        if text.len() != Self::LEN {
            return Err(malformed());
        }
        let (epoch, position) = text.split_once('-').ok_or_else(malformed)?;
        if epoch.len() != 8 {
            return Err(malformed());
        }
        let epoch = hex(epoch).and_then(|e| u32::try_from(e).ok()).ok_or_else(malformed)?;
        let position = hex(position).ok_or_else(malformed)?;
        Ok(Self { epoch: Epoch(epoch), position: Position(position) })
    }

    /// Returns the id as text, without an allocation.
    pub fn text(self) -> [u8; Self::LEN] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut out = [b'-'; Self::LEN];
        let mut write = |range: std::ops::Range<usize>, mut value: u64| {
            for slot in out[range].iter_mut().rev() {
                *slot = HEX[(value & 15) as usize];
                value >>= 4;
            }
        };
        write(0..8, u64::from(self.epoch.0));
        write(9..25, self.position.0);
        out
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:016x}", self.epoch.0, self.position.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_round_trips_and_sorts_as_text() {
        let id = EventId { epoch: Epoch(0xab), position: Position::of(3, 7) };
        assert_eq!(id.to_string(), "000000ab-0000000000003007");
        assert_eq!(id.text(), *b"000000ab-0000000000003007");
        assert_eq!(EventId::parse(&id.to_string()), Ok(id));
        let later = EventId { position: Position::of(10, 0), ..id };
        assert!(later.to_string() > id.to_string());
    }

    #[test]
    fn malformed_id_is_refused() {
        for bad in [
            "",
            "1",
            "000000ab-000000000000300",
            "000000ab_0000000000003007",
            "+00000ab-0000000000003007",
            "000000ab-+000000000003007",
            "00000-ab0000000000003007x",
            "000000ab-00000000000030é",
            "0000000-00000000000003007",
        ] {
            assert!(EventId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
