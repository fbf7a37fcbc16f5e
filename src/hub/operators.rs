//! Listing and closing sessions, for operators.
//!
//! A page of sessions is bounded; the next one begins after the last id of the page before.

use super::manager::ConnectionManager;
use super::messages::{CloseSession, GetShards, ListSessions, ShardAddress};
use super::session_view::{SessionFilter, SessionView};
use actix::Addr;
use actix::dev::RecipientRequest;
use actix::prelude::Message;
use futures_util::future::join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use uuid::Uuid;

/// Maximum time for an answer of the manager or a shard; a shard that takes longer is left out.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);

/// A page of the hub's sessions.
#[derive(Default, Debug)]
pub struct SessionPage {
    /// Sessions, by id.
    pub sessions: Vec<SessionView>,
    /// True if there are more.
    pub has_more: bool,
    /// Worker threads that did not answer; their sessions are missing.
    pub unresponsive: usize,
}

/// Returns a page of the sessions of all shards; `None` if the manager does not answer.
pub async fn sessions(
    manager: &Addr<ConnectionManager>,
    wanted: SessionFilter,
) -> Option<SessionPage> {
    let limit = wanted.limit;
    // Asks for one more than fits, to learn if there is another page.
    let wanted = Arc::new(SessionFilter { limit: limit + 1, ..wanted });
    let list = |shard: &ShardAddress| shard.list.send(ListSessions(wanted.clone()));
    let (answers, silent) = query_shards(manager, list).await?;
    let mut sessions: Vec<_> = answers.into_iter().flatten().collect();
    sessions.sort_unstable_by_key(|session| session.id);
    let has_more = sessions.len() > limit;
    sessions.truncate(limit);
    Some(SessionPage { sessions, has_more, unresponsive: silent })
}

/// Closes a session; returns true if it existed. `None` if the manager, or a shard that may have it,
/// does not answer.
pub async fn close(manager: &Addr<ConnectionManager>, id: Uuid) -> Option<bool> {
    let (answers, silent) =
        query_shards(manager, |shard| shard.close.send(CloseSession(id))).await?;
    let was_there = answers.contains(&true);
    (was_there || silent == 0).then_some(was_there)
}

/// Asks all shards; returns their answers, and the number of those that did not answer.
async fn query_shards<M>(
    manager: &Addr<ConnectionManager>,
    question: impl Fn(&ShardAddress) -> RecipientRequest<M>,
) -> Option<(Vec<M::Result>, usize)>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    let shards = timeout(QUERY_TIMEOUT, manager.send(GetShards)).await.ok()?.ok()?;
    let asked = shards.iter().map(|shard| timeout(QUERY_TIMEOUT, question(shard)));
    let answers: Vec<_> =
        join_all(asked).await.into_iter().filter_map(|answer| answer.ok()?.ok()).collect();
    let silent = shards.len() - answers.len();
    Some((answers, silent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Position;
    use crate::hub::probe;
    use crate::hub::shard::Shard;
    use crate::hub::shard::page::tests::journal;
    use crate::telemetry::Telemetry;
    use actix::{Actor as _, Arbiter};

    #[actix::test]
    async fn unresponsive_worker_is_left_out_and_counted() {
        let (journal, telemetry) = (journal(1 << 20), Telemetry::new().expect("metrics"));
        let (_out, batches) = tokio::sync::mpsc::channel(1);
        let (limits, own) = (Arc::default(), telemetry.clone());
        let manager = ConnectionManager::new(batches, Position::ZERO, limits, own, &[]).start();
        let workers = [Arbiter::new(), Arbiter::new()];
        for worker in &workers {
            let settings = probe::settings(journal.history.clone(), telemetry.clone());
            let manager = manager.clone();
            worker.spawn_fn(move || drop(Shard::start(manager.recipient(), settings)));
        }
        while manager.send(GetShards).await.expect("the manager answers").len() < workers.len() {
            tokio::task::yield_now().await;
        }
        let wanted = SessionFilter { limit: 10, ..SessionFilter::default() };
        let listed = sessions(&manager, wanted.clone()).await.expect("the manager answers");
        assert_eq!(listed.unresponsive, 0);
        assert_eq!(close(&manager, Uuid::nil()).await, Some(false), "no such session");
        let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
        workers[0].spawn_fn(move || {
            let _ = held.recv();
        });
        let listed = sessions(&manager, wanted).await.expect("the manager answers");
        assert_eq!(listed.unresponsive, 1);
        assert_eq!(close(&manager, Uuid::nil()).await, None, "the unresponsive worker may have it");
        drop(release);
    }
}
