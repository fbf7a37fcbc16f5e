//! `GET`, `HEAD` and `QUERY /.well-known/mercure`.

use super::form;
use crate::access::{Caller, Denied, Dialect};
use crate::event::topic::{EARLIEST, MatcherKind, TopicInterest, TopicMatcher, updates};
use crate::event::{Interest, Invalid, Position, StreamName};
use crate::http::api::rejection::{count_rejection, reject_subscriber};
use crate::http::api::session::{self, SessionHead, Subscriber};
use crate::http::error::Problem;
use crate::http::extract::body::read_body_up_to;
use crate::http::extract::identity::{identity, quota_owner};
use crate::http::extract::last_event_id::{LAST_EVENT_ID, requested_id};
use crate::http::extract::mercure::MercureRequest;
use crate::http::extract::query::{self, Pairs};
use crate::http::history::{read_history, wait_for_log};
use crate::http::state::AppState;
use crate::hub::{Heartbeat, SessionStart, SubscribeRejection, Subscription};
use crate::source::{ActiveSubscription, SubscriptionGuard};
use crate::wire::{self, Format, Resume, View};
use actix_web::http::header::{self, HeaderName};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Header of the response to a resume, in the dialect 1.0.
const MERCURE_LAST_EVENT_ID: HeaderName = HeaderName::from_static("mercure-last-event-id");
/// Query parameter of the last event id, in the dialect 1.0.
const LAST_ID: &str = "last_event_id";
/// Name that a polyfill appends when it reconnects, so that it is newer than others beside it.
const POLYFILL_LAST_ID: &str = "lastEventId";
/// Names of the last event id in the dialect 0.x, the first one first.
const OLD_LAST_IDS: [&str; 3] = ["lastEventID", "Last-Event-ID", LAST_ID];
/// Maximum number of matchers of a subscription.
const MAX_MATCHERS: usize = 100;
const MAX_OLD_MATCHERS: usize = 1_000;
/// Maximum size of the parameters in a body, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Maximum interval of heartbeats: some polyfills take a connection for broken after 45 s.
const MAX_HEARTBEAT: Duration = Duration::from_secs(30);

/// Streams the updates of some topics.
pub(super) async fn get(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    count_rejection(&state, subscribe(&state, &request, Pairs::new()).await)
}

/// Streams updates; the parameters may be in the body.
pub(super) async fn query(
    state: Data<AppState>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    let subscribed = match read_parameters(&state, &request, body).await {
        Ok(pairs) => subscribe(&state, &request, pairs).await,
        Err(problem) => Err(problem),
    };
    count_rejection(&state, subscribed)
}

/// Responds with the head of a subscription.
pub(super) async fn head(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (_, plan) = plan(&state, &request, Pairs::new())?;
    let cursor = find_cursor(&state, plan.requested).await?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, Format::Updates.content_type()));
    if let Some((name, id)) = cursor.header(plan.dialect) {
        response.insert_header((name, id));
    }
    Ok(response.finish())
}

async fn read_parameters(
    state: &AppState,
    request: &HttpRequest,
    body: Payload,
) -> Result<Pairs, Problem> {
    // Fails before the body is read.
    authorized(state, request)?;
    form::check_content_type(request)?;
    let max = MAX_BODY_BYTES.min(state.settings.max_body_bytes);
    form::pairs(&read_body_up_to(state, request, body, max).await?)
}

/// A subscription that is granted.
struct Plan {
    dialect: Dialect,
    interest: Interest,
    matchers: Vec<TopicMatcher>,
    requested: Option<String>,
}

