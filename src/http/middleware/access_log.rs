//! The access log: one line for each request, and the request id.
//!
//! Promises: the id of a request's `X-Request-Id` header is returned and logged; frequent lines of
//! one kind are sampled, and the others are counted; a request whose client gives up before the
//! response is logged as well. Never: logs a query, a body, or a header other than the id, because
//! they may contain credentials.

use crate::http::extract::client::client;
use crate::http::extract::identity::identity;
use crate::http::limits::head_clock;
use crate::http::middleware::error_page;
use crate::http::outcome::{InternalFailure, RequestOutcome};
use crate::http::state::AppState;
use crate::limits::Client;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use std::time::Instant;
use uuid::Uuid;

/// Target of the lines, for filters such as `fanfare::http::access_log=off`.
const TARGET: &str = "fanfare::http::access_log";
/// The header with a request's id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Maximum size of a request id that a client sets.
const MAX_ID_BYTES: usize = 128;
/// Paths that machines poll; their successful requests are logged at `debug`.
const POLLED_PATHS: [&str; 3] = ["/metrics", "/healthz", "/readyz"];
/// Paths that the pages of the hub poll; their requests are logged alike if a page of the hub sends
/// them.
const PATHS_OF_PAGES: [&str; 6] =
    ["/stats", "/sessions", "/streams", "/jobs", "/session", "/version"];

/// End of a request.
#[derive(Default)]
struct RequestEnd {
    /// Status of the response, if there was one.
    status: Option<StatusCode>,
    outcome: Option<RequestOutcome>,
    failed: Option<String>,
}

/// Fields of a line that are known when the request begins.
struct AccessLogLine {
    id: HeaderValue,
    method: Method,
    uri: Uri,
    client: Client,
    started: Instant,
    /// True for a request that is not worth a line if it succeeds.
    is_routine: bool,
}

/// Assigns the request id and logs the outcome of the request.
pub(crate) async fn log_requests<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let Some(state) = request.app_data::<Data<AppState>>().cloned() else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    let line = AccessLogLine::of(&state, request.request());
    let id = line.id.clone();
    let wants_page = error_page::is_wanted(request.request());
    let pending = PendingRequest { state, line: Some(line) };
    let clock = head_clock::of(request.request());
    head_clock::stop(clock.as_ref());
    match next.call(request).await {
        Ok(mut response) => {
            response.headers_mut().insert(REQUEST_ID, id);
            pending.end(&RequestEnd::of(response.response()), Some(response.request()));
            let mut response = response.map_into_boxed_body();
            if wants_page {
                let (request, answer) = response.into_parts();
                response = ServiceResponse::new(request, error_page::page(answer));
            }
            Ok(head_clock::start_after_response(response, clock))
        }
        Err(error) => {
            if let Some(clock) = clock {
                clock.start_before_body();
            }
            let mut response = error.error_response();
            pending.end(&RequestEnd::of(&response), None);
            response.headers_mut().insert(REQUEST_ID, id);
            if wants_page {
                response = error_page::page(response);
            }
            Err(InternalError::from_response(error, response).into())
        }
    }
}

/// A request that is not answered yet. actix drops it when its client disconnects.
struct PendingRequest {
    state: Data<AppState>,
    line: Option<AccessLogLine>,
}

impl PendingRequest {
    fn end(mut self, ended: &RequestEnd, request: Option<&HttpRequest>) {
        if let Some(line) = self.line.take() {
            line.write(&self.state, ended, request);
        }
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            self.state.telemetry.request_abandoned();
            line.write(&self.state, &RequestEnd::default(), None);
        }
    }
}

impl RequestEnd {
    fn of<B>(response: &HttpResponse<B>) -> Self {
        let extensions = response.extensions();
        Self {
            status: Some(response.status()),
            outcome: extensions.get::<RequestOutcome>().copied(),
            failed: extensions.get::<InternalFailure>().map(|failed| failed.0.clone()),
        }
    }

    /// Returns the outcome as a word, and the reason of a refusal.
    fn outcome(&self) -> (&'static str, Option<&'static str>) {
        let reason = match self.outcome {
            Some(RequestOutcome::Refused(reason)) => Some(reason),
            _ => None,
        };
        let outcome = match (self.status, self.outcome) {
            (None, _) => "abandoned",
            (_, Some(RequestOutcome::Session { .. })) => "session",
            (Some(StatusCode::INTERNAL_SERVER_ERROR), _) => "failed",
            (_, Some(RequestOutcome::Refused(_))) => "refused",
            (Some(status), _) if status.is_client_error() || status.is_server_error() => "refused",
            _ => "ok",
        };
        (outcome, reason)
    }
}

/// Returns the id that the client set, if it is valid, or a new one.
fn id_of(request: &HttpRequest) -> HeaderValue {
    let is_id = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=MAX_ID_BYTES).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    let new = || {
        let mut text = Uuid::encode_buffer();
        let text = Uuid::new_v4().simple().encode_lower(&mut text).to_owned();
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("none"))
    };
    request.headers().get(REQUEST_ID).filter(is_id).cloned().unwrap_or_else(new)
}

/// Returns true for polls, and for pages with their scripts and styles.
fn is_routine(request: &HttpRequest) -> bool {
    let path = request.path();
    let fetch_site = request.headers().get("sec-fetch-site");
    let is_of_page = || {
        request.method() == Method::GET
            && PATHS_OF_PAGES.contains(&path)
            && fetch_site.is_some_and(|site| site == "same-origin")
    };
    #[cfg(feature = "dashboard")]
    if crate::http::api::pages::is_page(path) {
        return true;
    }
    POLLED_PATHS.contains(&path) || is_of_page()
}

impl AccessLogLine {
    fn of(state: &AppState, request: &HttpRequest) -> Self {
        Self {
            id: id_of(request),
            method: request.method().clone(),
            uri: request.uri().clone(),
            client: client(state, request),
            started: Instant::now(),
            is_routine: is_routine(request),
        }
    }

    fn write(&self, state: &AppState, ended: &RequestEnd, request: Option<&HttpRequest>) {
        let (outcome, reason) = ended.outcome();
        let is_polled = outcome == "ok" && self.is_routine;
        if !is_polled && !state.telemetry.may_log(reason.unwrap_or(outcome)) {
            return;
        }
        let subject = request.and_then(identity).and_then(|caller| caller.counted_as());
        let (mut session, mut resume, mut events, mut streams) = (None, None, None, None);
        match ended.outcome {
            Some(RequestOutcome::Session { id, streams: stream_count, resume: resume_result }) => {
                (session, resume, streams) = (Some(id), Some(resume_result), Some(stream_count));
            }
            Some(RequestOutcome::Published { events: event_count, streams: stream_count }) => {
                (events, streams) = (Some(event_count), Some(stream_count));
            }
            Some(RequestOutcome::Refused(_)) | None => {}
        }
        // tracing omits fields that are `None`.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: TARGET,
                    outcome,
                    reason,
                    status = ended.status.map(|status| status.as_u16()),
                    method = %self.method,
                    path = self.uri.path(),
                    ms = self.started.elapsed().as_micros() as f64 / 1000.0,
                    client = %self.client.address,
                    subject = subject.as_deref(),
                    session = session.map(tracing::field::display),
                    events,
                    streams,
                    resume,
                    failed = ended.failed.as_deref(),
                    request_id = self.id.to_str().unwrap_or_default(),
                    "request"
                )
            };
        }
        match outcome {
            "failed" => line!(error),
            _ if is_polled => line!(debug),
            _ => line!(info),
        }
    }
}
