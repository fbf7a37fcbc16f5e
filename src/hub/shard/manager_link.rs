//! Messages from a shard to the connection manager, sent in order and without waiting.

use crate::hub::messages::FromShard;
use crate::telemetry::{BoundHit, Telemetry};
use actix::Recipient;
use actix::prelude::SendError;
use std::collections::VecDeque;

/// Sender of messages to the manager. If its mailbox is full, messages wait here: at most two for
/// each session.
pub(in crate::hub) struct ManagerLink {
    manager: Recipient<FromShard>,
    outbox: VecDeque<FromShard>,
    telemetry: Telemetry,
}

impl ManagerLink {
    pub(in crate::hub) fn new(manager: Recipient<FromShard>, telemetry: Telemetry) -> Self {
        Self { manager, outbox: VecDeque::new(), telemetry }
    }

    /// Returns true if messages wait for room in the manager's mailbox.
    pub(in crate::hub) fn is_congested(&self) -> bool {
        !self.outbox.is_empty()
    }

    pub(in crate::hub) fn send(&mut self, message: FromShard) {
        self.outbox.push_back(message);
        self.flush();
    }

    /// Sends waiting messages while the mailbox has room.
    pub(in crate::hub) fn flush(&mut self) {
        while let Some(message) = self.outbox.pop_front() {
            match self.manager.try_send(message) {
                Ok(()) => {}
                Err(SendError::Full(message)) => {
                    self.telemetry.bound_hit(BoundHit::ManagerMailbox);
                    self.outbox.push_front(message);
                    return;
                }
                Err(SendError::Closed(_)) => self.outbox.clear(),
            }
        }
    }
}
