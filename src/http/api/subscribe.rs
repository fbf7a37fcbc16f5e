//! `GET /events` and `GET /streams/{stream}/events`.

use crate::access::{Caller, Scope};
use crate::event::{Interest, Invalid, Selector, StreamName};
#[cfg(feature = "chat")]
use crate::http::api::chats::authorization;
use crate::http::api::rejection::{count_rejection, reject_subscriber};
use crate::http::api::resume_point::{ResumePoint, find_resume_point, is_finished};
use crate::http::api::session::{self, SessionHead, Subscriber, WrapBody};
use crate::http::error::{Code, Problem};
use crate::http::extract::body::{parse_object, read_body};
use crate::http::extract::identity::require_caller;
use crate::http::extract::last_event_id::{LAST_EVENT_ID, requested_id};
use crate::http::extract::query::{self, SubscribeQuery};
use crate::http::openapi::errors::{SubscribeByBodyErrors, SubscribeErrors};
use crate::http::openapi::examples;
use crate::http::openapi::responses::EventResponses;
use crate::http::openapi::shapes::{SubscribeParameters, Subscription};
use crate::http::state::AppState;
use crate::hub::SessionStart;
use crate::journal::now;
use crate::limits::Limit;
use crate::telemetry::SubscribeRejectReason;
use crate::wire::{self, Format, Resume};
use actix_web::http::header::{self};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use std::sync::Arc;

/// `GET /events?stream=SELECTOR&stream=…`
#[utoipa::path(get, path = "/events", tag = "subscribe",
    summary = "Stream events",
    description = "Streams the events of up to 100 streams and patterns in the order of the hub; \
        an event of several of them is sent once. Requires the grant `subscribe` for at least one \
        stream, and is narrowed to what is granted. `Last-Event-ID` resumes after an event, and \
        `hub-open` reports whether events are missing. A slow subscriber does not delay others: \
        it reads from the journal.",
    params(
        ("stream" = Vec<String>, Query, description = "Streams, or patterns of their names"),
        SubscribeParameters,
        ("Last-Event-ID" = Option<String>, Header, description = "Id of the event to resume after"),
    ),
    responses(EventResponses, SubscribeErrors),
    security((), ("bearer" = []), ("cookie" = []), ("ticket" = []))
)]
pub(crate) async fn events(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    count_rejection(&state, subscribe(&state, &request, Vec::new(), None).await)
}

/// `GET /streams/{stream}/events`
#[utoipa::path(get, path = "/streams/{stream}/events", tag = "subscribe",
    summary = "Stream the events of a stream",
    description = "Streams the events of one stream, which need not exist yet. Requires the grant \
        `subscribe` for the stream. The response stays open unless `follow=false`; \
        `Last-Event-ID` resumes after an event. A client that accepts `text/event-stream` gets a \
        refusal at a limit as `hub-error` with status 200, because an EventSource never retries \
        after another status.",
    params(
        ("stream" = String, Path, pattern = r"^[^\s*\x00-\x1f\x7f-\x9f]{1,255}$",
         description = "The stream"),
        SubscribeParameters,
        ("Last-Event-ID" = Option<String>, Header, description = "Id of the event to resume after"),
    ),
    responses(EventResponses, SubscribeErrors),
    security((), ("bearer" = []), ("cookie" = []), ("ticket" = []))
)]
pub(crate) async fn stream_events(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let subscribed = match query::stream_of(&request) {
        Ok(stream) => subscribe(&state, &request, Vec::new(), Some(stream)).await,
        Err(invalid) => Err(Problem::query(invalid)),
    };
    count_rejection(&state, subscribed)
}

/// `POST /events` with the parameters in a body, for long lists of selectors and for clients that
/// can send headers. Parameters in the query apply as well.
#[utoipa::path(post, path = "/events", tag = "subscribe",
    summary = "Stream events, parameters in the body",
    description = "Same as `GET /events`, for lists of streams that are too long for a URL. \
        Requires the grant `subscribe` for at least one stream, and is narrowed to what is \
        granted. Parameters in the query apply as well.",
    params(("Last-Event-ID" = Option<String>, Header,
            description = "Id of the event to resume after")),
    request_body(content = Subscription, example = examples::subscription),
    responses(EventResponses, SubscribeByBodyErrors),
    security((), ("bearer" = []), ("cookie" = []))
)]
pub(crate) async fn events_by_body(
    state: Data<AppState>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    let subscribed = match read_members(&state, &request, body).await {
        Ok(members) => subscribe(&state, &request, members, None).await,
        Err(problem) => Err(problem),
    };
    count_rejection(&state, subscribed)
}

/// Returns the members of a body as query parameters.
async fn read_members(
    state: &AppState,
    request: &HttpRequest,
    body: Payload,
) -> Result<Vec<(String, String)>, Problem> {
    if require_caller(state, request)?.grants.subscribe == Scope::default() {
        // Fails before the body is read.
        return Err(Problem::new(Code::Forbidden, "permission denied: you cannot read any stream"));
    }
    let body = read_body(state, request, body).await?;
    query::pairs_of_members(&parse_object(&body)?).map_err(Problem::query)
}

