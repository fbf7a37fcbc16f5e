//! Turning a subscriber away for load or draining.
//!
//! A browser's EventSource gives up for good on any status but 200 (WHATWG HTML §9.2.3) and never
//! reads Retry-After, so it gets a stream of one block; everybody else gets the status.

use super::problem::{Code, Problem};
use super::server::Hub;
use crate::hub::Limit;
use crate::telemetry::Turned;
use crate::wire;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, ResponseError};

/// The answer to a subscriber that `limit` turned away.
pub(super) fn turn_away(
    hub: &Hub,
    request: &HttpRequest,
    limit: Limit,
    as_status: bool,
) -> HttpResponse {
    let (code, reason) = match limit {
        Limit::Draining => (Code::Draining, Turned::Draining),
        Limit::MaxConnections => (Code::ResourceExhausted, Turned::MaxConnections),
        Limit::ManagerQueue => (Code::ResourceExhausted, Turned::ManagerBusy),
    };
    hub.telemetry.subscriber_refused(reason);
    let retry_ms = hub.pace.turned_away_ms();
    if as_status || !accepts_event_stream(request) {
        let detail = match limit {
            Limit::Draining => "the hub is stopping".to_owned(),
            _ => format!("the limit {} is reached", reason.as_str()),
        };
        return Problem::new(code, detail).retry_after(retry_ms.div_ceil(1000)).error_response();
    }
    let name = (limit != Limit::Draining).then_some(reason.as_str());
    let mut block = Vec::new();
    wire::hub_error(&mut block, retry_ms, code.as_str(), name);
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header(("X-Accel-Buffering", "no"))
        .body(block)
}

fn accepts_event_stream(request: &HttpRequest) -> bool {
    request.headers().get_all(header::ACCEPT).any(|value| {
        value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains("text/event-stream"))
    })
}
