//! Failures of a run, and their reports to readers.

use super::event_batcher::PublishFailed;
use super::spec::Upstream;
use crate::wire::chat::{FailureCause, UpstreamFailure};
use std::time::Duration;

/// Failure that ended a run.
pub(super) enum RunFailure {
    Failed(Failure),
    Unpublished(String),
}

pub(super) struct Failure {
    pub(super) fault: FailureCause,
    pub(super) message: String,
    pub(super) retryable: bool,
    pub(super) status: Option<u16>,
    pub(super) words: UpstreamErrorFields,
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
    pub(super) fn new(fault: FailureCause, message: String) -> Self {
        let (status, words, wait) = (None, UpstreamErrorFields::default(), None);
        Self { fault, message, retryable: true, status, words, wait }
    }
}

impl From<PublishFailed> for RunFailure {
    fn from(PublishFailed(why): PublishFailed) -> Self {
        Self::Unpublished(why)
    }
}

impl RunFailure {
    pub(super) fn failed(fault: FailureCause, message: impl Into<String>) -> Self {
        Self::Failed(Failure::new(fault, message.into()))
    }

    /// Converts an upstream's error. If it is about the hub's key, the upstream's own text is left
    /// out.
    pub(super) fn of(
        trouble: UpstreamFailure,
        wait: Option<Duration>,
        upstream: Option<&Upstream>,
    ) -> Self {
        let status = trouble.status;
        let fault = match status {
            _ if trouble.is_of_filter() => FailureCause::ContentFilter,
            Some(401 | 403) => FailureCause::UpstreamAuth,
            _ => FailureCause::UpstreamError,
        };
        let retryable = fault == FailureCause::UpstreamError && status.is_none_or(is_retryable);
        if let (FailureCause::UpstreamAuth, Some(code)) = (fault, status) {
            let message = format!("the upstream answered {code}: it rejected the hub's key");
            return Self::Failed(Failure {
                retryable,
                status,
                wait,
                ..Failure::new(fault, message)
            });
        }
        let without_key = |text: String| upstream.map_or(text.clone(), |of| of.without_key(&text));
        let word = |word: Option<String>| word.map(without_key);
        let UpstreamFailure { message, code, kind, param, .. } = trouble;
        let words = UpstreamErrorFields { code: word(code), kind: word(kind), param: word(param) };
        let failure = Failure::new(fault, without_key(message));
        Self::Failed(Failure { retryable, status, words, wait, ..failure })
    }
}

/// Returns true if a request that failed with this status may succeed later.
fn is_retryable(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429) || status >= 500
}

/// Returns true if an upstream refuses temporarily.
pub(super) fn is_temporary(trouble: &UpstreamFailure) -> bool {
    trouble.status.is_some_and(|status| status == 429 || status >= 500)
}

pub(super) fn incomplete() -> RunFailure {
    RunFailure::failed(
        FailureCause::UpstreamIncomplete,
        "the upstream's answer is incomplete: it ended without a finish reason",
    )
}