async fn subscribe(
    state: &Data<AppState>,
    request: &HttpRequest,
    members: Vec<(String, String)>,
    stream: Option<StreamName>,
) -> Result<HttpResponse, Problem> {
    let caller = require_caller(state, request)?;
    let mut pairs = query::pairs(request.query_string()).map_err(Problem::query)?;
    pairs.extend(members);
    let mut query =
        query::read(&pairs, stream, state.settings.heartbeat, now()).map_err(Problem::query)?;
    check_selectors(state, &query.interest)?;
    let requested_selectors = query.interest.selectors().to_vec();
    query.interest = narrow_to_grants(state, &caller, query.interest)?;
    let denied = denied_selectors(requested_selectors, query.interest.selectors());
    query.view.format = query.format.unwrap_or_else(|| accepted_format(request));
    if query.view.columns.is_some() && query.view.format != Format::Csv {
        let why = Invalid::new("columns", "columns require format=csv");
        return Err(Problem::query(why));
    }
    if query.view.without_types && query.view.format != Format::Sse {
        return Err(Problem::query(Invalid::new("as", "as=message requires format=sse")));
    }
    query.refusal_as_status |= query.view.format != Format::Sse;
    let requested = requested_id(request, query.last_event_id.as_deref());
    open(state, request, SubscribeRequest { query, requested, denied, caller, wrap: None }).await
}

/// A request for a session, narrowed to the caller's grants.
pub(crate) struct SubscribeRequest {
    pub(crate) query: SubscribeQuery,
    /// Id to resume after.
    pub(crate) requested: Option<String>,
    /// Requested selectors of which nothing or only a part is granted.
    pub(crate) denied: Vec<Selector>,
    pub(crate) caller: Arc<Caller>,
    pub(crate) wrap: Option<WrapBody>,
}

/// Opens a session, or rejects the subscriber.
pub(crate) async fn open(
    state: &Data<AppState>,
    request: &HttpRequest,
    subscribe_request: SubscribeRequest,
) -> Result<HttpResponse, Problem> {
    let SubscribeRequest { query, requested, denied, caller, wrap } = subscribe_request;
    let (format, rejected_by_status) = (query.view.format, query.refusal_as_status);
    if let Some(refusal) = session::admission_refusal(state, query.follow) {
        return Ok(reject_subscriber(state, request, refusal, format, rejected_by_status));
    }
    let interest = Arc::new(query.interest.clone());
    if is_finished(state, &interest, requested.as_deref(), query.start).await? {
        return Ok(finished(state).finish());
    }
    let (view, caller_ref) = (query.view.clone(), &*caller);
    let subscriber =
        Subscriber { interest: interest.clone(), view, caller: caller_ref, rejected_by_status };
    let registration = match session::register(state, request, subscriber).await {
        Ok(registration) => registration,
        Err(response) => return Ok(response),
    };
    let resume_point =
        find_resume_point(state, interest, requested.clone(), query.start, registration.through)
            .await?;
    let until = (!query.follow).then(|| state.history.head());
    let from = state.history.id(resume_point.cursor).to_string();
    let is_resumed = requested.is_some() && resume_point.resume == Resume::Resumed;
    if is_resumed && until.is_some_and(|until| resume_point.cursor >= until) {
        // Otherwise a client that reconnects for more would do so forever. The id distinguishes
        // this from a stream that has ended. A client that missed events gets its gap first.
        return Ok(finished(state).insert_header((LAST_EVENT_ID, from)).finish());
    }
    let narrowed = (!denied.is_empty())
        .then(|| wire::Narrowed { granted: query.interest.selectors(), denied: &denied });
    let opening = wire::Opening {
        session: registration.subscription.id(),
        resume: resume_point.resume,
        requested: requested.as_deref(),
        from: state.history.id(resume_point.cursor),
        gap: resume_point.gap,
        narrowed,
    };
    let session_start = session_start(state, &query, &resume_point, &opening, caller);
    let session_start = SessionStart { until, ..session_start };
    let selectors = query.interest.selectors().len();
    let head = SessionHead { format, selectors, headers: vec![(LAST_EVENT_ID, from)], wrap };
    Ok(session::start(state, request, registration.subscription, session_start, head))
}

/// Returns the format that `Accept` requests.
fn accepted_format(request: &HttpRequest) -> Format {
    let accept = request.headers().get_all(header::ACCEPT).filter_map(|v| v.to_str().ok());
    Format::accepted(&accept.collect::<Vec<_>>().join(","))
}