/// Checks a subscription; `in_body` are parameters beside those of the query.
fn plan(
    state: &AppState,
    request: &HttpRequest,
    in_body: Pairs,
) -> Result<(Arc<Caller>, Plan), Problem> {
    let (own, caller) = authorized(state, request)?;
    let in_query = query::pairs(request.query_string()).map_err(Problem::query)?;
    let all: Vec<_> = in_query.iter().chain(&in_body).collect();
    let matchers = matchers(&own, &all).map_err(Problem::query)?;
    // The query precedes the body, because names are found from the front.
    let requested = requested_id(request, last_id(own.dialect, &all));
    let interest = interest(state, &own, &caller, &matchers);
    let plan = Plan { dialect: own.dialect, interest, matchers, requested };
    Ok((caller, plan))
}

/// Returns the caller of a subscription: one with a token, or one that may read all streams without.
fn authorized(
    state: &AppState,
    request: &HttpRequest,
) -> Result<(MercureRequest, Arc<Caller>), Problem> {
    let own = MercureRequest::of(request)?;
    let may_read =
        |caller: &Arc<Caller>| caller.topics.is_some() || caller.grants.subscribe.includes_all();
    match identity(request).filter(may_read) {
        Some(caller) => Ok((own, caller)),
        None => Err(own.refused(state, Denied::Missing)),
    }
}

/// Returns the matchers of a subscription, each once. They are counted before any of them is compiled.
fn matchers(
    own: &MercureRequest,
    pairs: &[&(String, String)],
) -> Result<Vec<TopicMatcher>, Invalid> {
    let mut found = BTreeSet::new();
    let mut count = 0;
    for (name, value) in pairs {
        let kind = match (own.dialect, name.as_str()) {
            (Dialect::One, "match" | "match_exact") => MatcherKind::Exact,
            (Dialect::One, "match_urlpattern") => MatcherKind::UrlPattern,
            (Dialect::One, other) if is_reserved_name(other) => {
                let why = "unknown matcher; there are match, match_exact and match_urlpattern";
                return Err(Invalid::new(other, why));
            }
            (Dialect::One, "topic") => {
                let why = "topics are selected with match or match_urlpattern in the version 1.0";
                return Err(Invalid::new("topic", why));
            }
            (Dialect::Zero, "topic") => MatcherKind::Selector,
            _ => continue,
        };
        count += 1;
        found.insert((kind, value.as_str(), name.as_str()));
    }
    let (name, max) = match own.dialect {
        Dialect::One => ("match", MAX_MATCHERS),
        Dialect::Zero => ("topic", MAX_OLD_MATCHERS),
    };
    if !(1..=max).contains(&count) {
        return Err(Invalid::new(name, format!("1 to {max} are needed, got {count}")));
    }
    let mut matchers: Vec<TopicMatcher> = Vec::with_capacity(found.len());
    let mut compiled = 0;
    for (kind, text, name) in found {
        let matcher = TopicMatcher::parse(name, kind, text, &own.settings.url)?;
        compiled += usize::from(matcher.is_compiled());
        if compiled > MAX_MATCHERS {
            let why = format!("a subscription has at most {MAX_MATCHERS} patterns and templates");
            return Err(Invalid::new(name, why));
        }
        // `match` and `match_exact` are the same.
        if matchers.last() != Some(&matcher) {
            matchers.push(matcher);
        }
    }
    Ok(matchers)
}

/// Returns true for names that only matchers may have (Mercure protocol, "Subscription").
fn is_reserved_name(name: &str) -> bool {
    name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("match"))
}

/// Returns the last event id among the parameters.
fn last_id<'a>(dialect: Dialect, pairs: &[&'a (String, String)]) -> Option<&'a str> {
    let names: &[&str] = match dialect {
        Dialect::One => &[LAST_ID],
        Dialect::Zero => &OLD_LAST_IDS,
    };
    let find = |name: &str| pairs.iter().find(|(own, value)| own == name && !value.is_empty());
    let found = find(POLYFILL_LAST_ID).or_else(|| names.iter().find_map(|name| find(name)));
    found.map(|(_, value)| value.as_str())
}

