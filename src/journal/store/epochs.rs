//! The lives of a journal's numbering, and what an id of each still means.
//!
//! A new epoch begins whenever positions that somebody may have seen could be given out again:
//! after a loss, after a stop that was not orderly, and in a directory that was restored from a
//! copy. So an id that a client has seen never names another event, and an id of something lost is
//! told apart as unknown.

use super::super::keys::{self, Decoder, Encoder};
use super::super::kv::Kv;
use crate::event::{Epoch, EventId, Position};
use crate::journal::error::JournalError;

/// Every epoch with the place it begins after, oldest first; at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Epochs {
    list: Vec<(Epoch, Position)>,
}

impl Epochs {
    /// A fresh journal's. The upper half is left free, so that later epochs sort behind it.
    /// `lost` is the last epoch of a journal that stood here before.
    pub(crate) fn first(lost: Option<Epoch>) -> Self {
        let epoch = lost.map_or_else(|| Epoch(rand::random::<u32>() >> 1), next);
        Self { list: vec![(epoch, Position::ZERO)] }
    }

    pub(crate) fn load(kv: &Kv) -> Result<Option<Self>, JournalError> {
        let Some(value) = kv.get(keys::EPOCHS)? else { return Ok(None) };
        let mut fields = Decoder(&value);
        let mut list = Vec::new();
        while let Some(epoch) = fields.u32() {
            let damaged = || JournalError::damaged("the list of epochs");
            list.push((Epoch(epoch), fields.position().ok_or_else(damaged)?));
        }
        Ok((!list.is_empty()).then_some(Self { list }))
    }

    pub(super) fn write(&self) -> Vec<u8> {
        self.list.iter().fold(Encoder(Vec::new()), |out, (e, p)| out.u32(e.0).u64(p.get())).0
    }

    /// Begins a new epoch: the former one kept everything up to `kept`. `seen` is the last epoch
    /// known to have been in use, of which the list itself may have been lost.
    pub(crate) fn begin(&mut self, kept: Position, seen: Epoch) {
        let current = self.current();
        self.list.push((next(current.max(seen)), kept));
    }

    /// Returns the number of epochs.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// The epoch that new positions belong to.
    pub(crate) fn current(&self) -> Epoch {
        self.list.last().map_or(Epoch(0), |(epoch, _)| *epoch)
    }

    /// The id of the entry at `position`.
    pub(crate) fn id(&self, position: Position) -> EventId {
        let begun = self.list.partition_point(|(_, after)| *after < position).max(1);
        let epoch = self.list.get(begun - 1).map_or(Epoch(0), |(epoch, _)| *epoch);
        EventId { epoch, position }
    }

    /// The place that `id` names, or `None` where it was never reached or did not survive its
    /// epoch. `head` is the last position of the current epoch.
    pub(crate) fn resolve(&self, id: EventId, head: Position) -> Option<Position> {
        let at = self.list.iter().position(|(epoch, _)| *epoch == id.epoch)?;
        let kept = self.list.get(at + 1).map_or(head, |(_, kept)| *kept);
        (id.position <= kept).then_some(id.position)
    }
}

/// The step to the next epoch is random, so that two copies of a directory that both begin one, each
/// without knowing of the other, hardly ever begin the same.
const MAX_STEP: u32 = 4096;

fn next(epoch: Epoch) -> Epoch {
    Epoch(epoch.0.saturating_add(rand::random_range(1..=MAX_STEP)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64) -> Position {
        Position::from_stored(number)
    }

    #[test]
    fn an_entry_keeps_the_id_of_the_epoch_it_was_written_in() {
        let mut epochs = Epochs { list: vec![(Epoch(7), Position::ZERO)] };
        epochs.begin(at(100), Epoch(7));
        assert_eq!(epochs.id(at(100)).epoch, Epoch(7));
        assert!(epochs.id(at(101)).epoch > Epoch(7));
        assert_eq!(epochs.id(Position::ZERO).epoch, Epoch(7));
    }

    #[test]
    fn an_epoch_whose_record_was_lost_is_not_begun_again() {
        let mut epochs = Epochs { list: vec![(Epoch(7), Position::ZERO)] };
        epochs.begin(at(100), Epoch(9));
        assert!(epochs.current() > Epoch(9));
        assert!(Epochs::first(Some(Epoch(9))).current() > Epoch(9));
    }

    #[test]
    fn an_id_counts_only_up_to_what_its_epoch_kept() {
        let mut epochs = Epochs { list: vec![(Epoch(7), Position::ZERO)] };
        epochs.begin(at(100), Epoch(7));
        let id = |epoch, position| EventId { epoch: Epoch(epoch), position: at(position) };
        assert_eq!(epochs.resolve(id(7, 100), at(200)), Some(at(100)));
        assert_eq!(epochs.resolve(id(7, 101), at(200)), None);
        let now = epochs.current().0;
        assert_eq!(epochs.resolve(id(now, 200), at(200)), Some(at(200)));
        assert_eq!(epochs.resolve(id(now, 201), at(200)), None);
        assert_eq!(epochs.resolve(id(now + 1, 1), at(200)), None);
    }
}
