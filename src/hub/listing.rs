//! Sessions as operators see them: some of a shard's, and the end of one.
//!
//! Promises: what it looks at are numbers and names; a list has a bound, and goes on behind the last
//! id of the one before.

use super::ConnectionManager;
use super::manager::AskShards;
use super::session::{Mode, Session, SessionKey};
use super::shard::{Shard, State};
use crate::event::{EventId, Selector, StreamName};
use crate::telemetry::Closed;
use actix::prelude::{Handler, Message};
use actix::{Addr, MailboxError};
use futures_util::future::join_all;
use std::net::IpAddr;
use std::sync::Arc;
use uuid::Uuid;

/// Which sessions are wanted; all where nothing is said.
#[derive(Clone, Default, Debug)]
pub struct Wanted {
    /// Those that an event on this stream would go to.
    pub stream: Option<StreamName>,
    /// Those of this subject, as it is counted.
    pub subject: Option<String>,
    /// Those from this address.
    pub address: Option<IpAddr>,
    /// Those behind this id.
    pub after: Option<Uuid>,
    /// How many at most.
    pub limit: usize,
}

/// One session.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Its id.
    pub id: Uuid,
    /// The streams and patterns that it reads.
    pub streams: Vec<Selector>,
    /// Whose it is, as it is counted.
    pub subject: Option<Arc<str>>,
    /// Where it comes from.
    pub address: IpAddr,
    /// When it began, in milliseconds since 1970.
    pub since_ms: u64,
    /// What became of its resume.
    pub resume: &'static str,
    /// The place it has everything up to.
    pub position: EventId,
    /// Whether it reads from history.
    pub is_catching_up: bool,
    /// How long ago the oldest event was committed that it has not taken, in milliseconds: 0 where it
    /// has everything, unknown while it reads from history.
    pub lag_ms: Option<u64>,
    /// Bytes in memory that it has not taken.
    pub queued_bytes: u64,
    /// Events that it was sent.
    pub sent_events: u64,
}

/// Some of all sessions, by id, and whether there are more.
pub async fn sessions(
    manager: &Addr<ConnectionManager>,
    wanted: Wanted,
) -> Result<(Vec<SessionView>, bool), MailboxError> {
    let limit = wanted.limit;
    // One more tells whether there are more.
    let wanted = Arc::new(Wanted { limit: limit + 1, ..wanted });
    let shards = manager.send(AskShards).await?;
    let asked = shards.iter().map(|shard| shard.send(List(wanted.clone())));
    let mut found = Vec::new();
    for of_shard in join_all(asked).await {
        found.extend(of_shard?);
    }
    found.sort_unstable_by_key(|session| session.id);
    let has_more = found.len() > limit;
    found.truncate(limit);
    Ok((found, has_more))
}

/// Ends a session; whether there was one.
pub async fn close(manager: &Addr<ConnectionManager>, id: Uuid) -> Result<bool, MailboxError> {
    let shards = manager.send(AskShards).await?;
    let asked = join_all(shards.iter().map(|shard| shard.send(Close(id)))).await;
    asked.into_iter().try_fold(false, |was_there, of_shard| Ok(was_there | of_shard?))
}

/// Asks a shard for some of its sessions.
#[derive(Message)]
#[rtype(result = "Vec<SessionView>")]
struct List(Arc<Wanted>);

/// Has a shard end a session, if that is its.
#[derive(Message)]
#[rtype(result = "bool")]
struct Close(Uuid);

impl Handler<List> for Shard {
    type Result = Vec<SessionView>;

    fn handle(&mut self, List(wanted): List, _: &mut Self::Context) -> Vec<SessionView> {
        self.state().borrow().list(&wanted)
    }
}

impl Handler<Close> for Shard {
    type Result = bool;

    fn handle(&mut self, Close(id): Close, _: &mut Self::Context) -> bool {
        let mut state = self.state().borrow_mut();
        let mut sessions = state.sessions.iter();
        let found = sessions.find(|(_, session)| session.id == id && session.began.is_some());
        let Some(key) = found.map(|(key, _)| *key) else { return false };
        state.say_farewell(key, Closed::Operator);
        true
    }
}

impl Wanted {
    fn has(&self, session: &Session) -> bool {
        let holder = &session.holder;
        session.began.is_some()
            && self.after.is_none_or(|after| session.id > after)
            && self.address.is_none_or(|address| holder.client.address == address)
            && self.subject.as_deref().is_none_or(|s| holder.subject.as_deref() == Some(s))
            && self.stream.as_ref().is_none_or(|stream| session.interest.selects(stream))
    }
}

impl State {
    fn list(&self, wanted: &Wanted) -> Vec<SessionView> {
        let found = self.sessions.iter().filter(|(_, session)| wanted.has(session));
        let mut found: Vec<(Uuid, SessionKey)> = found.map(|(key, s)| (s.id, *key)).collect();
        if found.len() > wanted.limit {
            found.select_nth_unstable(wanted.limit);
            found.truncate(wanted.limit);
        }
        let sessions = found.iter().filter_map(|(_, key)| self.sessions.get(key));
        sessions.filter_map(|session| self.view(session)).collect()
    }

    fn view(&self, session: &Session) -> Option<SessionView> {
        let began = session.began?;
        let group = session.group.and_then(|group| self.groups.get(&group));
        let unread = match (&session.mode, group) {
            (Mode::Live { next, .. }, Some(group)) => Some((group.peek(*next), *next, group)),
            _ => None,
        };
        let unsent = session.outlet.as_ref().map_or(0, |outlet| outlet.unsent_bytes() as u64);
        let queued = unread.map_or(0, |(_, next, group)| group.unread_bytes(next));
        let lag = unread.map(|(segment, ..)| segment.map_or(0, |s| s.at.elapsed().as_millis()));
        Some(SessionView {
            id: session.id,
            streams: session.interest.selectors().to_vec(),
            subject: session.holder.subject.clone(),
            address: session.holder.client.address,
            since_ms: began.at.ms(),
            resume: began.resume.as_str(),
            position: self.settings.history.id(session.cursor),
            is_catching_up: unread.is_none(),
            lag_ms: lag.map(|ms| ms as u64),
            queued_bytes: queued + unsent,
            sent_events: session.sent_events,
        })
    }
}
