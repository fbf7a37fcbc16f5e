//! The exit of a run: the data of its last event.

use crate::event::{Draft, EventType, StreamName};
use crate::journal::{Item, now};
#[cfg(feature = "jobs")]
use crate::journal::{PublishUnit, Publisher};
#[cfg(feature = "jobs")]
use crate::source::publish_with_retry::publish_with_retry;
use serde::Serialize;
use serde_json::value::to_raw_value;
#[cfg(feature = "jobs")]
use std::os::unix::process::ExitStatusExt as _;
#[cfg(feature = "jobs")]
use std::process::ExitStatus;
#[cfg(feature = "jobs")]
use std::time::Duration;

/// Reason for the end of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(feature = "jobs"), expect(dead_code, reason = "a build without jobs runs none"))]
pub(super) enum ExitReason {
    /// The command exited.
    Exited,
    /// A signal from outside the hub ended it.
    Signalled,
    /// The run took too long.
    Timeout,
    /// A caller stopped it.
    Stopped,
    /// The hub is stopping.
    HubStopping,
    /// The hub ended before the run did; the result is unknown.
    HubRestarted,
    /// The command could not be started.
    NotStarted,
}

/// End of a run: the data of its last event.
#[derive(Serialize)]
pub(super) struct JobExit {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration_ms: Option<u64>,
    pub(super) reason: ExitReason,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
}

impl JobExit {
    /// Returns the exit of a command that ran for `took`; `stopped` is the reason if the hub
    /// stopped it.
    #[cfg(feature = "jobs")]
    pub(super) fn of(status: ExitStatus, took: Duration, stopped: Option<ExitReason>) -> Self {
        let by_itself =
            if status.code().is_some() { ExitReason::Exited } else { ExitReason::Signalled };
        Self {
            code: status.code(),
            signal: status.signal(),
            duration_ms: Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            reason: stopped.unwrap_or(by_itself),
            message: None,
        }
    }

    /// Returns the exit of a run without an exit status.
    pub(super) fn without_status(reason: ExitReason, message: Option<String>) -> Self {
        Self { code: None, signal: None, duration_ms: None, reason, message }
    }

    /// Returns the outcome that the metrics count.
    #[cfg(feature = "jobs")]
    pub(super) fn outcome(&self) -> &'static str {
        match self.reason {
            ExitReason::Exited if self.code == Some(0) => "ok",
            ExitReason::Exited => "failed",
            ExitReason::Signalled => "signalled",
            ExitReason::Timeout => "timeout",
            ExitReason::Stopped => "stopped",
            ExitReason::HubStopping | ExitReason::HubRestarted => "hub_stopping",
            ExitReason::NotStarted => "not_started",
        }
    }
}

/// Returns an event of a run with this data; `None` if it is not valid, which does not happen.
pub(super) fn event(stream: &StreamName, kind: &str, data: &impl Serialize) -> Option<Item> {
    let data = to_raw_value(data).ok()?;
    let kind = EventType::parse(kind).ok()?;
    Draft::from_json(vec![stream.clone()], kind, &data, now()).ok().map(Item::Event)
}

/// Returns the event for the end of a run, and the end of its stream.
pub(super) fn exit_items(stream: &StreamName, exit: &JobExit) -> Vec<Item> {
    event(stream, "exit", exit).into_iter().chain([Item::End(stream.clone())]).collect()
}

/// Publishes items of a run on its stream, with retries. Logs an error if they can never be
/// published.
#[cfg(feature = "jobs")]
pub(super) async fn publish_items(publisher: &Publisher, stream: &StreamName, items: PublishUnit) {
    let events = items.len();
    // The command blocks on its pipe meanwhile, and the journal logs the reason itself.
    if let Err(why) = publish_with_retry(publisher, items, |_| {}).await {
        tracing::error!(%stream, events, error = %why, "lost output of a job");
    }
}
