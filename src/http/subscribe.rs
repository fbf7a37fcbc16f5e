//! `GET /events` and `GET /streams/{stream}/events`.

use super::body::{EventBody, Stalled};
use super::guard::{caller, client};
use super::openapi::{BodyRefused, HistoryRefused, Refused, Subscribed};
use super::problem::{Code, Problem};
use super::query::{self, SubscribeQuery};
use super::received::{members, read_body};
use super::refusal::{counted, turn_away};
use super::requests::{self, Told};
use super::server::{Hub, shard};
use super::shapes::{Reading, Subscription};
use super::socket::Shared;
use crate::access::{Caller, Scope};
use crate::event::{EventId, Interest, Invalid, Position, StreamName};
use crate::hub::{Holder, Opening, Outlet, Refusal, Subscribe};
use crate::journal::{History, JournalError, Start, now};
use crate::limits::Limit;
use crate::telemetry::{Full, Turned};
use crate::wire::{self, Format, Gap, Resume};
use actix_web::http::header::{self, HeaderName};
use actix_web::http::{Method, Version};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The header that says where a client is, in both directions.
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// `GET /events?stream=SELECTOR&stream=…`
#[utoipa::path(get, path = "/events", tag = "subscribe",
    params(
        ("stream" = Vec<String>, Query, description = "Streams, or patterns of their names"),
        Reading,
        ("Last-Event-ID" = Option<String>, Header, description = "Go on after this event"),
    ),
    responses(Subscribed, Refused, HistoryRefused),
    security((), ("bearer" = []), ("cookie" = []), ("ticket" = []))
)]
pub(super) async fn events(hub: Data<Hub>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    counted(&hub, subscribe(&hub, &request, (Vec::new(), None)).await)
}

/// `GET /streams/{stream}/events`
#[utoipa::path(get, path = "/streams/{stream}/events", tag = "subscribe",
    params(
        ("stream" = String, Path, pattern = r"^[^\s*\x00-\x1f\x7f-\x9f]{1,255}$", description = "The stream"),
        Reading,
        ("Last-Event-ID" = Option<String>, Header, description = "Go on after this event"),
    ),
    responses(Subscribed, Refused, HistoryRefused),
    security((), ("bearer" = []), ("cookie" = []), ("ticket" = []))
)]
pub(super) async fn stream_events(
    hub: Data<Hub>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let subscribed = match query::stream_of(&request) {
        Ok(stream) => subscribe(&hub, &request, (Vec::new(), Some(stream))).await,
        Err(invalid) => Err(Problem::query(invalid)),
    };
    counted(&hub, subscribed)
}

/// `POST /events` with the same in a body: for selectors without end, and for clients that can send
/// headers. What the query says is said, too.
#[utoipa::path(post, path = "/events", tag = "subscribe",
    request_body(content = Subscription),
    params(("Last-Event-ID" = Option<String>, Header, description = "Go on after this event")),
    responses(Subscribed, Refused, BodyRefused, HistoryRefused),
    security((), ("bearer" = []), ("cookie" = []))
)]
pub(super) async fn events_by_body(
    hub: Data<Hub>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    let subscribed = match read_members(&hub, &request, body).await {
        Ok(members) => subscribe(&hub, &request, (members, None)).await,
        Err(problem) => Err(problem),
    };
    counted(&hub, subscribed)
}

/// What a body says, as pairs of a query.
async fn read_members(
    hub: &Hub,
    request: &HttpRequest,
    body: Payload,
) -> Result<Vec<(String, String)>, Problem> {
    if caller(hub, request)?.grants.subscribe == Scope::default() {
        // Nor need its body be read.
        return Err(Problem::new(Code::Forbidden, "reading is not granted"));
    }
    let body = read_body(hub, request, body).await?;
    query::pairs_of_members(&members(&body)?).map_err(Problem::query)
}

