//! Application: builds all parts of the hub, runs them, and drains them.
//!
//! No other module constructs these parts. They start in the order telemetry, journal, connection
//! manager, HTTP, and stop in reverse order, so that no acknowledged publish is left waiting in
//! between.

mod admin_key;
mod banner;
mod build;
mod cluster;
#[cfg(feature = "cluster")]
mod join;
#[cfg(feature = "cluster")]
mod recover;
mod reload;
mod runs;
mod watch;

#[cfg(feature = "cluster")]
pub use recover::{RecoverOptions, Recovery, recover};

use crate::config::Config;
use crate::http::{self, AppState, SHUTDOWN_TIMEOUT};
use crate::hub::Drain;
#[cfg(feature = "system")]
use crate::journal::Durability;
use crate::journal::Journal;
use crate::{source, telemetry};
use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use anyhow::Context as _;
use build::{Built, build, tls};
#[cfg(feature = "system")]
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, oneshot};

/// Maximum time for the streams of killed jobs and of chats to end.
const RUNS_END_WITHIN: Duration = Duration::from_secs(3);

/// Runs a hub until it gets a signal to stop; on SIGHUP it reloads what `load_config` returns.
pub fn run(load_config: impl Fn() -> anyhow::Result<Config>) -> anyhow::Result<()> {
    let config = load_config()?;
    telemetry::start_logging(&config.log, config.log_format);
    let system = actix::System::new();
    system.block_on(async {
        let result = serve(config, load_config).await;
        // Actors that a failed start has created must not begin while the runtime is dropped.
        tokio::task::yield_now().await;
        result
    })
}

/// Checks what a start reads beside the configuration: the certificate and its key.
pub fn check(config: &Config) -> anyhow::Result<()> {
    tls(config).map(drop)
}

async fn serve(
    config: Config,
    load_config: impl Fn() -> anyhow::Result<Config>,
) -> anyhow::Result<()> {
    // First, because the default action of SIGHUP would end the process.
    let mut hangup = signal(SignalKind::hangup())?;
    // Before the journal is opened, so that a mistake is reported at once and by itself.
    let (tls, sockets) = (tls(&config)?, http::bind(&config.listen)?);
    let admin_sockets = http::bind(&config.metrics_listen)?;
    let sockets_without_tls = match &tls {
        None => vec![&sockets, &admin_sockets],
        Some(_) => vec![&admin_sockets],
    };
    let Built { state, journal, new_secret } = build(&config, tls, &sockets_without_tls).await?;
    if let Err(error) =
        source::end_orphaned_runs(&state.history, &state.publisher, &cluster::node_name(&config))
    {
        tracing::warn!(%error, "failed to end job runs of the last start");
    }
    #[cfg(feature = "chat")]
    if let Err(error) = state.chats.restore() {
        tracing::warn!(%error, "failed to restore chats");
    }
    start_background_tasks(&state, &config).await;
    let server = http::start(state.clone(), sockets)?;
    let admin = http::start_admin(state.clone(), admin_sockets)?;
    let mut stop = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let access = state.access.load_full();
    banner::print(&server, admin.as_ref(), &config, &access, new_secret.as_deref());
    let admin = admin.map(|admin| (actix::spawn(admin.running), admin.handle));
    let (mut running, mut server_result) = (tokio::spawn(server.running), None);
    loop {
        tokio::select! {
            _ = stop.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload::apply(&state, &config, load_config()).await,
            result = &mut running => {
                server_result = Some(result.map_err(anyhow::Error::from).and_then(|result| {
                    result.context("the server failed")
                }));
                break;
            }
        }
    }
    tokio::select! {
        () = drain(&state, &config) => {}
        _ = interrupt.recv() => tracing::warn!("interrupted again; not waiting for subscribers"),
    }
    close(&state, server.handle, admin.map(|(_, admin)| admin), journal).await?;
    server_result.unwrap_or(Ok(()))
}

/// Ends runs and requests in flight, then the journal.
async fn close(
    state: &AppState,
    server: ServerHandle,
    admin: Option<ServerHandle>,
    journal: Journal,
) -> anyhow::Result<()> {
    runs::kill_all(state);
    // Their streams get an end, if that can still be published.
    let ended = tokio::time::timeout(RUNS_END_WITHIN, runs::all_ended(state)).await;
    // Otherwise the other hubs of a cluster end them, once this one is gone.
    if ended.is_ok() {
        cluster::leave_peers(state).await;
    }
    state.publisher.close();
    stop_server(state, &server).await;
    tokio::task::spawn_blocking(move || journal.close()).await?;
    // Last, so that metrics show a stop that hangs.
    if let Some(admin) = admin {
        admin.stop(true).await;
    }
    Ok(())
}

