//! A shard's way to the connection manager: in order, never waiting.

use crate::hub::messages::FromShard;
use crate::telemetry::{BoundHit, Telemetry};
use actix::Recipient;
use actix::prelude::SendError;
use std::collections::VecDeque;

/// Messages to the manager; those that found its mailbox full wait here, at most two of each session.
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

    /// Sends what waits for room, as far as there is some.
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