async fn subscribe(
    hub: &Data<Hub>,
    request: &HttpRequest,
    (members, stream): (Vec<(String, String)>, Option<StreamName>),
) -> Result<HttpResponse, Problem> {
    let caller = caller(hub, request)?;
    let mut pairs = query::pairs(request.query_string()).map_err(Problem::query)?;
    pairs.extend(members);
    let mut query =
        query::read(&pairs, stream, hub.settings.heartbeat, now()).map_err(Problem::query)?;
    check_selectors(hub, &query.interest)?;
    query.interest = granted(&caller, query.interest)?;
    query.view.format = query.format.unwrap_or_else(|| accepted(request));
    if query.view.columns.is_some() && query.view.format != Format::Csv {
        let why = Invalid::new("columns", "only a table has columns: format=csv");
        return Err(Problem::query(why));
    }
    let as_status = query.refusal_as_status || query.view.format != Format::Sse;
    if hub.draining.load(Ordering::Relaxed) {
        return Ok(turn_away(hub, request, Refusal::Draining, as_status));
    }
    if !hub.memory.has_room() {
        return Ok(turn_away(hub, request, Refusal::Limit(Limit::MemoryBudget), as_status));
    }
    let requested = last_event_id(request).or(query.last_event_id.clone());
    let interest = Arc::new(query.interest.clone());
    if is_finished(hub, &interest, requested.as_deref(), query.start).await? {
        return Ok(finished(hub).finish());
    }
    let holder = Holder { client: client(hub, request), subject: caller.counted_as() };
    let wanted = Subscribe { interest: interest.clone(), view: query.view.clone(), holder };
    let seat = match shard(hub).seat(wanted).await {
        Ok(seat) => seat,
        Err(refusal) => return Ok(turn_away(hub, request, refusal, as_status)),
    };
    let place = begin(hub, interest, requested.clone(), query.start, seat.through).await?;
    let until = (!query.follow).then(|| hub.history.head());
    let from = hub.history.id(place.cursor).to_string();
    let is_resumed = requested.is_some() && place.resume == Resume::Resumed;
    if is_resumed && until.is_some_and(|until| place.cursor >= until) {
        // Whoever comes back for more would come back for ever. The id tells it from a stream that has
        // ended; whoever is to hear of a gap hears of it first.
        return Ok(finished(hub).insert_header((LAST_EVENT_ID, from)).finish());
    }
    let id = seat.subscription.id();
    let socket = own_socket(request);
    let outlet = socket.clone().map(|socket| socket as Rc<dyn Outlet>);
    let opening = opening(hub, &query, &place, (requested.as_deref(), id), caller);
    seat.subscription.begin(Opening { outlet, until, ..opening });
    hub.telemetry.session_opened(place.resume.as_str());
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, query.view.format.content_type()))
        .insert_header((header::CACHE_CONTROL, "no-cache, no-transform"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header(("X-Accel-Buffering", "no"))
        .insert_header((LAST_EVENT_ID, from));
    if socket.is_some() {
        // It serves nothing more once its stream has ended.
        response.force_close();
    }
    let stalled = Stalled::default();
    response.extensions_mut().insert(stalled.clone());
    let streams = query.interest.selectors().len();
    let told = Told::Session { id, streams, resume: place.resume.as_str() };
    let is_old = request.version() < Version::HTTP_11;
    let connection = request.conn_data::<Rc<Shared>>().filter(|_| is_old).cloned();
    let body = EventBody::new(seat.subscription, socket, connection, stalled);
    Ok(requests::with(response.body(body), told))
}

/// The format that its `Accept` asks for.
fn accepted(request: &HttpRequest) -> Format {
    let accept = request.headers().get_all(header::ACCEPT).filter_map(|v| v.to_str().ok());
    Format::accepted(&accept.collect::<Vec<_>>().join(","))
}

/// Whether it names no more streams and patterns than one subscription may.
fn check_selectors(hub: &Hub, interest: &Interest) -> Result<(), Problem> {
    let most = hub.limits.load().hub.of(Limit::Selectors).map_or(u64::MAX, |bound| bound.most);
    let count = interest.selectors().len() as u64;
    hub.selectors.note(count, count > most);
    match count > most {
        false => Ok(()),
        true => {
            let why = format!("a subscription names at most {most} selectors, this one {count}");
            Err(Problem::new(Code::Validation, why).field("stream").limit(Limit::Selectors))
        }
    }
}

/// What of it the caller may read.
fn granted(caller: &Caller, interest: Interest) -> Result<Interest, Problem> {
    let refuse = |why: String| Err(Problem::new(Code::Forbidden, why).field("stream"));
    if let Some(vain) = interest.selectors().iter().find(|selector| selector.is_vain()) {
        return refuse(format!("no wildcard reaches the streams of {vain}; name them"));
    }
    let readable = caller.grants.readable(interest.selectors())?;
    match readable.is_empty() {
        true => refuse("reading none of these streams is granted".into()),
        false => Ok(interest.narrowed(readable)?),
    }
}

/// The id of the header; one that is no text is an id all the same, and means nothing here.
fn last_event_id(request: &HttpRequest) -> Option<String> {
    let value = request.headers().get(LAST_EVENT_ID)?;
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    (!text.is_empty()).then_some(text)
}

/// Where a session starts, and what became of its resume.
struct Place {
    cursor: Position,
    resume: Resume,
    gap: Option<Gap>,
    told: u64,
    ended: Vec<StreamName>,
}

/// The answer that ends an EventSource: nothing is left, and nothing will come.
fn finished(hub: &Hub) -> HttpResponseBuilder {
    hub.telemetry.subscriber_refused(Turned::Finished);
    let mut answer = HttpResponse::NoContent();
    answer.insert_header((header::CACHE_CONTROL, "no-store"));
    answer
}

/// Whether nothing is left for this subscriber and nothing will come.
async fn is_finished(
    hub: &Data<Hub>,
    interest: &Arc<Interest>,
    requested: Option<&str>,
    start: Start,
) -> Result<bool, Problem> {
    let place = requested.and_then(|text| hub.history.resolve(EventId::parse(text).ok()?));
    if !hub.history.may_be_finished(interest, place.is_some()) {
        return Ok(false);
    }
    let (interest, unknown) = (interest.clone(), requested.is_some() && place.is_none());
    off_thread(hub, move |history| {
        let cursor = match place {
            Some(place) => place,
            None if unknown => Position::ZERO,
            None => history.place(&interest, start)?,
        };
        history.is_finished(&interest, cursor, place.is_some())
    })
    .await
}

/// Finds the place to start at; without I/O where nothing can have been removed.
async fn begin(
    hub: &Data<Hub>,
    interest: Arc<Interest>,
    requested: Option<String>,
    start: Start,
    through: Position,
) -> Result<Place, Problem> {
    let history = &hub.history;
    let told = history.removals();
    let place = move |cursor, resume| Place { cursor, resume, gap: None, told, ended: Vec::new() };
    let Some(requested) = requested else {
        let cursor = match start {
            Start::Now => through,
            start => off_thread(hub, move |history| history.place(&interest, start)).await?,
        };
        return Ok(place(cursor, Resume::Live));
    };
    let known = EventId::parse(&requested).ok().and_then(|id| history.resolve(id));
    let all_there = || {
        let names = interest.exact_streams().unwrap_or_default();
        names.iter().all(|name| history.has_history(name))
    };
    if let Some(cursor) = known.filter(|known| !history.removed_after(*known) && all_there()) {
        return Ok(place(cursor, Resume::Resumed));
    }
    off_thread(hub, move |history| match known {
        Some(cursor) => resume(history, &interest, cursor),
        None => {
            let first = history.first(&interest, (Position::ZERO, through))?;
            Ok(place(first.before(), Resume::Reset))
        }
    })
    .await
}

/// Tries to say how much is missing while more goes; then it is said to be unknown.
const TRIES_TO_COUNT: usize = 4;

/// Goes on from a known place, and finds out whether everything after it is still there.
fn resume(history: &History, interest: &Interest, cursor: Position) -> Result<Place, JournalError> {
    let ended = history.deleted_by(interest, cursor)?;
    let mut tries = 0;
    loop {
        let told = history.removals();
        let Some(mut gap) = history.gap(interest, cursor, 0)? else {
            return Ok(Place { cursor, resume: Resume::Resumed, gap: None, told, ended });
        };
        let first = history.first(interest, (cursor, history.head()))?;
        gap.first = first.found().map(|first| history.id(first));
        tries += 1;
        let is_exact = history.removals() == told;
        if is_exact || tries == TRIES_TO_COUNT {
            gap.missed = gap.missed.filter(|_| is_exact);
            let cursor = first.before();
            return Ok(Place { cursor, resume: Resume::Gap, gap: Some(gap), told, ended });
        }
    }
}

fn opening(
    hub: &Hub,
    query: &SubscribeQuery,
    place: &Place,
    (requested, session): (Option<&str>, uuid::Uuid),
    caller: Arc<Caller>,
) -> Opening {
    let retry_ms = hub.pace.retry_ms();
    let (view, mut lines) = (&query.view, Vec::new());
    if view.has_control() {
        let opening = wire::Opening {
            session,
            resume: place.resume,
            requested,
            from: hub.history.id(place.cursor),
            gap: place.gap,
        };
        wire::hub_open(&mut lines, view.format, retry_ms, &opening);
    } else if view.format == Format::Sse {
        // Alone it would be an empty message to some: it goes into the first event's block.
        wire::retry(&mut lines, retry_ms);
    }
    let mut names = Vec::new();
    if let Some(columns) = &view.columns {
        wire::header(&mut names, columns, view.envelope);
    }
    let (first_block, prefix) =
        if view.has_control() { (lines, Vec::new()) } else { (names, lines) };
    let some = |bytes: Vec<u8>| Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty());
    let (first_block, prefix) = (some(first_block), some(prefix));
    let (cursor, told, ended) = (place.cursor, place.told, place.ended.clone());
    let (beat, resume) = (query.beat, place.resume);
    Opening {
        cursor,
        until: None,
        told,
        ended,
        first_block,
        prefix,
        beat,
        resume,
        outlet: None,
        flush: query.flush,
        caller,
    }
}

/// The socket, where the session may have it: where actix would send the body in chunks.
fn own_socket(request: &HttpRequest) -> Option<Rc<Shared>> {
    // actix frames the answer to a request for an upgrade in its own way.
    let in_chunks = request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && !request.headers().contains_key(header::UPGRADE);
    request.conn_data::<Rc<Shared>>().filter(|_| in_chunks).cloned()
}

/// Runs what may wait for a disk off the worker thread, with a bound on how many do.
pub(super) async fn off_thread<T: Send + 'static>(
    hub: &Data<Hub>,
    work: impl FnOnce(&History) -> Result<T, JournalError> + Send + 'static,
) -> Result<T, Problem> {
    let history = hub.history.clone();
    let failed = |why: String| Problem::from(JournalError::other(why));
    if hub.lookups.available_permits() == 0 {
        hub.telemetry.bound_hit(Full::DiskLookups);
    }
    // The permit goes with the work, which is done also when nobody waits for it any more.
    let permit = hub.lookups.clone().acquire_owned().await.map_err(|e| failed(e.to_string()))?;
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&history);
        drop(permit);
        done
    })
    .await;
    Ok(done.map_err(|e| failed(e.to_string()))??)
}
