//! Readiness, the use of the limits, and the lengths of the queues.

use crate::http::state::AppState;
use crate::hub::GetUsage;
use crate::limits::{Limit, Usage};
use crate::telemetry::{ClusterSample, LimitUse, Queues, ReadinessSample, Sampled};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use utoipa::ToSchema;

/// Result of the readiness checks.
#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    checks: BTreeMap<&'static str, Check>,
}

/// Result of one check.
#[derive(Serialize, ToSchema)]
struct Check {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Check {
    fn unless(reason: Option<String>) -> Self {
        Self { ok: reason.is_none(), reason }
    }
}

impl Readiness {
    /// Returns the reason of a failed check, if there is one.
    #[cfg(feature = "cluster")]
    pub(crate) fn first_reason(&self) -> Option<String> {
        let failed = self.checks.values().find(|check| !check.ok)?;
        Some(failed.reason.clone().unwrap_or_default())
    }

    /// Removes the reasons, so that only the results of the checks remain.
    pub(crate) fn without_reasons(mut self) -> Self {
        self.checks.values_mut().for_each(|check| check.reason = None);
        self
    }
}

/// Use of all limits.
pub(crate) struct LimitUsage {
    pub(crate) limits: Vec<Usage>,
    /// True if the connection manager has answered; otherwise its part is from its last answer.
    is_current: bool,
}

/// Returns the use of all limits.
pub(crate) async fn usage(state: &AppState) -> LimitUsage {
    let answer = state.ask(GetUsage).await;
    let is_current = answer.is_ok();
    let mut last = state.last_usage.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(answer) = answer {
        *last = answer;
    }
    let mut usage = last.clone();
    drop(last);
    let limits = state.limits.load_full();
    usage.push(state.selectors.usage(limits.hub.get(Limit::Selectors).map(|bound| bound.max)));
    usage.extend(state.stream_usage.usage(&limits));
    usage.extend(state.rates.load().usage());
    #[cfg(feature = "chat")]
    usage.extend(state.chats.usage());
    usage.push(state.memory.usage());
    LimitUsage { limits: usage, is_current }
}

/// Returns the result of every check, with the reason of a failure.
pub(crate) fn ready(state: &AppState, used: &LimitUsage) -> Readiness {
    let health = &state.health;
    let when = |has_failed: bool, why: &str| Check::unless(has_failed.then(|| why.to_owned()));
    let hanging = health.stuck().map(|hanging| hanging.to_string());
    let lacks_keys = state.access.load().remote_keys().is_some_and(|keys| keys.fetched() == 0);
    let checks = BTreeMap::from([
        ("keys", when(lacks_keys, "the key set of --jwks could not be fetched yet")),
        ("memory", when(state.memory.is_short(), "the memory budget is nearly used up")),
        ("draining", when(state.draining.load(Ordering::Relaxed), "the hub is stopping")),
        ("sessions", Check::unless(sessions(used))),
        ("workers", Check::unless(workers(state))),
        ("journal", Check::unless(health.poisoned().map(str::to_owned).or(hanging))),
        ("disk", Check::unless(health.disk_full())),
        ("cluster", Check::unless(cluster(state))),
        // A loss is reported, but the rest is served: a restart would not restore anything.
        ("loss", Check { ok: true, reason: losses(state) }),
        ("reads", Check { ok: true, reason: health.read_error() }),
    ]);
    Readiness { ready: checks.values().all(|check| check.ok), checks }
}

/// Maximum time for which a ready hub may lag behind the log of its cluster.
const MAX_BEHIND: Duration = Duration::from_secs(10);

/// Returns the reason why the log of the cluster cannot be used or is ahead, if there is one.
fn cluster(state: &AppState) -> Option<String> {
    let log = state.history.log()?;
    let problem = log.problem.as_ref().map_or(String::new(), |problem| format!(": {problem}"));
    if let Some(time) = log.unreachable_for() {
        return Some(format!("the log has not answered for {} s{problem}", time.as_secs()));
    }
    if log.is_behind {
        return Some(format!("the log lacks messages that this hub has applied{problem}"));
    }
    if let Some(problem) = &log.differs {
        return Some(problem.clone());
    }
    if log.paused_since.is_some() {
        return Some("applying no messages of the log: the disk is nearly full".to_owned());
    }
    if let Some(time) = log.append_stalled_for() {
        return Some(format!(
            "an append to the log has taken {} s so far{problem}",
            time.as_secs()
        ));
    }
    if state.is_isolated.load(Ordering::Relaxed) {
        return Some(format!("the hub disconnects subscribers{problem}"));
    }
    let is_behind = log.behind_for().is_some_and(|time| time >= MAX_BEHIND);
    (is_behind || !log.has_caught_up)
        .then(|| format!("this hub has to read {} more batches of the log{problem}", log.lag()))
}

/// Returns the state of the log of the cluster for the metrics.
fn cluster_sample(state: &AppState) -> ClusterSample {
    let Some(log) = state.history.log() else { return ClusterSample::default() };
    let seconds = |time: Option<Duration>| time.map_or(0.0, |time| time.as_secs_f64());
    let (hubs, silent_hubs) = hubs(state);
    ClusterSample {
        end: log.end,
        applied: log.applied.sequence,
        behind_s: seconds(log.behind_for()),
        unreachable_s: seconds(log.unreachable_for()),
        has_lost_messages: log.is_behind,
        stale_servers: log.stale_servers.len(),
        repeated_appends: log.repeated_appends,
        restarts: log.restarts,
        verified: log.verified,
        hubs,
        silent_hubs,
        differs: log.differs.is_some(),
        compared: log.compared,
    }
}

/// Returns the number of other hubs that report, and of silent ones.
#[cfg(feature = "cluster")]
fn hubs(state: &AppState) -> (usize, usize) {
    let hubs = state.peers.as_ref().map_or(Vec::new(), |peers| peers.hubs());
    let silent = hubs.iter().filter(|hub| hub.silent_for.is_some()).count();
    (hubs.len() - silent, silent)
}

#[cfg(not(feature = "cluster"))]
fn hubs(_: &AppState) -> (usize, usize) {
    (0, 0)
}

/// Describes the losses that are not acknowledged yet.
fn losses(state: &AppState) -> Option<String> {
    let losses = state.health.losses();
    let texts: Vec<_> = losses.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// Returns the reason why no session can be opened, if there is one.
fn sessions(used: &LimitUsage) -> Option<String> {
    if !used.is_current {
        return Some("the connection manager does not answer".to_owned());
    }
    let name = Limit::Connections.as_str();
    let usage = used.limits.iter().find(|usage| usage.limit == name && usage.streams.is_none())?;
    let (max, used) = (usage.max?, usage.r#use?);
    (used >= max).then(|| format!("{name} ({max}) reached: no more sessions can be opened"))
}

/// Describes the worker threads that do not answer, if there are any.
fn workers(state: &AppState) -> Option<String> {
    let silent = state.worker_liveness.unresponsive()?;
    let (workers, total, s) = (silent.workers, silent.of, silent.longest.as_secs());
    Some(format!("{workers} of {total} worker threads do not answer, the longest for {s} s"))
}

/// Collects the values that a scrape samples.
pub(crate) async fn sampled(state: &AppState) -> Sampled {
    let used = usage(state).await;
    let ready = ready(state, &used);
    let limits = used.limits.into_iter().map(|usage| LimitUse {
        limit: usage.limit,
        streams: usage.streams.unwrap_or_default().join(","),
        max: usage.max,
        used: usage.r#use,
        peak: usage.peak,
        refusals: usage.refusals,
    });
    let drain_ends = state.drain_ends_ms.load(Ordering::Relaxed);
    let readiness = ReadinessSample {
        checks: ready.checks.iter().map(|(name, check)| (*name, check.ok)).collect(),
        is_ready: ready.ready,
        drain_ends_s: (drain_ends > 0).then(|| drain_ends as f64 / 1000.0),
        drain_window_s: state.settings.drain.as_secs_f64(),
        queues: queues(state),
    };
    Sampled { limits: limits.collect(), readiness, cluster: cluster_sample(state) }
}

fn queues(state: &AppState) -> Queues {
    let waiting = |queue: &tokio::sync::mpsc::WeakSender<_>| {
        queue.upgrade().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    };
    Queues {
        publish: state.health.queued(),
        batches: waiting(&state.dispatched),
        reads: state.disk_bounds.disk_readers - state.disk_readers.available_permits(),
        lookups: state.disk_bounds.lookups - state.lookups.available_permits(),
        body_bytes: state.body_budget.bytes(),
    }
}
