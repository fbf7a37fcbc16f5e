//! Reads of the journal that may wait for the disk.

use crate::http::error::Problem;
use crate::http::state::AppState;
use crate::journal::{History, JournalError};
use crate::telemetry::BoundHit;
use actix_web::web::Data;

/// Runs a read that may wait for the disk on another thread; the number of concurrent reads is bounded.
pub(crate) async fn read_history<T: Send + 'static>(
    state: &Data<AppState>,
    read: impl FnOnce(&History) -> Result<T, JournalError> + Send + 'static,
) -> Result<T, Problem> {
    let history = state.history.clone();
    let failed = |why: String| Problem::from(JournalError::other(why));
    if state.lookups.available_permits() == 0 {
        state.telemetry.bound_hit(BoundHit::DiskLookups);
    }
    // The permit belongs to the read, which goes on when its request is dropped.
    let permit = state.lookups.clone().acquire_owned().await.map_err(|e| failed(e.to_string()))?;
    let result = tokio::task::spawn_blocking(move || {
        let result = read(&history);
        drop(permit);
        result
    })
    .await;
    Ok(result.map_err(|e| failed(e.to_string()))??)
}