/// Returns the interest of a subscription: the updates of its topics and, if that is configured, the events of
/// streams with the names of topics.
fn interest(
    state: &AppState,
    own: &MercureRequest,
    caller: &Caller,
    matchers: &[TopicMatcher],
) -> Interest {
    let mut streams = Vec::new();
    if own.settings.selects_streams {
        let anonymous = state.access.load().anonymous();
        let may_read = |name: &StreamName| {
            let is_public = anonymous.as_ref().is_some_and(|any| any.grants.subscribe.covers(name));
            let is_granted = is_public || caller.grants.subscribe.covers(name);
            is_granted && !name.is_for_admins() && !name.is_reached_by_name_only()
        };
        let exact = matchers.iter().filter(|matcher| matcher.kind() != MatcherKind::UrlPattern);
        let names = exact.filter_map(|matcher| StreamName::parse(matcher.as_str()).ok());
        streams.extend(names.filter(may_read));
    }
    let readable = caller.topics.as_ref().map(|topics| topics.readable().to_vec());
    let topics = TopicInterest::new(matchers.to_vec(), readable.unwrap_or_default());
    Interest::in_updates(topics, streams)
}

async fn subscribe(
    state: &Data<AppState>,
    request: &HttpRequest,
    in_body: Pairs,
) -> Result<HttpResponse, Problem> {
    let (caller, plan) = plan(state, request, in_body)?;
    if let Some(refusal) = session::admission_refusal(state, true) {
        return Ok(reject_subscriber(state, request, refusal, Format::Updates, false));
    }
    let view = View { format: Format::Updates, without_control: true, ..View::default() };
    let subscriber = Subscriber {
        interest: Arc::new(plan.interest),
        view,
        caller: &caller,
        rejected_by_status: false,
    };
    let mut registration = match session::register(state, request, subscriber).await {
        Ok(registration) => registration,
        Err(response) => return Ok(response),
    };
    let begun = active(&registration.subscription, &caller, plan.dialect, &plan.matchers);
    match begin(state, request, &caller, begun).await {
        Ok(Some(guard)) => registration.subscription.keep(guard),
        Ok(None) => {}
        Err(refusal) => {
            return Ok(reject_subscriber(state, request, refusal, Format::Updates, false));
        }
    }
    let seen_removals = state.history.removals();
    let cursor = find_cursor(state, plan.requested).await?;
    let mut prefix = Vec::new();
    wire::retry(&mut prefix, Format::Updates, state.retry_pacer.retry_ms());
    let heartbeat = state.settings.heartbeat.min(MAX_HEARTBEAT);
    let start = SessionStart {
        cursor: cursor.position(registration.through),
        until: None,
        seen_removals,
        ended: Vec::new(),
        first_block: None,
        prefix: Some(prefix.into()),
        heartbeat: Heartbeat { every_s: heartbeat.as_secs().max(1), as_event: false },
        resume: cursor.resume(),
        sink: None,
        flush: None,
        caller,
        max_time: None,
    };
    let head = SessionHead {
        format: Format::Updates,
        selectors: plan.matchers.len(),
        headers: cursor.header(plan.dialect).into_iter().collect(),
        wrap: None,
    };
    Ok(session::start(state, request, registration.subscription, start, head))
}

/// Publishes that subscriptions begin, if that is configured. Their begin and their end count as publishes of the
/// subscriber.
async fn begin(
    state: &AppState,
    request: &HttpRequest,
    caller: &Caller,
    begun: Vec<ActiveSubscription>,
) -> Result<Option<SubscriptionGuard>, SubscribeRejection> {
    let Some(subscriptions) = &state.subscriptions else { return Ok(None) };
    let (owner, stream) = (quota_owner(state, request, caller), [updates().clone()]);
    let events = begun.iter().flat_map(|one| [one.matcher.len(); 2]).map(|len| (&stream[..], len));
    let spent = state.rates.load().spend(&owner, events);
    spent.map_err(|exceeded| SubscribeRejection::Limit(exceeded.limit))?;
    subscriptions.begin(begun).await.map(Some).map_err(|error| {
        tracing::warn!(%error, "failed to publish the begin of a subscription");
        SubscribeRejection::Unpublished
    })
}

