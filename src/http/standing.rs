//! How the hub stands: whether it should be sent work, how its limits are used, what waits.

use super::server::Hub;
use crate::hub::AskUsage;
use crate::journal::now;
use crate::limits::{Limit, Usage};
use crate::telemetry::{LimitUse, Queues, Sampled, Standing};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;
use utoipa::ToSchema;

/// How long the connection manager may take to answer a question; it is not well where it takes
/// longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Whether the hub should be sent work.
#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    pub(super) ready: bool,
    checks: BTreeMap<&'static str, Check>,
}

/// One thing that readiness depends on.
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

/// How every limit is used; `None` where the connection manager does not say.
pub(super) async fn usage(hub: &Hub) -> Option<Vec<Usage>> {
    let counted = timeout(ANSWER_WITHIN, hub.manager.send(AskUsage)).await;
    let mut usage = counted.ok()?.ok()?;
    let limits = hub.limits.load_full();
    usage.push(hub.selectors.usage(limits.hub.of(Limit::Selectors).map(|bound| bound.most)));
    usage.extend(hub.stream_usage.usage(&limits));
    usage.extend(hub.rates.load().usage());
    usage.push(hub.memory.usage());
    Some(usage)
}

/// Every check, with the reason where one is not fine.
pub(super) fn ready(hub: &Hub, usage: Option<&[Usage]>) -> Ready {
    let health = &hub.health;
    let when = |is_so: bool, why: &str| Check::unless(is_so.then(|| why.to_owned()));
    let hanging = health.hanging_ms().map(|ms| format!("a commit has been running for {ms} ms"));
    let lacks_keys = hub.access.load().remote_keys().is_some_and(|keys| keys.fetched() == 0);
    let checks = BTreeMap::from([
        ("keys", when(lacks_keys, "the key set of --jwks could not be fetched yet")),
        ("memory", when(hub.memory.is_short(), "the memory budget is nearly used up")),
        ("draining", when(hub.draining.load(Ordering::Relaxed), "the hub is stopping")),
        ("sessions", Check::unless(sessions(usage))),
        ("journal", Check::unless(health.poisoned().map(str::to_owned).or(hanging))),
        ("disk", Check::unless(health.disk_full())),
        // It is told, but what is left is served: a restart would not bring anything back.
        ("loss", Check { ok: true, reason: health.loss().map(ToString::to_string) }),
    ]);
    Ready { ready: checks.values().all(|check| check.ok), checks }
}

/// Why no session can be let in, if so.
fn sessions(usage: Option<&[Usage]>) -> Option<String> {
    let Some(usage) = usage else {
        return Some("the connection manager does not answer".to_owned());
    };
    let name = Limit::Connections.as_str();
    let all = usage.iter().find(|usage| usage.limit == name && usage.streams.is_none())?;
    let (most, used) = (all.max?, all.r#use?);
    (used >= most).then(|| format!("as many sessions as allowed are open: {name} is {most}"))
}

/// What a scrape asks for.
pub(super) async fn sampled(hub: &Hub) -> Sampled {
    let usage = usage(hub).await;
    let ready = ready(hub, usage.as_deref());
    let limits = usage.unwrap_or_default().into_iter().map(|usage| LimitUse {
        limit: usage.limit,
        streams: usage.streams.unwrap_or_default().join(","),
        max: usage.max,
        used: usage.r#use,
        peak: usage.peak,
        refusals: usage.refusals,
    });
    let drain_ends = hub.drain_ends_ms.load(Ordering::Relaxed);
    let standing = Standing {
        checks: ready.checks.iter().map(|(name, check)| (*name, check.ok)).collect(),
        is_ready: ready.ready,
        drain_ends_s: (drain_ends > 0).then(|| drain_ends as f64 / 1000.0),
        drain_window_s: hub.settings.drain.as_secs_f64(),
        queues: queues(hub),
    };
    Sampled { limits: limits.collect(), standing }
}

fn queues(hub: &Hub) -> Queues {
    let waiting = |queue: &tokio::sync::mpsc::WeakSender<_>| {
        queue.upgrade().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    };
    Queues {
        publish: hub.health.queued(),
        batches: waiting(&hub.dispatched),
        reads: hub.bounds.disk_readers - hub.disk_readers.available_permits(),
        lookups: hub.bounds.lookups - hub.lookups.available_permits(),
        body_bytes: hub.received.bytes(),
    }
}

impl Hub {
    /// It is stopping, and cuts off whoever is still there once the window is over.
    pub fn begin_drain(&self) {
        let ends = now().ms().saturating_add(self.settings.drain.as_millis() as u64);
        self.drain_ends_ms.store(ends, Ordering::Relaxed);
        self.draining.store(true, Ordering::Relaxed);
    }
}
