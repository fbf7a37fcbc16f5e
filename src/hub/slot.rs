//! The manager's way to one shard: in order, never waiting.
//!
//! A batch that finds no room is left out; once there is room again the shard is told up to where
//! its sessions have to read history instead.

use super::admission::Holder;
use super::seat::{GroupId, ToShard};
use super::session::SessionKey;
use super::shard::Shard;
use crate::event::Position;
use crate::telemetry::{Full, Telemetry};
use actix::Addr;
use actix::prelude::SendError;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::Arc;

pub(super) struct ShardSlot {
    pub(super) addr: Addr<Shard>,
    /// Its sessions.
    pub(super) seats: FxHashMap<SessionKey, (GroupId, Arc<Holder>)>,
    /// Answers that wait for room in its mailbox; at most one for each session.
    waiting: VecDeque<ToShard>,
    /// Batches were left out.
    behind: bool,
}

impl ShardSlot {
    pub(super) fn new(addr: Addr<Shard>) -> Self {
        Self { addr, seats: FxHashMap::default(), waiting: VecDeque::new(), behind: false }
    }

    /// Whether something waits for room.
    pub(super) fn waits(&self) -> bool {
        self.behind || !self.waiting.is_empty()
    }

    /// Sends what must arrive. Where batches were left out before it, the shard is told of them
    /// first: a seat that names a later place would hide them.
    pub(super) fn send(&mut self, message: ToShard, through: Position) {
        if std::mem::take(&mut self.behind) {
            self.waiting.push_back(ToShard::Resync { through });
        }
        self.waiting.push_back(message);
        self.flush_waiting();
    }

    pub(super) fn deliver(&mut self, message: ToShard, telemetry: &Telemetry) {
        if self.behind || !self.waiting.is_empty() {
            self.fall_behind(telemetry);
            return;
        }
        if let Err(SendError::Full(_)) = self.addr.try_send(message) {
            self.fall_behind(telemetry);
        }
    }

    fn fall_behind(&mut self, telemetry: &Telemetry) {
        if !self.behind {
            self.behind = true;
            telemetry.bound_hit(Full::ShardMailbox);
        }
    }

    fn flush_waiting(&mut self) {
        while let Some(message) = self.waiting.pop_front() {
            match self.addr.try_send(message) {
                Ok(()) => {}
                Err(SendError::Full(message)) => {
                    self.waiting.push_front(message);
                    return;
                }
                Err(SendError::Closed(_)) => self.waiting.clear(),
            }
        }
    }

    pub(super) fn flush(&mut self, through: Position) {
        self.flush_waiting();
        if self.behind && self.waiting.is_empty() {
            self.behind = self.addr.try_send(ToShard::Resync { through }).is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::seat::Refusal;

    fn message(key: u64) -> ToShard {
        ToShard::Seated { key, answer: Err(Refusal::Draining) }
    }

    #[test]
    fn a_seat_after_batches_that_were_left_out_comes_behind_the_resync() {
        let telemetry = Telemetry::new().expect("metrics");
        let (sender, _mailbox) = actix::dev::channel::channel::<Shard>(16);
        let mut slot = ShardSlot::new(Addr::new(sender));
        let mut sent = 0;
        while !slot.behind {
            slot.deliver(message(0), &telemetry);
            sent += 1;
            assert!(sent < 100_000, "the mailbox has no bound");
        }
        let through = Position::of(7, 0);
        slot.send(message(1), through);
        let waiting: Vec<&ToShard> = slot.waiting.iter().collect();
        assert!(matches!(waiting[0], ToShard::Resync { through: t } if *t == through));
        assert!(matches!(waiting[1], ToShard::Seated { key: 1, .. }));
        assert!(!slot.behind, "it has been told");
        slot.deliver(message(2), &telemetry);
        assert!(slot.behind, "what follows waits for its turn");
    }
}