/// Returns the subscriptions of a session, one for each matcher.
fn active(
    subscription: &Subscription,
    caller: &Caller,
    dialect: Dialect,
    matchers: &[TopicMatcher],
) -> Vec<ActiveSubscription> {
    let subscriber = format!("urn:uuid:{}", subscription.id());
    let topics = caller.topics.as_ref();
    let of = |matcher: &TopicMatcher| ActiveSubscription {
        dialect,
        match_type: matcher.kind().as_str(),
        matcher: matcher.as_str().to_owned(),
        subscriber: subscriber.clone(),
        payload: topics.and_then(|topics| topics.payload(matcher)).cloned(),
    };
    matchers.iter().map(of).collect()
}

/// Start of a subscription.
enum Cursor {
    /// New updates only.
    Live,
    /// The updates after one.
    After { position: Position, id: String },
    /// All stored updates: they were requested, or the requested update is not stored.
    Earliest { is_requested: bool },
}

impl Cursor {
    fn position(&self, through: Position) -> Position {
        match self {
            Self::Live => through,
            Self::After { position, .. } => *position,
            Self::Earliest { .. } => Position::ZERO,
        }
    }

    fn resume(&self) -> Resume {
        match self {
            Self::Live | Self::Earliest { is_requested: true } => Resume::Live,
            Self::After { .. } => Resume::Resumed,
            Self::Earliest { is_requested: false } => Resume::Reset,
        }
    }

    /// Returns the header that names the update before the first one that is sent, if one was requested.
    fn header(&self, dialect: Dialect) -> Option<(HeaderName, String)> {
        let name = match dialect {
            Dialect::One => MERCURE_LAST_EVENT_ID,
            Dialect::Zero => LAST_EVENT_ID,
        };
        match self {
            Self::Live => None,
            Self::After { id, .. } => Some((name, id.clone())),
            Self::Earliest { .. } => Some((name, EARLIEST.to_owned())),
        }
    }
}

/// Finds the requested update. Another hub of the cluster may have applied it before this one.
async fn find_cursor(state: &Data<AppState>, requested: Option<String>) -> Result<Cursor, Problem> {
    let Some(id) = requested else { return Ok(Cursor::Live) };
    if id == EARLIEST {
        return Ok(Cursor::Earliest { is_requested: true });
    }
    let any_stream = state.settings.mercure.as_ref().is_some_and(|own| own.selects_streams);
    let find = || {
        let id = id.clone();
        read_history(state, move |history| history.find_update(&id, any_stream))
    };
    let mut position = find().await?;
    let is_known = async || matches!(find().await, Ok(Some(_)));
    if position.is_none() && wait_for_log(state, is_known).await {
        position = find().await?;
    }
    Ok(match position {
        Some(position) => Cursor::After { position, id },
        None => Cursor::Earliest { is_requested: false },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_begin_with_match_are_reserved() {
        for name in ["match", "match_exact", "MATCH", "matchX", "Match_urlpattern"] {
            assert!(is_reserved_name(name), "{name}");
        }
        for name in ["", "mat", "amatch", "topic", "é"] {
            assert!(!is_reserved_name(name), "{name}");
        }
    }

    #[test]
    fn the_id_of_a_polyfill_is_the_newest() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let pairs = [
            pair("last_event_id", "1"),
            pair("lastEventID", "2"),
            pair("lastEventId", ""),
            pair("last_event_id", "3"),
        ];
        let all: Vec<_> = pairs.iter().collect();
        assert_eq!(last_id(Dialect::One, &all), Some("1"));
        assert_eq!(last_id(Dialect::Zero, &all), Some("2"));
        let newest = pair("lastEventId", "4");
        let all: Vec<_> = pairs.iter().chain([&newest]).collect();
        assert_eq!(last_id(Dialect::One, &all), Some("4"));
    }
}
