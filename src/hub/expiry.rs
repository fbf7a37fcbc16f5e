//! Sessions end when the credential does that they were let in by, and are told beforehand; or at
//! once, where it is revoked.

use super::session::{Session, SessionKey};
use super::shard::ShardState;
use crate::access::Caller;
use crate::event::Timestamp;
use crate::telemetry::Closed;
use crate::wire;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Time before the end at which a session is told: enough to fetch a new credential and reconnect.
const NOTICE_MS: u64 = 60_000;

/// Next notice or end of each session, in order of time; at most one for each session.
#[derive(Default)]
pub(super) struct TokenExpiries(BTreeSet<(Timestamp, SessionKey)>);

impl ShardState {
    /// Has a session end with the credential of whose it is.
    pub(super) fn bind_credential(&mut self, key: SessionKey, caller: Arc<Caller>) {
        // That may be over since it was looked at, and all sessions held against that.
        let is_over = self.settings.access.load().is_over(&caller);
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if let Some(expires) = caller.expires {
            let notice = expires.minus_ms(NOTICE_MS);
            session.expires = Some((notice, expires));
            self.expiries.0.insert((notice, key));
        }
        session.caller = Some(caller);
        if is_over {
            self.begin_close(key, Closed::Revoked);
        }
    }

    /// Ends the sessions whose credential is good no more since this was last called.
    pub(super) fn close_revoked(&mut self) {
        let access = self.settings.access.load_full();
        let version = access.version();
        if std::mem::replace(&mut self.access_version, version) == version {
            return;
        }
        let is_over = |session: &Session| {
            session.caller.as_deref().is_some_and(|caller| access.is_over(caller))
        };
        let sessions = self.sessions.iter().filter(|(_, session)| is_over(session));
        for key in sessions.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.begin_close(key, Closed::Revoked);
        }
    }

    /// A session is gone: nothing is due for it.
    pub(super) fn cancel(&mut self, key: SessionKey, due: Option<(Timestamp, Timestamp)>) {
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
                self.begin_close(key, Closed::Expired);
                continue;
            }
            self.expiries.0.insert((expires, key));
            if session.view.has_control() {
                let mut block = session.first_block.take().map(Vec::from).unwrap_or_default();
                wire::hub_notice(&mut block, session.view.format, "token_expires", expires);
                session.first_block = Some(block.into());
                let now = self.wheel.now();
                session.wake(now);
            }
        }
    }
}
