//! Sessions end when the credential does that they were let in by, and are told beforehand.

use super::session::SessionKey;
use super::shard::State;
use crate::event::Timestamp;
use crate::telemetry::Closed;
use crate::wire;
use std::collections::BTreeSet;

/// How long beforehand: enough to fetch a new credential and to reconnect.
const NOTICE_MS: u64 = 60_000;

/// What is due when, and for whom: at most one thing for each session.
#[derive(Default)]
pub(super) struct Expiries(BTreeSet<(Timestamp, SessionKey)>);

impl State {
    /// Has a session end with its credential.
    pub(super) fn ends_at(&mut self, key: SessionKey, expires: Timestamp) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let notice = expires.minus_ms(NOTICE_MS);
        session.expires = Some((notice, expires));
        self.expiries.0.insert((notice, key));
    }

    /// A session is gone: nothing is due for it.
    pub(super) fn never_ends(&mut self, key: SessionKey, due: Option<(Timestamp, Timestamp)>) {
        if let Some((notice, expires)) = due {
            self.expiries.0.remove(&(notice, key));
            self.expiries.0.remove(&(expires, key));
        }
    }

    /// Tells those whose credential ends soon, and sends away those whose has ended.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some((due, key)) = self.expiries.0.first().copied().filter(|(due, _)| *due <= now)
        {
            self.expiries.0.remove(&(due, key));
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            let Some((_, expires)) = session.expires else { continue };
            if expires <= now {
                self.say_farewell(key, Closed::Expired);
                continue;
            }
            self.expiries.0.insert((expires, key));
            if !session.view.control_off {
                let mut block = session.first_block.take().map(Vec::from).unwrap_or_default();
                wire::hub_notice(&mut block, "token_expires", expires);
                session.first_block = Some(block.into());
                let now = self.wheel.now();
                session.wake(now);
            }
        }
    }
}
