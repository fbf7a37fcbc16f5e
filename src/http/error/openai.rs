//! Errors in OpenAI's form.

use crate::http::error::Problem;
use crate::http::outcome::{self, RequestOutcome};
use crate::wire::chat::{ChatEvent, FailureCause, error_object};
use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde_json::{Value, json};

/// Header that tells SDKs whether to retry; without it they decide by the status.
pub(crate) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Returns a response with an error object (`error`) and a status.
pub(crate) fn error(status: StatusCode, error: &Value) -> HttpResponse {
    answer(status).json(json!({ "error": error }))
}

fn answer(status: StatusCode) -> HttpResponseBuilder {
    let mut answer = HttpResponse::build(status);
    answer.insert_header((header::CACHE_CONTROL, "no-store"));
    answer
}

/// Returns the response for a problem.
pub(crate) fn refusal(problem: &Problem) -> HttpResponse {
    problem.answer("application/json", body(problem).to_string().into_bytes())
}

/// Returns the body of the response for a problem.
pub(crate) fn body(problem: &Problem) -> Value {
    let (code, _, status) = problem.code.row();
    let kind = match status.as_u16() {
        401 | 403 => "authentication_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    let object = json!({
        "message": problem.detail, "type": kind, "param": problem.field, "code": code,
    });
    json!({ "error": object })
}

/// Returns the error for a problem that occurs outside the handlers.
pub(crate) fn as_error(problem: Problem) -> actix_web::Error {
    let answer = refusal(&problem);
    InternalError::from_response(problem, answer).into()
}

/// Returns the status of the response for a chat that failed: the upstream's, or one of the hub;
/// `None` if the chat did not fail.
pub(crate) fn status_of(end: &ChatEvent) -> Option<StatusCode> {
    let (code, upstream_status) = match end {
        ChatEvent::Error { code, upstream_status, .. } => (code, upstream_status),
        ChatEvent::Cancelled { .. } => return Some(StatusCode::CONFLICT),
        _ => return None,
    };
    Some(match (code, upstream_status) {
        (FailureCause::ContentFilter, _) => StatusCode::BAD_REQUEST,
        // The upstream refused the hub's credential, not the caller's.
        (FailureCause::UpstreamAuth, _) => StatusCode::BAD_GATEWAY,
        (FailureCause::UpstreamError, Some(status @ (400 | 404 | 413 | 422 | 429))) => {
            StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY)
        }
        (FailureCause::UpstreamStalled | FailureCause::Timeout, _) => StatusCode::GATEWAY_TIMEOUT,
        (FailureCause::HubRestarted | FailureCause::JournalUnavailable, _) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        (FailureCause::UpstreamError | FailureCause::UpstreamIncomplete, _) => {
            StatusCode::BAD_GATEWAY
        }
    })
}

/// Returns the error response for a chat that failed. Failures that the hub has retried already
/// tell the client not to retry.
pub(crate) fn failed(end: &ChatEvent) -> Option<HttpResponse> {
    let status = status_of(end)?;
    let was_tried = !matches!(
        end,
        ChatEvent::Error {
            code: FailureCause::HubRestarted | FailureCause::JournalUnavailable,
            ..
        }
    );
    let mut answer = answer(status);
    if was_tried {
        answer.insert_header((SHOULD_RETRY, "false"));
    }
    if let ChatEvent::Error { retry_after: Some(seconds), .. } = end {
        answer.insert_header((header::RETRY_AFTER, *seconds));
    }
    let why = match end {
        ChatEvent::Error { code, .. } => code.as_str(),
        _ => "cancelled",
    };
    let answer = answer.json(json!({ "error": error_object(end) }));
    Some(outcome::with_outcome(answer, RequestOutcome::Refused(why)))
}
