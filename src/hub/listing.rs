//! Sessions as operators see them: some of a shard's, and the end of one.
//!
//! Promises: what it looks at are numbers and names; a list has a bound, and goes on behind the last
//! id of the one before.

use super::ConnectionManager;
use super::manager::GetShards;
use super::session::{Mode, Session, SessionKey};
use super::shard::{Shard, ShardState};
use crate::event::{EventId, Selector, StreamName};
use crate::telemetry::Closed;
use actix::Addr;
use actix::prelude::{Handler, Message};
use futures_util::future::join_all;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use uuid::Uuid;

/// Filter of sessions; the default matches all.
#[derive(Clone, Default, Debug)]
pub struct SessionFilter {
    /// Only sessions that get the events of this stream.
    pub stream: Option<StreamName>,
    /// Only sessions of this subject.
    pub subject: Option<String>,
    /// Only sessions from this address.
    pub address: Option<IpAddr>,
    /// Only sessions after this id.
    pub after: Option<Uuid>,
    /// Maximum number of sessions.
    pub limit: usize,
}

/// A session as operators see it.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Id of the session.
    pub id: Uuid,
    /// The streams and patterns that it reads.
    pub streams: Vec<Selector>,
    /// Subject that it is counted for.
    pub subject: Option<Arc<str>>,
    /// Address of the client.
    pub address: IpAddr,
    /// Time at which it began, in milliseconds since 1970.
    pub since_ms: u64,
    /// Result of its resume.
    pub resume: &'static str,
    /// The place it has everything up to.
    pub position: EventId,
    /// True if it reads from history.
    pub is_catching_up: bool,
    /// Milliseconds since the commit of the oldest event that it has not taken: 0 if it has all,
    /// unknown while it reads from history.
    pub lag_ms: Option<u64>,
    /// Bytes in memory that it has not taken.
    pub queued_bytes: u64,
    /// Events that it was sent.
    pub sent_events: u64,
}

/// Maximum time for an answer of the manager or a shard; a shard that takes longer is left out.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Some of all sessions.
#[derive(Default, Debug)]
pub struct SessionPage {
    /// Sessions, by id.
    pub sessions: Vec<SessionView>,
    /// True if there are more.
    pub has_more: bool,
    /// Worker threads that did not answer, whose sessions are not among them.
    pub unresponsive: usize,
}

/// Some of all sessions; `None` where the manager does not answer.
pub async fn sessions(
    manager: &Addr<ConnectionManager>,
    wanted: SessionFilter,
) -> Option<SessionPage> {
    let limit = wanted.limit;
    // One more tells whether there are more.
    let wanted = Arc::new(SessionFilter { limit: limit + 1, ..wanted });
    let (answers, silent) = ask(manager, || List(wanted.clone())).await?;
    let mut sessions: Vec<_> = answers.into_iter().flatten().collect();
    sessions.sort_unstable_by_key(|session| session.id);
    let has_more = sessions.len() > limit;
    sessions.truncate(limit);
    Some(SessionPage { sessions, has_more, unresponsive: silent })
}

/// Ends a session; whether there was one. `None` where those who could know do not answer.
pub async fn close(manager: &Addr<ConnectionManager>, id: Uuid) -> Option<bool> {
    let (answers, silent) = ask(manager, || Close(id)).await?;
    let was_there = answers.contains(&true);
    (was_there || silent == 0).then_some(was_there)
}

/// Asks all shards; returns their answers, and the number of those that did not answer.
async fn ask<M>(
    manager: &Addr<ConnectionManager>,
    question: impl Fn() -> M,
) -> Option<(Vec<M::Result>, usize)>
where
    M: Message + Send + 'static,
    M::Result: Send,
    Shard: Handler<M>,
{
    let shards = timeout(ANSWER_WITHIN, manager.send(GetShards)).await.ok()?.ok()?;
    let asked = shards.iter().map(|shard| timeout(ANSWER_WITHIN, shard.send(question())));
    let answers: Vec<_> =
        join_all(asked).await.into_iter().filter_map(|answer| answer.ok()?.ok()).collect();
    let silent = shards.len() - answers.len();
    Some((answers, silent))
}

/// Asks a shard for some of its sessions.
#[derive(Message)]
#[rtype(result = "Vec<SessionView>")]
struct List(Arc<SessionFilter>);

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
        state.begin_close(key, Closed::Operator);
        true
    }
}

impl SessionFilter {
    fn has(&self, session: &Session) -> bool {
        let holder = &session.holder;
        session.began.is_some()
            && self.after.is_none_or(|after| session.id > after)
            && self.address.is_none_or(|address| holder.client.address == address)
            && self.subject.as_deref().is_none_or(|s| holder.subject.as_deref() == Some(s))
            && self.stream.as_ref().is_none_or(|stream| session.interest.selects(stream))
    }
}

impl ShardState {
    fn list(&self, wanted: &SessionFilter) -> Vec<SessionView> {
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
        let unsent = session.unsent();
        let unsent_bytes = session.outlet.as_ref().map_or(0, |outlet| outlet.unsent_bytes() as u64);
        let queued = unread.map_or(0, |(_, next, group)| group.unread_bytes(next));
        let lag = unread.map(|(segment, ..)| {
            let oldest = unsent.map(|(at, _)| at).or(segment.map(|segment| segment.at));
            oldest.map_or(0, |at| at.elapsed().as_millis())
        });
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
            queued_bytes: queued + unsent_bytes,
            sent_events: session.sent_events,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Position;
    use crate::hub::page::tests::journal;
    use crate::hub::probe;
    use crate::telemetry::Telemetry;
    use actix::{Actor as _, Arbiter};

    #[actix::test]
    async fn a_worker_that_does_not_answer_is_left_out_and_counted() {
        let (journal, telemetry) = (journal(1 << 20), Telemetry::new().expect("metrics"));
        let (_out, batches) = tokio::sync::mpsc::channel(1);
        let (limits, own) = (Arc::default(), telemetry.clone());
        let manager = ConnectionManager::new(batches, Position::ZERO, limits, own, &[]).start();
        let workers = [Arbiter::new(), Arbiter::new()];
        for worker in &workers {
            let settings = probe::settings(journal.history.clone(), telemetry.clone());
            let manager = manager.clone();
            worker.spawn_fn(move || drop(Shard::start(manager, settings)));
        }
        while manager.send(GetShards).await.expect("it answers").len() < workers.len() {
            tokio::task::yield_now().await;
        }
        let wanted = SessionFilter { limit: 10, ..SessionFilter::default() };
        let listed = sessions(&manager, wanted.clone()).await.expect("the manager answers");
        assert_eq!(listed.unresponsive, 0);
        assert_eq!(close(&manager, Uuid::nil()).await, Some(false), "no worker has it");
        let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
        workers[0].spawn_fn(move || {
            let _ = held.recv();
        });
        let listed = sessions(&manager, wanted).await.expect("the manager answers");
        assert_eq!(listed.unresponsive, 1);
        assert_eq!(close(&manager, Uuid::nil()).await, None, "the silent one may have it");
        drop(release);
    }
}
