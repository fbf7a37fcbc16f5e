//! Isolation: disconnects subscribers, so that they resume at other hubs, while this one is cut off from the log of its cluster.

use crate::http::AppState;
use crate::hub::DisconnectAll;
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
            tracing::error!("cut off from the log of the cluster; disconnecting subscribers");
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
