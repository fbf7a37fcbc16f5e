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
    filter: SessionFilter,
) -> Option<SessionPage> {
    let limit = filter.limit;
    // Asks for one more than fits, to learn if there is another page.
    let filter = Arc::new(SessionFilter { limit: limit + 1, ..filter });
    let list = |shard: &ShardAddress| shard.list.send(ListSessions(filter.clone()));
    let (answers, unresponsive) = query_shards(manager, list).await?;
    let mut sessions: Vec<_> = answers.into_iter().flatten().collect();
    sessions.sort_unstable_by_key(|session| session.id);
    let has_more = sessions.len() > limit;
    sessions.truncate(limit);
    Some(SessionPage { sessions, has_more, unresponsive })
}

/// Closes a session; returns true if it existed. `None` if the manager, or a shard that may have it,
/// does not answer.
pub async fn close(manager: &Addr<ConnectionManager>, id: Uuid) -> Option<bool> {
    let (answers, unresponsive) =
        query_shards(manager, |shard| shard.close.send(CloseSession(id))).await?;
    let existed = answers.contains(&true);
    (existed || unresponsive == 0).then_some(existed)
}

/// Asks all shards; returns their answers, and the number of those that did not answer.
async fn query_shards<M>(
    manager: &Addr<ConnectionManager>,
    request: impl Fn(&ShardAddress) -> RecipientRequest<M>,
) -> Option<(Vec<M::Result>, usize)>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    let shards = timeout(QUERY_TIMEOUT, manager.send(GetShards)).await.ok()?.ok()?;
    let requests = shards.iter().map(|shard| timeout(QUERY_TIMEOUT, request(shard)));
    let answers: Vec<_> =
        join_all(requests).await.into_iter().filter_map(|answer| answer.ok()?.ok()).collect();
    let unresponsive = shards.len() - answers.len();
    Some((answers, unresponsive))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Position;
    use crate::hub::probe;
    use crate::hub::shard::Shard;
    use crate::journal::memory_journal;
    use crate::telemetry::Telemetry;
    use actix::{Actor as _, Arbiter};

    #[actix::test]
    async fn unresponsive_worker_is_left_out_and_counted() {
        let (journal, telemetry) = (memory_journal(1 << 20), Telemetry::new().expect("metrics"));
        let (_sender, batches) = tokio::sync::mpsc::channel(1);
        let (limits, manager_telemetry) = (Arc::default(), telemetry.clone());
        let manager =
            ConnectionManager::new(batches, Position::ZERO, limits, manager_telemetry, &[]).start();
        let workers = [Arbiter::new(), Arbiter::new()];
        for worker in &workers {
            let settings = probe::settings(journal.history.clone(), telemetry.clone());
            let manager = manager.clone();
            worker.spawn_fn(move || drop(Shard::start(manager.recipient(), settings)));
        }
        while manager.send(GetShards).await.expect("the manager answers").len() < workers.len() {
            tokio::task::yield_now().await;
        }
        let filter = SessionFilter { limit: 10, ..SessionFilter::default() };
        let listed = sessions(&manager, filter.clone()).await.expect("the manager answers");
        assert_eq!(listed.unresponsive, 0);
        assert_eq!(close(&manager, Uuid::nil()).await, Some(false), "no such session");
        let (release, released) = std::sync::mpsc::sync_channel::<()>(0);
        workers[0].spawn_fn(move || {
            let _ = released.recv();
        });
        let listed = sessions(&manager, filter).await.expect("the manager answers");
        assert_eq!(listed.unresponsive, 1);
        assert_eq!(close(&manager, Uuid::nil()).await, None, "the unresponsive worker may have it");
        drop(release);
    }
}
