//! Offsets of the Durable Streams protocol: places between the entries of a stream.

use crate::event::{Epoch, EventId, Position};
use crate::http::error::{Code, Problem};

/// Number of hexadecimal digits of an epoch and of a position.
const DIGITS: usize = 16;

/// Offset in a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Offset {
    /// Before everything that is stored.
    Start,
    /// After everything that is stored now.
    Now,
    /// After an entry.
    After {
        /// Epoch of the entry; larger than any epoch of a hub if the offset is not one of a hub.
        epoch: u64,
        /// Position of the entry.
        position: Position,
    },
}

impl Offset {
    /// Parses an offset; an error names `field`.
    pub(crate) fn parse(field: &str, text: &str) -> Result<Self, Problem> {
        let malformed = || {
            let why = format!("{text:?} is not an offset; give -1, now, or one of this hub");
            Problem::new(Code::Malformed, why).field(field)
        };
        let hex = |digits: &str| {
            let is_hex = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit());
            is_hex.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        match text {
            "-1" => return Ok(Self::Start),
            "now" => return Ok(Self::Now),
            _ => {}
        }
        let (epoch, position) = text.split_once('_').ok_or_else(malformed)?;
        let (epoch, position) = hex(epoch).zip(hex(position)).ok_or_else(malformed)?;
        if (epoch, position) == (0, 0) {
            return Ok(Self::Start);
        }
        Ok(Self::After { epoch, position: Position::from_stored(position) })
    }

    /// Returns the id of the entry before the offset, if it has the form of one that the hub gave.
    pub(crate) fn id(self) -> Option<EventId> {
        match self {
            Self::Start | Self::Now => None,
            Self::After { epoch, position } => {
                Some(EventId { epoch: Epoch(u32::try_from(epoch).ok()?), position })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn offsets_are_read_as_they_were_written() {
        let id = EventId { epoch: Epoch(7), position: Position::of(9, 3) };
        let text = wire::offset(id);
        assert_eq!(text, "0000000000000007_0000000000009003");
        assert_eq!(Offset::parse("offset", &text).ok().and_then(Offset::id), Some(id));
        let start = Offset::parse("offset", "0000000000000000_0000000000000000");
        assert_eq!(start.ok(), Some(Offset::Start));
        let far = Offset::parse("offset", "9999999999999999_9999999999999999").ok();
        assert_eq!(far.map(|far| far.id()), Some(None));
        for bad in ["", "0", "0,1", "0 1", "-2", "NOW", "0000000000000007_000000000000900", "7_9"] {
            assert!(Offset::parse("offset", bad).is_err(), "{bad:?}");
        }
    }
}