/// Fails if a subscription has more selectors than the limit.
pub(crate) fn check_selectors(state: &AppState, interest: &Interest) -> Result<(), Problem> {
    let max = state.limits.load().hub.get(Limit::Selectors).map_or(u64::MAX, |bound| bound.max);
    let count = interest.selectors().len() as u64;
    state.selectors.note(count, count > max);
    if count > max {
        let why =
            format!("{count} selectors are more than the maximum of {max}; raise --max-selectors");
        Err(Problem::new(Code::Validation, why).field("stream").limit(Limit::Selectors))
    } else {
        Ok(())
    }
}

/// Refuses streams of chats, whose redactions and deletions this build does not know.
#[cfg(not(feature = "chat"))]
fn refuse_chats(_: &AppState, selectors: &[Selector]) -> Result<(), Problem> {
    let is_chat = |selector: &Selector| selector.exact().is_some_and(StreamName::is_hidden);
    if selectors.iter().any(is_chat) {
        let why = "streams of chats need the feature \"chat\", which this build lacks";
        Err(Problem::new(Code::Forbidden, why).field("stream"))
    } else {
        Ok(())
    }
}

/// Refuses the stream of the updates of the Mercure protocol, unless admins may read it.
#[cfg(feature = "mercure")]
fn refuse_updates(state: &AppState, selectors: &[Selector]) -> Result<(), Problem> {
    let settings = state.settings.mercure.as_ref();
    let is_readable = settings.is_some_and(|settings| settings.is_readable_as_stream);
    let is_of_updates =
        |selector: &Selector| selector.exact().is_some_and(StreamName::is_of_updates);
    if !is_readable && selectors.iter().any(is_of_updates) {
        let why = "updates are read as a stream only with --mercure-updates";
        return Err(Problem::new(Code::Forbidden, why).field("stream"));
    }
    Ok(())
}

/// Narrows a subscription to what the caller may read.
pub(crate) fn narrow_to_grants(
    state: &AppState,
    caller: &Caller,
    interest: Interest,
) -> Result<Interest, Problem> {
    let refuse = |why: String| Err(Problem::new(Code::Forbidden, why).field("stream"));
    if let Some(unmatchable) =
        interest.selectors().iter().find(|selector| selector.matches_nothing())
    {
        return refuse(format!(
            "wildcards do not match the streams of {unmatchable}; subscribe to them by name"
        ));
    }
    #[cfg(feature = "mercure")]
    refuse_updates(state, interest.selectors())?;
    #[cfg(feature = "chat")]
    authorization::refuse_redacted(state, interest.selectors())?;
    let readable = caller.grants.readable(interest.selectors())?;
    #[cfg(feature = "chat")]
    let readable = authorization::add_readable(state, caller, interest.selectors(), readable);
    #[cfg(not(feature = "chat"))]
    refuse_chats(state, interest.selectors())?;
    if readable.is_empty() {
        return refuse("permission denied: you cannot read any of these streams".into());
    }
    #[cfg(feature = "chat")]
    authorization::refuse_gone(state, interest.selectors())?;
    Ok(interest.narrowed(readable)?)
}

/// Returns the response that ends an EventSource: no events are left, and none will come.
fn finished(state: &AppState) -> HttpResponseBuilder {
    state.telemetry.subscriber_refused(SubscribeRejectReason::Finished);
    let mut answer = HttpResponse::NoContent();
    answer.insert_header((header::CACHE_CONTROL, "no-store"));
    answer
}

/// Returns the requested selectors that `granted` does not cover in full.
fn denied_selectors(requested: Vec<Selector>, granted: &[Selector]) -> Vec<Selector> {
    let is_covered = |selector: &Selector| {
        granted.iter().any(|grant| selector.intersection(grant).as_ref() == Some(selector))
    };
    requested.into_iter().filter(|selector| !is_covered(selector)).collect()
}

fn session_start(
    state: &AppState,
    query: &SubscribeQuery,
    resume_point: &ResumePoint,
    opening: &wire::Opening<'_>,
    caller: Arc<Caller>,
) -> SessionStart {
    let retry_ms = state.retry_pacer.retry_ms();
    let (view, mut lines) = (&query.view, Vec::new());
    if view.has_control() {
        wire::hub_open(&mut lines, view.format, retry_ms, opening);
    } else {
        // Clients may take a block without data for an empty message, so `retry` goes into the
        // first event's block.
        wire::retry(&mut lines, view.format, retry_ms);
    }
    let mut column_names = Vec::new();
    if let Some(columns) = &view.columns {
        wire::header(&mut column_names, columns, view.style());
    }
    let (first_block, prefix) =
        if view.has_control() { (lines, Vec::new()) } else { (column_names, lines) };
    let non_empty = |bytes: Vec<u8>| Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty());
    let (first_block, prefix) = (non_empty(first_block), non_empty(prefix));
    SessionStart {
        cursor: resume_point.cursor,
        until: None,
        seen_removals: resume_point.seen_removals,
        ended: resume_point.ended.clone(),
        first_block,
        prefix,
        heartbeat: query.heartbeat,
        resume: resume_point.resume,
        sink: None,
        flush: query.flush,
        caller,
        max_time: None,
    }
}
