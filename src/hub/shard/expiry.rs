//! Expiry of credentials: a session is notified before its credential expires, and ends with it. A
//! session whose credential is revoked ends without notice.

use super::members::Members;
use super::session::Session;
use crate::access::{Access, AccessVersion, Caller};
use crate::event::Timestamp;
use crate::hub::ids::SessionKey;
use crate::wire;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Time before the expiry at which a session is notified: enough to fetch a new credential and
/// reconnect.
const NOTICE_MS: u64 = 60_000;

/// Expiry times of the credentials of a shard's sessions.
#[derive(Default)]
pub(in crate::hub) struct CredentialExpiries {
    /// Next notice or expiry of each session, in order of time; at most one for each session.
    due: BTreeSet<(Timestamp, SessionKey)>,
    /// Version of the keys and grants that all sessions were checked against.
    checked: AccessVersion,
}

impl CredentialExpiries {
    /// Binds a session to the credential of its caller, and to a time at which it ends.
    pub(in crate::hub) fn bind(
        &mut self,
        key: SessionKey,
        session: &mut Session,
        caller: Arc<Caller>,
        end: Option<Timestamp>,
    ) {
        if let Some(expires) = [caller.expires, end].into_iter().flatten().min() {
            let notice = expires.minus_ms(NOTICE_MS);
            session.expires = Some((notice, expires));
            self.due.insert((notice, key));
        }
        session.caller = Some(caller);
    }

    /// Forgets a session that has ended.
    pub(in crate::hub) fn cancel(&mut self, key: SessionKey, session: &Session) {
        if let Some((notice, expires)) = session.expires {
            self.due.remove(&(notice, key));
            self.due.remove(&(expires, key));
        }
    }

    /// Returns the sessions whose credential was revoked since this was last called.
    pub(in crate::hub) fn revoked(
        &mut self,
        members: &Members,
        access: &Access,
    ) -> Vec<SessionKey> {
        let version = access.version();
        if std::mem::replace(&mut self.checked, version) == version {
            return Vec::new();
        }
        let is_over = |session: &Session| {
            session.caller.as_deref().is_some_and(|caller| access.is_over(caller))
        };
        let sessions = members.sessions().filter(|(_, session)| is_over(session));
        sessions.map(|(key, _)| *key).collect()
    }

    /// Notifies the sessions whose credential expires soon; returns those whose credential has
    /// expired at `now`. `second` is the current second of the shard's clock.
    pub(in crate::hub) fn expired(
        &mut self,
        members: &mut Members,
        now: Timestamp,
        second: u64,
    ) -> Vec<SessionKey> {
        let mut expired = Vec::new();
        while let Some((due, key)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, key));
            let Some(session) = members.session_mut(key) else { continue };
            let Some((_, expires)) = session.expires else { continue };
            if expires <= now {
                expired.push(key);
                continue;
            }
            self.due.insert((expires, key));
            if session.view.has_control() {
                let mut block = session.first_block.take().map(Vec::from).unwrap_or_default();
                wire::hub_notice(&mut block, session.view.format, "token_expires", expires);
                session.first_block = Some(block.into());
                session.wake(second);
            }
        }
        expired
    }
}