/// Stops the server, and logs how many connections it had to cut off.
async fn stop_server(state: &AppState, server: &ServerHandle) {
    let mut stopped = std::pin::pin!(server.stop(true));
    let connections_cut_off = tokio::select! {
        () = &mut stopped => 0,
        () = tokio::time::sleep(SHUTDOWN_TIMEOUT) => {
            let remaining = state.open_connections.load(Ordering::Relaxed);
            stopped.await;
            remaining
        }
    };
    tracing::info!(connections_cut_off, "stopped the server");
}

/// Closes every session, stops every run, and waits until all have ended or the window is over.
async fn drain(state: &Data<AppState>, config: &Config) {
    tracing::info!(window_s = config.drain.as_secs_f64(), "draining");
    // From here on clients cannot publish, but jobs still can.
    state.begin_drain();
    let (drained, all_drained) = oneshot::channel();
    let window = config.drain;
    if state.manager.send(Drain { window, drained }).await.is_err() {
        tracing::error!("the connection manager has stopped; cannot disconnect subscribers");
    }
    let all_ended = futures_util::future::join(all_drained, runs::stop_all(state, window));
    match tokio::time::timeout(window, all_ended).await {
        Ok(_) => tracing::info!("all subscribers have left"),
        Err(_) => tracing::warn!(
            "some subscribers did not leave within the drain window; closing their connections"
        ),
    }
}

/// Starts the background tasks: periodic checks, and the sources of the hub's own events.
async fn start_background_tasks(state: &Data<AppState>, config: &Config) {
    #[cfg(feature = "remote-keys")]
    reload::fetch_keys(state, &state.access.load_full(), config.jwks_url.as_deref()).await;
    watch::start(state);
    if let Some(timeout) = cluster::isolation_timeout(config) {
        actix::spawn(cluster::watch(state.clone(), timeout));
        #[cfg(feature = "cluster")]
        cluster::join_peers(state);
        #[cfg(feature = "cluster")]
        actix::spawn(cluster::end_runs_of_gone_hubs(state.clone()));
    }
    #[cfg(feature = "chat")]
    actix::spawn(state.chats.clone().run_janitor());
    #[cfg(feature = "system")]
    if let Some(interval) = config.system {
        let disk = match config.durability {
            Durability::Memory => PathBuf::from("/"),
            Durability::Sync | Durability::Os => config.data_dir.clone(),
        };
        let telemetry = state.telemetry.clone();
        let run = move |feed| source::watch_system(feed, interval, disk.clone(), telemetry.clone());
        actix::spawn(state.sources.clone().supervise("system", run));
    }
    let (history, metrics) = (state.history.clone(), state.telemetry.heartbeats());
    let grace = config.grace;
    let run = move |feed| source::monitor_heartbeats(feed, history.clone(), grace, metrics.clone());
    actix::spawn(state.sources.clone().supervise("heartbeats", run));
    if state.node.name().is_some() {
        let (history, revocations) = (state.history.clone(), state.revocations.clone());
        let run =
            move |feed| source::follow_revocations(feed, history.clone(), revocations.clone());
        actix::spawn(state.sources.clone().supervise("revocations", run));
    }
    #[cfg(all(feature = "chat", feature = "cluster"))]
    if state.node.name().is_some() {
        let chats = state.chats.clone();
        let run = move |feed| chats.clone().follow_other_hubs(feed);
        actix::spawn(state.sources.clone().supervise("chats", run));
    }
    #[cfg(feature = "mercure")]
    if let Some(subscriptions) = state.subscriptions.clone() {
        let history = state.history.clone();
        let run = move |feed| subscriptions.clone().run(feed, history.clone());
        actix::spawn(state.sources.clone().supervise("subscriptions", run));
    }
    #[cfg(feature = "durable-streams")]
    if config.durable.is_some() {
        let (history, lifetimes) = (state.history.clone(), state.lifetimes.clone());
        let run = move |feed| lifetimes.clone().run(feed, history.clone());
        actix::spawn(state.sources.clone().supervise("lifetimes", run));
    }
    #[cfg(feature = "tail")]
    if !config.tails.is_empty() {
        let (history, specs) = (state.history.clone(), config.tails.clone());
        let metrics = state.telemetry.tail();
        let run =
            move |feed| source::follow_files(feed, history.clone(), specs.clone(), metrics.clone());
        actix::spawn(state.sources.clone().supervise("tail", run));
    }
    if config.publish_log
        && let Some(lines) = telemetry::capture_log_lines()
    {
        let lines = Arc::new(Mutex::new(lines));
        let run = move |feed| source::publish_log(feed, lines.clone());
        actix::spawn(state.sources.clone().supervise("log", run));
    }
}
