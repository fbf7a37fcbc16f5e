//! Reload on SIGHUP: keys, limits, and the certificate.
//!
//! An invalid configuration changes nothing. Sessions of a key that is gone or has other grants are
//! closed within a second; a lower limit closes no session.

#[cfg(feature = "remote-keys")]
use crate::access::Access;
use crate::config::Config;
#[cfg(feature = "remote-keys")]
use crate::http::RemoteKeySet;
use crate::http::{AppState, Tls};
use crate::hub::ChangeLimits;
use crate::telemetry::set_log_filter;
use actix_web::web::Data;
use std::sync::Arc;

/// Replaces the configuration by a reloaded one. `started` is the configuration of the start.
pub(super) async fn apply(
    state: &Data<AppState>,
    started: &Config,
    config: anyhow::Result<Config>,
) {
    if let Some(tls) = &state.tls {
        certificate(tls);
    }
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            return tracing::error!(
                error = format!("{error:#}"),
                "failed to reload the configuration"
            );
        }
    };
    let is_open = config.access.is_open() && !state.access.load().has_admin_key();
    if is_open && !state.access.load().is_open() {
        // A file that is gone or empty for a moment must not open the hub to everybody.
        return tracing::error!(
            "refused to reload: without a key or token the hub would be open to everybody; \
             restart it to apply this"
        );
    }
    if let Err(error) = set_log_filter(&config.log) {
        tracing::error!(%error, "failed to change the log filter");
    }
    access(state, &config).await;
    if *state.limits.load_full() != *config.limits {
        state.limits.store(config.limits.clone());
        let rates =
            state.rates.load().changed(config.limits.clone(), state.settings.max_body_bytes);
        state.rates.store(Arc::new(rates));
        if state.manager.send(ChangeLimits(config.limits.clone())).await.is_err() {
            tracing::error!("the connection manager has stopped; limits on sessions are unchanged");
        }
    }
    state.memory.set(config.memory_budget);
    tracing::info!("reloaded keys, limits, anonymous grants, the memory budget and the log filter");
    let changed = started.fixed.changed(&config.fixed);
    if !changed.is_empty() {
        let settings = changed.join(", ");
        tracing::warn!(settings, "settings have changed that require a restart; not applied");
    }
}

/// Applies the configured keys and token settings.
#[cfg(not(feature = "remote-keys"))]
async fn access(state: &Data<AppState>, config: &Config) {
    let access = config.access.clone().inherit_from(&state.access.load_full(), false);
    state.access.store(Arc::new(access));
}

/// Applies the configured keys and token settings, and the key set at a URL.
#[cfg(feature = "remote-keys")]
async fn access(state: &Data<AppState>, config: &Config) {
    let previous = state.access.load_full();
    let url = config.jwks_url.as_deref();
    let is_same = state.key_set.load().as_ref().is_some_and(|key_set| key_set.is_at(url));
    let access = Arc::new(config.access.clone().inherit_from(&previous, is_same));
    if is_same {
        // The fetched keys are valid until the next fetch, which the reload does not wait for.
        state.access.store(access.clone());
        if let Some((url, keys)) = url.zip(access.remote_keys().cloned()) {
            let key_set = Arc::new(RemoteKeySet::new(url.into(), keys));
            state.key_set.store(Some(key_set.clone()));
            let refresh = RemoteKeySet::refresh_periodically(Arc::downgrade(&key_set));
            actix::spawn(async move {
                key_set.fetch_now().await;
                // The state holds the only other reference, so this task ends with the next reload.
                drop(key_set);
                refresh.await;
            });
        }
        return;
    }
    fetch_keys(state, &access, url).await;
    state.access.store(access);
}

/// Fetches the key set, and keeps it fresh for as long as it is configured. Returns after the first
/// fetch, so that no token is checked against missing keys.
#[cfg(feature = "remote-keys")]
pub(super) async fn fetch_keys(state: &Data<AppState>, access: &Access, url: Option<&str>) {
    let keys = access.remote_keys().cloned();
    let key_set = url.zip(keys).map(|(url, keys)| Arc::new(RemoteKeySet::new(url.into(), keys)));
    if let Some(key_set) = &key_set {
        key_set.fetch_now().await;
        actix::spawn(RemoteKeySet::refresh_periodically(Arc::downgrade(key_set)));
    }
    state.key_set.store(key_set);
}

/// Reads the certificate's files again.
pub(super) fn certificate(tls: &Tls) {
    match tls.reload() {
        Ok(()) => tracing::info!("reloaded the certificate"),
        Err(error) => {
            tracing::error!(%error, "failed to reload the certificate; the last one stays in use")
        }
    }
}
