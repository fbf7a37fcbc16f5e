//! Runs that the hub started, of jobs and of chats, when the hub stops.

#![cfg_attr(
    not(any(feature = "chat", feature = "jobs")),
    expect(unused_variables, reason = "a build without jobs and chats has no runs")
)]

use crate::http::AppState;
use futures_util::future::{LocalBoxFuture, join_all};
use std::time::Duration;

/// Kills the commands of jobs and the runs of chats.
pub(super) fn kill_all(state: &AppState) {
    #[cfg(feature = "jobs")]
    state.jobs.kill_all();
    #[cfg(feature = "chat")]
    state.chats.kill_all();
}

/// Completes when the streams of all killed runs have ended.
pub(super) async fn all_ended(state: &AppState) {
    let ended: Vec<LocalBoxFuture<'_, ()>> = vec![
        #[cfg(feature = "jobs")]
        Box::pin(state.jobs.all_ended()),
        #[cfg(feature = "chat")]
        Box::pin(state.chats.stop_all(Duration::ZERO)),
    ];
    join_all(ended).await;
}

/// Stops all runs within `window`.
pub(super) async fn stop_all(state: &AppState, window: Duration) {
    let stopped: Vec<LocalBoxFuture<'_, ()>> = vec![
        #[cfg(feature = "jobs")]
        Box::pin(state.jobs.stop_all(window)),
        #[cfg(feature = "chat")]
        Box::pin(state.chats.stop_all(window)),
    ];
    join_all(stopped).await;
}
