//! The hub as one of a cluster: its name, and the disconnection of its subscribers while it is cut off from
//! the log, so that they resume at other hubs.

#[cfg(feature = "cluster")]
use crate::cluster::{HubReport, SNAPSHOT_CHUNK_BYTES};
use crate::config::Config;
#[cfg(feature = "cluster")]
use crate::http;
use crate::http::AppState;
use crate::hub::DisconnectAll;
#[cfg(feature = "cluster")]
use crate::hub::SetCountsElsewhere;
use crate::source::NodeName;
#[cfg(feature = "cluster")]
use actix::Arbiter;
use actix_web::web::Data;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Time over which subscribers are disconnected.
const WINDOW: Duration = Duration::from_secs(2);

/// Maximum time for the report that this hub stops.
#[cfg(feature = "cluster")]
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// Checks the log each second, if there is one.
pub(super) async fn watch(state: Data<AppState>, timeout: Duration) {
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        every_second.tick().await;
        let Some(log) = state.history.log() else { return };
        // A journal that has stopped gets nothing new, either.
        let has_stopped = state.health.poisoned().is_some();
        let unreachable = log.unreachable_for();
        let differs = log.differs.is_some();
        let is_paused = log.paused_since.is_some_and(|since| since.elapsed() >= timeout);
        let is_isolated =
            has_stopped || differs || is_paused || unreachable.is_some_and(|time| time >= timeout);
        let was_isolated = state.is_isolated.swap(is_isolated, Ordering::Relaxed);
        if is_isolated && !was_isolated {
            let reason = match log.differs {
                _ if has_stopped => "the journal has stopped".to_owned(),
                Some(differs) => differs,
                None if is_paused => "the disk is nearly full".to_owned(),
                None => "the log does not answer".to_owned(),
            };
            tracing::error!(reason, "disconnecting subscribers, so that they resume at other hubs");
            if state.manager.send(DisconnectAll { window: WINDOW }).await.is_err() {
                tracing::error!(
                    "the connection manager has stopped; cannot disconnect subscribers"
                );
            }
        } else if was_isolated && !is_isolated {
            tracing::info!("the log of the cluster answers again; accepting subscribers");
        }
    }
}

/// Tells the other hubs about this one each second, records what they report, and answers their requests.
#[cfg(feature = "cluster")]
pub(super) fn join_peers(state: &Data<AppState>) {
    let (Some(peers), Some(log)) = (state.peers.clone(), state.history.log_status()) else {
        return;
    };
    let (log, followed) = (log.clone(), peers.clone());
    let epoch = state.history.epoch().0;
    actix::spawn(async move { followed.follow_reports(log, epoch).await });
    // On a thread of its own, so that they delay neither fan-out nor other requests.
    let answering = state.clone();
    if !Arbiter::new().spawn_fn(move || drop(actix::spawn(http::answer_peers(answering)))) {
        tracing::error!("cannot start the thread that answers other hubs");
    }
    if let Some(backup) = state.backup.clone() {
        let peers = peers.clone();
        actix::spawn(async move {
            peers.serve_snapshots(|| backup.start(SNAPSHOT_CHUNK_BYTES)).await;
        });
    }
    let state = state.clone();
    actix::spawn(async move {
        let mut every_second = tokio::time::interval(Duration::from_secs(1));
        every_second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every_second.tick().await;
            peers.report(&http::own_report(&state, &peers).await).await;
            // A manager that has stopped counts nothing.
            let _ = state.manager.send(SetCountsElsewhere(peers.counts())).await;
        }
    });
}

/// Ends the job runs and chats of hubs that are gone.
#[cfg(feature = "cluster")]
pub(super) async fn end_runs_of_gone_hubs(state: Data<AppState>) {
    let Some(peers) = state.peers.clone() else { return };
    let mut known = Vec::new();
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        every_second.tick().await;
        let gone = peers.gone();
        known.retain(|node| gone.contains(node));
        for node in gone.into_iter().filter(|node| !known.contains(node)).collect::<Vec<_>>() {
            tracing::warn!(hub = node, "a hub is gone; ending its job runs and chats");
            let (state, of) = (state.clone(), NodeName::new(&node));
            let ended = tokio::task::spawn_blocking(move || end_runs_of(&state, &of)).await;
            match ended.map_err(anyhow::Error::from).flatten() {
                Ok(()) => known.push(node),
                Err(error) => tracing::warn!(
                    %error,
                    "failed to end the job runs and chats of a hub that is gone; trying again"
                ),
            }
        }
    }
}

#[cfg(feature = "cluster")]
fn end_runs_of(state: &AppState, node: &NodeName) -> anyhow::Result<()> {
    crate::source::end_orphaned_runs(&state.history, &state.publisher, node)?;
    #[cfg(feature = "chat")]
    state.chats.end_those_of(node)?;
    #[cfg(feature = "mercure")]
    if let Some(subscriptions) = &state.subscriptions {
        subscriptions.end_those_of(&state.history, node)?;
    }
    Ok(())
}

/// Tells the other hubs that this one stops.
#[cfg(feature = "cluster")]
pub(super) async fn leave_peers(state: &AppState) {
    let Some(peers) = &state.peers else { return };
    let report = http::own_report(state, peers).await;
    let leaving = HubReport { is_leaving: true, ..report };
    // Without a connection, this would wait for it.
    let _ = tokio::time::timeout(LEAVE_WITHIN, peers.report(&leaving)).await;
}

/// Does nothing: this build has no cluster.
#[cfg(not(feature = "cluster"))]
pub(super) async fn leave_peers(_: &AppState) {}

/// Returns the name of this hub, if it belongs to a cluster.
#[cfg(feature = "cluster")]
pub(super) fn node_name(config: &Config) -> NodeName {
    config.cluster.as_ref().map_or(NodeName::default(), |cluster| NodeName::new(&cluster.node))
}

#[cfg(not(feature = "cluster"))]
pub(super) fn node_name(_: &Config) -> NodeName {
    NodeName::default()
}

/// Returns the time without the log after which subscribers are disconnected, if there is a log.
#[cfg(feature = "cluster")]
pub(super) fn isolation_timeout(config: &Config) -> Option<Duration> {
    config.cluster.as_ref().map(|cluster| cluster.isolation_timeout)
}

#[cfg(not(feature = "cluster"))]
pub(super) fn isolation_timeout(_: &Config) -> Option<Duration> {
    None
}
