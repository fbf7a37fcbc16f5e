//! Reads of the journal that may wait for the disk.

use crate::http::error::Problem;
use crate::http::state::AppState;
use crate::journal::{History, JournalError};
use crate::telemetry::BoundHit;
use actix_web::web::Data;
#[cfg(any(feature = "durable-streams", feature = "mercure"))]
use std::time::Duration;

/// Maximum time to wait for entries that other hubs of the cluster have applied.
#[cfg(any(feature = "durable-streams", feature = "mercure"))]
const MAX_LAG: Duration = Duration::from_secs(1);
/// Interval of looking for them.
#[cfg(any(feature = "durable-streams", feature = "mercure"))]
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Runs a read that may wait for the disk on another thread, in a bounded number of such reads.
pub(crate) async fn read_history<T, E>(
    state: &Data<AppState>,
    read: impl FnOnce(&History) -> Result<T, E> + Send + 'static,
) -> Result<T, Problem>
where
    T: Send + 'static,
    E: Into<Problem> + Send + 'static,
{
    let history = state.history.clone();
    if state.lookups.available_permits() == 0 {
        state.telemetry.bound_hit(BoundHit::DiskLookups);
    }
    // The read holds the permit, because it continues if its request is dropped.
    let permit = state.lookups.clone().acquire_owned().await.map_err(JournalError::unfinished)?;
    let result = tokio::task::spawn_blocking(move || {
        let result = read(&history);
        drop(permit);
        result
    })
    .await;
    result.map_err(JournalError::unfinished)?.map_err(E::into)
}

/// Waits until `is_known` returns true, for what another hub of the cluster may have applied before this one. Returns
/// false at once for a single hub, and after [`MAX_LAG`].
#[cfg(any(feature = "durable-streams", feature = "mercure"))]
pub(crate) async fn wait_for_log(state: &AppState, is_known: impl AsyncFn() -> bool) -> bool {
    if state.history.log().is_none() {
        return false;
    }
    let wait = async {
        while !is_known().await {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(MAX_LAG, wait).await.is_ok()
}
