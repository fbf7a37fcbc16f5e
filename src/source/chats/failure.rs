//! Failures of a run, and their reports to readers.

use super::event_batcher::PublishFailed;
use super::spec::Upstream;
use crate::wire::chat::{ChatEvent, FailureCause, UpstreamFailure};
use std::time::Duration;

/// Failure that ended a run.
pub(super) enum RunFailure {
    Failed(Failure),
    Unpublished(String),
}

/// Failure of one request to an upstream.
pub(super) struct AttemptFailure {
    pub(super) failure: RunFailure,
    /// True if another request may succeed, and cannot produce a second answer.
    pub(super) may_retry: bool,
}

pub(super) struct Failure {
    pub(super) cause: FailureCause,
    pub(super) message: String,
    pub(super) retryable: bool,
    pub(super) status: Option<u16>,
    pub(super) fields: UpstreamErrorFields,
    /// Delay before a retry that the upstream asked for, if it did.
    pub(super) wait: Option<Duration>,
}

/// Code, type and parameter of an upstream's error, by which clients distinguish failures.
#[derive(Default)]
pub(super) struct UpstreamErrorFields {
    pub(super) code: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) param: Option<String>,
}

impl Failure {
    pub(super) fn new(cause: FailureCause, message: String) -> Self {
        let (status, fields, wait) = (None, UpstreamErrorFields::default(), None);
        Self { cause, message, retryable: true, status, fields, wait }
    }
}

impl From<PublishFailed> for RunFailure {
    fn from(PublishFailed(why): PublishFailed) -> Self {
        Self::Unpublished(why)
    }
}

impl From<RunFailure> for AttemptFailure {
    fn from(failure: RunFailure) -> Self {
        Self { failure, may_retry: false }
    }
}

impl From<PublishFailed> for AttemptFailure {
    fn from(error: PublishFailed) -> Self {
        RunFailure::from(error).into()
    }
}

impl RunFailure {
    pub(super) fn failed(cause: FailureCause, message: impl Into<String>) -> Self {
        Self::Failed(Failure::new(cause, message.into()))
    }

    /// Converts an upstream's error. If it is about the hub's key, the upstream's own text is left
    /// out.
    pub(super) fn of(
        error: UpstreamFailure,
        wait: Option<Duration>,
        upstream: Option<&Upstream>,
    ) -> Self {
        let status = error.status;
        let cause = match status {
            _ if error.is_of_filter() => FailureCause::ContentFilter,
            Some(401 | 403) => FailureCause::UpstreamAuth,
            _ => FailureCause::UpstreamError,
        };
        let retryable = cause == FailureCause::UpstreamError && status.is_none_or(is_retryable);
        if let (FailureCause::UpstreamAuth, Some(code)) = (cause, status) {
            let message = format!("the upstream answered {code}: it refused the hub's key");
            let failure = Failure::new(cause, message);
            return Self::Failed(Failure { retryable, status, wait, ..failure });
        }
        let without_key = |text: String| upstream.map_or(text.clone(), |of| of.without_key(&text));
        let field = |text: Option<String>| text.map(without_key);
        let UpstreamFailure { message, code, kind, param, .. } = error;
        let fields =
            UpstreamErrorFields { code: field(code), kind: field(kind), param: field(param) };
        let failure = Failure::new(cause, without_key(message));
        Self::Failed(Failure { retryable, status, fields, wait, ..failure })
    }
}

/// Returns true if a request that failed with this status may succeed later.
fn is_retryable(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429) || status >= 500
}

/// Returns true if an upstream refuses temporarily.
pub(super) fn is_temporary(error: &UpstreamFailure) -> bool {
    error.status.is_some_and(|status| status == 429 || status >= 500)
}

pub(super) fn incomplete() -> RunFailure {
    RunFailure::failed(
        FailureCause::UpstreamIncomplete,
        "the upstream's answer is incomplete: it ended without a finish reason",
    )
}

/// Returns the outcome that the end of a chat is counted as.
pub(super) fn outcome(end: &ChatEvent) -> &'static str {
    match end {
        ChatEvent::Done { .. } => "done",
        ChatEvent::Cancelled { .. } => "cancelled",
        ChatEvent::Error { code, .. } => code.as_str(),
        _ => "error",
    }
}
