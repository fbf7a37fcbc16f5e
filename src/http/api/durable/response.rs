//! Responses of the Durable Streams protocol.

use super::headers::{PRODUCER_EPOCH, PRODUCER_SEQ, STREAM_CLOSED, STREAM_EXPIRES_AT, STREAM_TTL};
use crate::event::durable::{CommandRefusal, ContentType, Lifetime, ProducerWrite};
use crate::event::{Position, StreamName};
use crate::http::error::Problem;
use crate::http::state::AppState;
use crate::journal::StreamState;
use crate::wire;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};

const STREAM_NEXT_OFFSET: &str = "Stream-Next-Offset";
const STREAM_UP_TO_DATE: &str = "Stream-Up-To-Date";
pub(super) const STREAM_CURSOR: &str = "Stream-Cursor";
pub(super) const SSE_DATA_ENCODING: &str = "Stream-SSE-Data-Encoding";
const PRODUCER_EXPECTED_SEQ: &str = "Producer-Expected-Seq";
const PRODUCER_RECEIVED_SEQ: &str = "Producer-Received-Seq";
const RESOURCE_POLICY: &str = "Cross-Origin-Resource-Policy";

/// Headers that pages of other origins may read.
pub(crate) const RESPONSE_HEADERS: [&str; 13] = [
    "ETag",
    "Location",
    STREAM_NEXT_OFFSET,
    STREAM_UP_TO_DATE,
    STREAM_CURSOR,
    STREAM_CLOSED,
    STREAM_TTL,
    STREAM_EXPIRES_AT,
    SSE_DATA_ENCODING,
    PRODUCER_EPOCH,
    PRODUCER_SEQ,
    PRODUCER_EXPECTED_SEQ,
    PRODUCER_RECEIVED_SEQ,
];

/// Adds the headers of every response.
pub(super) fn finish(result: Result<HttpResponse, Problem>) -> HttpResponse {
    let mut response = result.unwrap_or_else(|problem| problem.error_response());
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // The writer of a stream chooses its type: a page that it wrote must not act for who opens it.
    let policy = HeaderValue::from_static("sandbox; default-src 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    let policy = HeaderName::from_bytes(RESOURCE_POLICY.as_bytes());
    if let Ok(policy) = policy {
        headers.insert(policy, HeaderValue::from_static("cross-origin"));
    }
    response
}

/// A response about a stream.
pub(super) struct StreamResponse(HttpResponseBuilder);

impl StreamResponse {
    pub(super) fn new(status: StatusCode) -> Self {
        Self(HttpResponseBuilder::new(status))
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.0.insert_header((name, value));
        self
    }

    pub(super) fn cache_control(self, value: &str) -> Self {
        self.header(header::CACHE_CONTROL.as_str(), value)
    }

    pub(super) fn content_type(self, content_type: &ContentType) -> Self {
        self.header(header::CONTENT_TYPE.as_str(), content_type.as_str())
    }

    /// Sets the offset up to which a client has everything.
    pub(super) fn next_offset(self, state: &AppState, position: Position) -> Self {
        self.header(STREAM_NEXT_OFFSET, &wire::offset(state.history.id(position)))
    }

    pub(super) fn up_to_date(self, is_up_to_date: bool) -> Self {
        if is_up_to_date { self.header(STREAM_UP_TO_DATE, "true") } else { self }
    }

    pub(super) fn closed(self, is_closed: bool) -> Self {
        if is_closed { self.header(STREAM_CLOSED, "true") } else { self }
    }

    pub(super) fn lifetime(self, lifetime: Lifetime) -> Self {
        match lifetime {
            Lifetime::Unlimited => self,
            Lifetime::AfterUse { seconds } => self.header(STREAM_TTL, &seconds.to_string()),
            Lifetime::Until(time) => self.header(STREAM_EXPIRES_AT, &time.to_string()),
        }
    }

    pub(super) fn producer(self, epoch: u64, seq: u64) -> Self {
        self.header(PRODUCER_EPOCH, &epoch.to_string()).header(PRODUCER_SEQ, &seq.to_string())
    }

    pub(super) fn empty(mut self) -> HttpResponse {
        self.0.finish()
    }

    pub(super) fn body(mut self, body: Vec<u8>) -> HttpResponse {
        self.0.body(body)
    }
}

/// Tells a producer that is refused for another reason than a gap that there is none: the client from npm would send
/// its write again indefinitely.
pub(super) fn deny_gap(response: &mut HttpResponse, write: &ProducerWrite) {
    let names = [PRODUCER_EXPECTED_SEQ, PRODUCER_RECEIVED_SEQ];
    let names = names.map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
    for name in names.into_iter().flatten() {
        if !response.headers().contains_key(&name) {
            response.headers_mut().insert(name, HeaderValue::from(write.seq));
        }
    }
}

/// Returns the response to an append that is refused, with the state that its client needs.
pub(super) fn refused_append(
    state: &AppState,
    name: &StreamName,
    refusal: &CommandRefusal,
    problem: &Problem,
) -> HttpResponse {
    let mut response = problem.error_response();
    let mut set = |name: &'static str, value: String| {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    };
    match refusal {
        CommandRefusal::Closed => {
            set(STREAM_CLOSED, "true".to_owned());
            if let Some(found) = state.history.stream_state(name) {
                set(STREAM_NEXT_OFFSET, wire::offset(state.history.id(found.last)));
            }
        }
        CommandRefusal::StaleEpoch { current } => set(PRODUCER_EPOCH, current.to_string()),
        CommandRefusal::SeqGap { expected, received } => {
            set(PRODUCER_EXPECTED_SEQ, expected.to_string());
            set(PRODUCER_RECEIVED_SEQ, received.to_string());
        }
        _ => {}
    }
    response
}

/// Returns the content type of a stream.
pub(super) fn content_type_of(found: &StreamState) -> ContentType {
    let record = found.record.as_ref();
    record.map_or_else(ContentType::json, |record| record.properties.content_type.clone())
}

/// Returns the lifetime of a stream.
pub(super) fn lifetime_of(found: &StreamState) -> Lifetime {
    found.record.as_ref().map_or(Lifetime::Unlimited, |record| record.properties.lifetime)
}
