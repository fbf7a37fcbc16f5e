//! The hub as one of a cluster: its name, and the disconnection of its subscribers while it is cut off from
//! the log, so that they resume at other hubs.

use crate::config::Config;
use crate::http::AppState;
use crate::hub::DisconnectAll;
use crate::source::NodeName;
use actix_web::web::Data;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Time over which subscribers are disconnected.
const WINDOW: Duration = Duration::from_secs(2);

/// Checks the log each second, if there is one.
pub(super) async fn watch(state: Data<AppState>, timeout: Duration) {
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        every_second.tick().await;
        let Some(log) = state.history.log() else { return };
        // A journal that has stopped gets nothing new, either.
        let has_stopped = state.health.poisoned().is_some();
        let unreachable = log.unreachable_for();
        let is_isolated = has_stopped || unreachable.is_some_and(|time| time >= timeout);
        let was_isolated = state.is_isolated.swap(is_isolated, Ordering::Relaxed);
        if is_isolated && !was_isolated {
            let reason =
                if has_stopped { "the journal has stopped" } else { "the log does not answer" };
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
