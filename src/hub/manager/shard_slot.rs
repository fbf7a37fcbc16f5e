//! Messages from the manager to one shard, sent in order and without waiting.
//!
//! A batch that does not fit in the shard's mailbox is left out. Once there is room, a `Resync`
//! names the position up to which the sessions must read from history instead.

use crate::event::Position;
use crate::hub::ids::{GroupId, SessionKey};
use crate::hub::messages::{ShardAddress, ToShard};
use crate::limits::QuotaOwner;
use crate::telemetry::{BoundHit, Telemetry};
use actix::prelude::SendError;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::Arc;

pub(in crate::hub) struct ShardSlot {
    pub(in crate::hub) address: ShardAddress,
    /// Sessions of the shard.
    pub(in crate::hub) sessions: FxHashMap<SessionKey, (GroupId, Arc<QuotaOwner>)>,
    /// Messages that wait for room in the mailbox, with at most one answer for each session.
    pending: VecDeque<ToShard>,
    /// True if batches were left out since the last `Resync`.
    is_behind: bool,
}

impl ShardSlot {
    pub(in crate::hub) fn new(address: ShardAddress) -> Self {
        Self { address, sessions: FxHashMap::default(), pending: VecDeque::new(), is_behind: false }
    }

    /// Returns true if messages wait for room in the mailbox.
    pub(in crate::hub) fn has_pending(&self) -> bool {
        self.is_behind || !self.pending.is_empty()
    }

    /// Sends a message that must arrive. If batches were left out, a `Resync` is sent first: the
    /// answer to a registration names a later position, which would hide them.
    pub(in crate::hub) fn send(&mut self, message: ToShard, through: Position) {
        if std::mem::take(&mut self.is_behind) {
            self.pending.push_back(ToShard::Resync { through });
        }
        self.pending.push_back(message);
        self.flush_pending();
    }

    pub(in crate::hub) fn deliver(&mut self, message: ToShard, telemetry: &Telemetry) {
        if self.is_behind || !self.pending.is_empty() {
            self.fall_behind(telemetry);
            return;
        }
        if let Err(SendError::Full(_)) = self.address.work.try_send(message) {
            self.fall_behind(telemetry);
        }
    }

    fn fall_behind(&mut self, telemetry: &Telemetry) {
        if !self.is_behind {
            self.is_behind = true;
            telemetry.bound_hit(BoundHit::ShardMailbox);
        }
    }

    fn flush_pending(&mut self) {
        while let Some(message) = self.pending.pop_front() {
            match self.address.work.try_send(message) {
                Ok(()) => {}
                Err(SendError::Full(message)) => {
                    self.pending.push_front(message);
                    return;
                }
                Err(SendError::Closed(_)) => self.pending.clear(),
            }
        }
    }

    pub(in crate::hub) fn flush(&mut self, through: Position) {
        self.flush_pending();
        if self.is_behind && self.pending.is_empty() {
            self.is_behind = self.address.work.try_send(ToShard::Resync { through }).is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::messages::SubscribeRejection;
    use crate::hub::shard::Shard;
    use actix::Addr;

    fn message(key: u64) -> ToShard {
        let key = SessionKey::of(key);
        ToShard::Registered { key, answer: Err(SubscribeRejection::Draining) }
    }

    #[test]
    fn registration_after_left_out_batches_follows_the_resync() {
        let telemetry = Telemetry::new().expect("metrics");
        let (sender, _mailbox) = actix::dev::channel::channel::<Shard>(16);
        let mut slot = ShardSlot::new(Shard::address(&Addr::new(sender)));
        let mut sent = 0;
        while !slot.is_behind {
            slot.deliver(message(0), &telemetry);
            sent += 1;
            assert!(sent < 100_000, "the mailbox has no bound");
        }
        let through = Position::of(7, 0);
        slot.send(message(1), through);
        let waiting: Vec<&ToShard> = slot.pending.iter().collect();
        assert!(matches!(waiting[0], ToShard::Resync { through: t } if *t == through));
        let expected = SessionKey::of(1);
        assert!(matches!(waiting[1], ToShard::Registered { key, .. } if *key == expected));
        assert!(!slot.is_behind, "the resync is queued");
        slot.deliver(message(2), &telemetry);
        assert!(slot.is_behind, "a batch does not overtake pending messages");
    }
}
