//! Periodic checks: stuck commits, memory, certificates, sampled log lines, idle rates.

use crate::http::AppState;
use crate::limits::resident_bytes;
use actix_web::web::Data;
use std::time::Duration;

/// Starts the checks.
pub(super) fn start(state: &Data<AppState>) {
    actix::spawn(watch_commits(state.clone()));
    actix::spawn(watch_memory(state.clone()));
    actix::spawn(watch_log_lines(state.clone()));
    actix::spawn(watch_rates(state.clone()));
    actix::spawn(watch_certificate(state.clone()));
}

/// Reports a writer that hangs, for example on a disk that does not respond: once in the log, and
/// in the metric and the readiness while it lasts.
async fn watch_commits(state: Data<AppState>) {
    let mut was_hanging = false;
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        every_second.tick().await;
        let hanging = state.health.stuck();
        state.telemetry.journal_hangs(hanging.is_some());
        match hanging {
            Some(hanging) if !was_hanging => {
                tracing::error!(%hanging, "the journal does not respond")
            }
            None if was_hanging => tracing::info!("the journal responds again"),
            _ => {}
        }
        was_hanging = hanging.is_some();
    }
}

/// Interval of memory checks, and the shorter one once much memory is used.
const MEMORY_CHECK_INTERVAL: Duration = Duration::from_millis(100);
const MEMORY_CHECK_INTERVAL_WHILE_FILLING: Duration = Duration::from_millis(10);
/// Interval at which the rates of idle clients are removed.
const IDLE_RATES_INTERVAL: Duration = Duration::from_secs(1);

/// Samples the memory of the process for the memory budget.
async fn watch_memory(state: Data<AppState>) {
    let mut was_short = false;
    loop {
        if let Some(bytes) = resident_bytes() {
            state.memory.record_usage(bytes);
        }
        let is_short = state.memory.is_short();
        if is_short && !was_short {
            tracing::warn!(
                "memory budget is nearly used up (90 %); refusing new subscribers and request \
                 bodies"
            );
        } else if was_short && !is_short {
            tracing::info!("memory is available again");
        }
        was_short = is_short;
        let next = if state.memory.is_filling() {
            MEMORY_CHECK_INTERVAL_WHILE_FILLING
        } else {
            MEMORY_CHECK_INTERVAL
        };
        tokio::time::sleep(next).await;
    }
}

/// Logs how many log lines were suppressed or lost.
async fn watch_log_lines(state: Data<AppState>) {
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        every_second.tick().await;
        for (reason, count) in state.telemetry.not_logged() {
            tracing::info!(reason, count, "suppressed repeated log lines");
        }
        match state.telemetry.lost_lines() {
            0 => {}
            count => tracing::warn!(count, "log lines were lost; the log is not read fast enough"),
        }
    }
}

/// Removes the rates of idle clients.
async fn watch_rates(state: Data<AppState>) {
    let mut interval = tokio::time::interval(IDLE_RATES_INTERVAL);
    loop {
        interval.tick().await;
        state.rates.load().remove_idle();
    }
}

/// Interval of checks of the certificate's files.
const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Reloads the certificate when its files have changed.
async fn watch_certificate(state: Data<AppState>) {
    let mut interval = tokio::time::interval(CERTIFICATE_CHECK_INTERVAL);
    while let Some(tls) = &state.tls {
        interval.tick().await;
        if tls.has_changed() {
            super::reload::certificate(tls);
        }
    }
}
