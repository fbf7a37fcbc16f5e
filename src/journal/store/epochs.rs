//! Epochs of a journal's positions, and the validity of ids from each epoch.
//!
//! A new epoch begins whenever positions that a client may have seen could be assigned again: after
//! a loss, after an unclean stop, and in a directory that was restored from a copy. So an id that a
//! client has seen never names another event, and an id of a lost event is recognized as unknown.

use super::super::keys::{self, Decoder, Encoder};
use super::super::kv::Kv;
use crate::event::{Epoch, EventId, Position};
use crate::journal::error::JournalError;

/// List of epochs, oldest first, each with the position that it begins after; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Epochs {
    list: Vec<(Epoch, Position)>,
}

impl Epochs {
    /// Returns the epochs of a new journal. The upper half of the range is left free, so that later
    /// epochs sort after this one. `lost` is the last epoch of an earlier journal in the same
    /// directory.
    pub(crate) fn first(lost: Option<Epoch>) -> Self {
        let epoch = lost.map_or_else(|| Epoch(rand::random::<u32>() >> 1), next);
        Self { list: vec![(epoch, Position::ZERO)] }
    }

    /// Returns the only epoch of a replicated log.
    #[cfg(feature = "cluster")]
    pub(crate) fn only(epoch: Epoch) -> Self {
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

    /// Begins a new epoch; the previous one kept everything up to `last`. `seen` is the last epoch
    /// known to have been in use, whose record may have been lost.
    pub(crate) fn begin(&mut self, last: Position, seen: Epoch) {
        let current = self.current();
        self.list.push((next(current.max(seen)), last));
    }

    /// Returns the number of epochs.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// Returns the epoch that new positions belong to.
    pub(crate) fn current(&self) -> Epoch {
        self.list.last().map_or(Epoch(0), |(epoch, _)| *epoch)
    }

    /// Returns the id of the entry at `position`.
    pub(crate) fn id(&self, position: Position) -> EventId {
        let index = self.list.partition_point(|(_, after)| *after < position).max(1);
        let epoch = self.list.get(index - 1).map_or(Epoch(0), |(epoch, _)| *epoch);
        EventId { epoch, position }
    }

    /// Returns the position that `id` names, or `None` if it was never reached or did not survive
    /// its epoch. `head` is the last position of the current epoch.
    pub(crate) fn resolve(&self, id: EventId, head: Position) -> Option<Position> {
        let index = self.list.iter().position(|(epoch, _)| *epoch == id.epoch)?;
        let last = self.list.get(index + 1).map_or(head, |(_, last)| *last);
        (id.position <= last).then_some(id.position)
    }
}

/// Maximum step to the next epoch. The step is random, so that two copies of a directory that begin
/// an epoch independently are unlikely to begin the same one.
const MAX_STEP: u32 = 4096;

fn next(epoch: Epoch) -> Epoch {
    Epoch(epoch.0.saturating_add(rand::random_range(1..=MAX_STEP)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(number: u64) -> Position {
        Position::from_stored(number)
    }

    #[test]
    fn an_entry_keeps_the_id_of_the_epoch_it_was_written_in() {
        let mut epochs = Epochs { list: vec![(Epoch(7), Position::ZERO)] };
        epochs.begin(position(100), Epoch(7));
        assert_eq!(epochs.id(position(100)).epoch, Epoch(7));
        assert!(epochs.id(position(101)).epoch > Epoch(7));
        assert_eq!(epochs.id(Position::ZERO).epoch, Epoch(7));
    }

    #[test]
    fn epochs_with_a_lost_record_are_not_reused() {
        let mut epochs = Epochs { list: vec![(Epoch(7), Position::ZERO)] };
        epochs.begin(position(100), Epoch(9));
        assert!(epochs.current() > Epoch(9));
        assert!(Epochs::first(Some(Epoch(9))).current() > Epoch(9));
    }

    #[test]
    fn ids_are_valid_only_up_to_what_their_epoch_kept() {
        let mut epochs = Epochs { list: vec![(Epoch(7), Position::ZERO)] };
        epochs.begin(position(100), Epoch(7));
        let id = |epoch, number| EventId { epoch: Epoch(epoch), position: position(number) };
        assert_eq!(epochs.resolve(id(7, 100), position(200)), Some(position(100)));
        assert_eq!(epochs.resolve(id(7, 101), position(200)), None);
        let now = epochs.current().0;
        assert_eq!(epochs.resolve(id(now, 200), position(200)), Some(position(200)));
        assert_eq!(epochs.resolve(id(now, 201), position(200)), None);
        assert_eq!(epochs.resolve(id(now + 1, 1), position(200)), None);
    }
}
