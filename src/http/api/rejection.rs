//! Rejection of subscribers because of load or draining.
//!
//! A browser's EventSource gives up permanently on any status but 200 (WHATWG HTML §9.2.3) and
//! never reads Retry-After, so it gets a stream of one block; other clients get the status.

use crate::http::error::{Code, Problem};
use crate::http::extract::client::client;
use crate::http::outcome::{self, RequestOutcome};
use crate::http::state::AppState;
use crate::hub::SubscribeRejection;
use crate::limits::Limit;
use crate::telemetry::SubscribeRejectReason;
use crate::wire::{self, Format};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, ResponseError};

/// Returns the problem code of a rejection and the reason it is counted with.
fn rejection_of(refusal: SubscribeRejection) -> (Code, SubscribeRejectReason) {
    match refusal {
        SubscribeRejection::Draining => (Code::Draining, SubscribeRejectReason::Draining),
        SubscribeRejection::Isolated => (Code::LogUnavailable, SubscribeRejectReason::Isolated),
        SubscribeRejection::ManagerQueue => {
            (Code::ResourceExhausted, SubscribeRejectReason::ManagerBusy)
        }
        SubscribeRejection::WorkerGone | SubscribeRejection::Unpublished => {
            (Code::Unresponsive, SubscribeRejectReason::Error)
        }
        SubscribeRejection::Limit(limit) => {
            (Code::of_limit(limit), SubscribeRejectReason::Limit(limit))
        }
    }
}

/// Returns the response to a refused subscriber. A client that reads no event stream gets a status in any case.
pub(crate) fn reject_subscriber(
    state: &AppState,
    request: &HttpRequest,
    refusal: SubscribeRejection,
    format: Format,
    as_status: bool,
) -> HttpResponse {
    let (code, reason) = rejection_of(refusal);
    state.telemetry.subscriber_refused(reason);
    // A client that exceeds its own limit must not make others wait longer.
    let retry_ms = match code {
        Code::TooMany => state.retry_pacer.client_limit_ms(),
        _ => {
            let client = client(state, request);
            // The client cannot have more sessions than this.
            let bound = state.limits.load().hub.get(Limit::ConnectionsPerClient);
            let applicable = bound.filter(|bound| bound.is_explicit || !client.is_local);
            state.retry_pacer.rejected_client_ms(&client, applicable.map(|bound| bound.max))
        }
    };
    if as_status || !accepts_event_stream(request) {
        let detail = match refusal {
            SubscribeRejection::Draining => "the hub is stopping".to_owned(),
            SubscribeRejection::Isolated => {
                "the hub is cut off from the log of its cluster; use another hub".to_owned()
            }
            SubscribeRejection::WorkerGone => "a worker thread has ended; retry".to_owned(),
            SubscribeRejection::Unpublished => {
                "the begin of the subscription could not be published; retry".to_owned()
            }
            SubscribeRejection::ManagerQueue | SubscribeRejection::Limit(_) => {
                format!("the limit {} is reached", reason.as_str())
            }
        };
        let mut problem = Problem::new(code, detail).retry_after(retry_ms.div_ceil(1000));
        if let SubscribeRejection::Limit(limit) = refusal {
            problem = problem.limit(limit);
        }
        return problem.error_response();
    }
    let is_limit =
        matches!(refusal, SubscribeRejection::ManagerQueue | SubscribeRejection::Limit(_));
    let name = is_limit.then_some(reason.as_str());
    let mut block = Vec::new();
    wire::hub_error(&mut block, format, retry_ms, code.as_str(), name);
    let response = HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, format.content_type()))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header(("X-Accel-Buffering", "no"))
        .body(block);
    outcome::with_outcome(response, RequestOutcome::Refused(reason.as_str()))
}

/// Counts a refusal by its reason, except rejections, which `reject_subscriber` counts.
pub(crate) fn count_rejection(
    state: &AppState,
    result: Result<HttpResponse, Problem>,
) -> Result<HttpResponse, Problem> {
    result.inspect_err(|problem| {
        let by_limit = problem.limit.and_then(SubscribeRejectReason::of_limit);
        let by_code = || match problem.code {
            Code::Unauthorized | Code::TokenExpired | Code::Forbidden => {
                SubscribeRejectReason::Forbidden
            }
            Code::PayloadTooLarge => SubscribeRejectReason::TooLarge,
            Code::ClientDisconnected => SubscribeRejectReason::Client,
            Code::ConnectionTimeout => SubscribeRejectReason::Timeout,
            Code::Draining => SubscribeRejectReason::Draining,
            Code::TooMany | Code::ResourceExhausted => SubscribeRejectReason::RequestBodies,
            Code::ServerError
            | Code::Unresponsive
            | Code::JournalPoisoned
            | Code::DiskFull
            | Code::LogUnavailable
            | Code::Unconfirmed => SubscribeRejectReason::Error,
            Code::Malformed
            | Code::Validation
            | Code::Misdirected
            | Code::NotFound
            | Code::Gone
            | Code::MethodNotAllowed
            | Code::NotImplemented
            | Code::Conflict => SubscribeRejectReason::Invalid,
        };
        state.telemetry.subscriber_refused(by_limit.unwrap_or_else(by_code));
    })
}

fn accepts_event_stream(request: &HttpRequest) -> bool {
    request.headers().get_all(header::ACCEPT).any(|value| {
        value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains("text/event-stream"))
    })
}
