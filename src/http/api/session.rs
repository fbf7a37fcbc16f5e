//! Steps that the subscriptions of all protocols share: admission, registration, start.

use crate::access::Caller;
use crate::event::Interest;
use crate::http::api::event_body::{EventBody, Stalled};
use crate::http::api::rejection::reject_subscriber;
use crate::http::extract::identity::quota_owner;
use crate::http::outcome::{self, RequestOutcome};
use crate::http::session_socket::SessionSocket;
use crate::http::state::AppState;
use crate::hub::{
    DirectSink, PendingSession, SessionStart, Subscribe, SubscribeRejection, Subscription,
};
use crate::limits::Limit;
use crate::wire::{Format, View};
use actix_web::body::BoxBody;
use actix_web::http::header::{self, HeaderName};
use actix_web::http::{Method, Version};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Converts the body of a session, if it is not sent unchanged.
pub(crate) type WrapBody = Box<dyn FnOnce(EventBody) -> BoxBody>;

/// A subscriber, narrowed to what it may read.
pub(crate) struct Subscriber<'a> {
    pub(crate) interest: Arc<Interest>,
    pub(crate) view: View,
    pub(crate) caller: &'a Caller,
    /// True if a rejection is a status, not a stream that an EventSource survives.
    pub(crate) rejected_by_status: bool,
}

/// Registers the session of a subscriber, or returns the response that rejects it.
pub(crate) async fn register(
    state: &Data<AppState>,
    request: &HttpRequest,
    subscriber: Subscriber<'_>,
) -> Result<PendingSession, HttpResponse> {
    let Subscriber { interest, view, caller, .. } = subscriber;
    let (format, by_status) = (view.format, subscriber.rejected_by_status);
    let reject = |rejection| reject_subscriber(state, request, rejection, format, by_status);
    let owner = quota_owner(state, request, caller);
    let message = Subscribe { interest, view, owner };
    state.shard().register(message).await.map_err(reject)
}

/// Returns the reason for which the hub serves no new subscriber now.
pub(crate) fn admission_refusal(state: &AppState, follows: bool) -> Option<SubscribeRejection> {
    if state.draining.load(Ordering::Relaxed) {
        return Some(SubscribeRejection::Draining);
    }
    if follows && state.is_isolated.load(Ordering::Relaxed) {
        return Some(SubscribeRejection::Isolated);
    }
    (!state.memory.has_room()).then_some(SubscribeRejection::Limit(Limit::MemoryBudget))
}

/// Head of the response of a session.
pub(crate) struct SessionHead {
    pub(crate) format: Format,
    /// Number of selectors or matchers, for the access log.
    pub(crate) selectors: usize,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) wrap: Option<WrapBody>,
}

/// Starts a registered session and returns its response.
pub(crate) fn start(
    state: &AppState,
    request: &HttpRequest,
    subscription: Subscription,
    start: SessionStart,
    head: SessionHead,
) -> HttpResponse {
    let (id, resume) = (subscription.id(), start.resume.as_str());
    let socket = session_socket(request).filter(|_| head.wrap.is_none());
    let sink = socket.clone().map(|socket| socket as Rc<dyn DirectSink>);
    subscription.begin(SessionStart { sink, ..start });
    state.telemetry.session_opened(head.format.protocol(), resume);
    let mut response = stream_response(head.format);
    for header in head.headers {
        response.insert_header(header);
    }
    if socket.is_some() {
        // The connection serves no other request after the stream.
        response.force_close();
    }
    let stalled = Stalled::default();
    response.extensions_mut().insert(stalled.clone());
    let outcome = RequestOutcome::Session { id, streams: head.selectors, resume };
    let is_old = request.version() < Version::HTTP_11;
    let connection = request.conn_data::<Rc<SessionSocket>>().filter(|_| is_old).cloned();
    let body = EventBody::new(subscription, socket, connection, stalled);
    let response = match head.wrap {
        Some(wrap) => response.body(wrap(body)),
        None => response.body(body),
    };
    outcome::with_outcome(response, outcome)
}

/// Returns the head of a response that proxies and caches must pass on unchanged and at once.
fn stream_response(format: Format) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, format.content_type()))
        .insert_header((header::CACHE_CONTROL, "no-cache, no-transform"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header(("X-Accel-Buffering", "no"));
    response
}

/// Returns the socket if the session may take it over, that is, if actix would send the body in
/// chunks.
fn session_socket(request: &HttpRequest) -> Option<Rc<SessionSocket>> {
    // actix frames the response to an upgrade request differently.
    let in_chunks = request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && !request.headers().contains_key(header::UPGRADE);
    request.conn_data::<Rc<SessionSocket>>().filter(|_| in_chunks).cloned()
}
