//! `GET /sessions`, `DELETE /sessions/{id}` and `GET /presence/{stream}`: sessions and subscribers.

use crate::event::{Invalid, StreamName, Timestamp};
use crate::http::error::{Code, Problem};
use crate::http::extract::identity::require_admin;
use crate::http::extract::query;
use crate::http::openapi::errors::{CloseSessionErrors, ListSessionsErrors, PresenceErrors};
use crate::http::openapi::examples;
use crate::http::peers::{self, Answers};
use crate::http::state::{AppState, manager_unresponsive};
use crate::hub::{GetPresence, SessionFilter, SessionView, close, sessions};
use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::join;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// Default and maximum number of sessions in one response.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;
/// Maximum number of subjects in one response.
const MAX_SUBJECTS: usize = 1_000;

/// A page of sessions.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = SessionList)]
pub(crate) struct List {
    sessions: Vec<Session>,
    /// Value of `after` for the next page, if there is one.
    next: Option<String>,
    /// Number of worker threads that do not answer. Their sessions are missing.
    silent_workers: usize,
    /// Names of other hubs of the cluster that do not answer. Their sessions are missing.
    silent_hubs: Vec<String>,
}

impl List {
    /// Adds the sessions of other hubs, and keeps the first `limit` of all.
    fn merge(&mut self, answers: Answers, limit: usize) {
        self.silent_hubs = answers.silent;
        for other in answers.bodies.iter().filter_map(|body| serde_json::from_slice(body).ok()) {
            let Self { sessions, next, silent_workers, .. } = other;
            self.sessions.extend(sessions);
            self.next = self.next.take().or(next);
            self.silent_workers += silent_workers;
        }
        self.sessions.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let has_more = self.next.is_some() || self.sessions.len() > limit;
        self.sessions.truncate(limit);
        let last = self.sessions.last().filter(|_| has_more);
        self.next = last.map(|session| session.id.clone());
    }
}

/// A session.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct Session {
    id: String,
    /// Name of the hub that has the session; null for a hub without a cluster.
    hub: Option<String>,
    /// The streams and patterns that it reads.
    streams: Vec<String>,
    /// `native` or `mercure`.
    protocol: Cow<'static, str>,
    /// Matchers of topics of a session of the Mercure protocol, whose updates are events of the stream `hub.mercure`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    topics: Vec<String>,
    /// Subject: `key NAME`, or `sub SUB` of a token; null for anonymous readers.
    subject: Option<String>,
    address: String,
    /// Time at which the session began.
    since: String,
    /// Id up to which the session has all events.
    position: String,
    /// `live`, or `catching_up` while it reads from history.
    state: Cow<'static, str>,
    /// Milliseconds since the commit of the oldest event that the session has not taken: 0 if it
    /// has all; null while it reads from history.
    lag: Option<u64>,
    /// Number of bytes in memory that the session has not taken.
    queued_bytes: u64,
    /// Number of events sent to the session.
    sent_events: u64,
    /// Result of the resume: `live`, `resumed`, `gap` or `reset`.
    resume: Cow<'static, str>,
}

impl Session {
    fn new(view: SessionView, hub: Option<&str>) -> Self {
        Self {
            hub: hub.map(str::to_owned),
            id: view.id.to_string(),
            streams: view.streams.iter().map(ToString::to_string).collect(),
            protocol: view.protocol.as_str().into(),
            topics: view.topics,
            subject: view.subject.map(|subject| subject.to_string()),
            address: view.address.to_string(),
            since: Timestamp::from_ms(view.since_ms).to_string(),
            position: view.position.to_string(),
            state: Cow::Borrowed(if view.is_catching_up { "catching_up" } else { "live" }),
            lag: view.lag_ms,
            queued_bytes: view.queued_bytes,
            sent_events: view.sent_events,
            resume: Cow::Borrowed(view.resume),
        }
    }
}

/// `GET /sessions?stream=&subject=&address=&after=&limit=`
#[utoipa::path(get, path = "/sessions", tag = "operators",
    summary = "List sessions",
    description = "Lists open sessions with their streams, subject and lag, sorted by id. \
        Requires the grant `admin`. `next` is the value of `after` for the next page. Sessions of \
        worker threads that do not answer are missing; `silent_workers` is their number. In a \
        cluster, the sessions of all hubs are listed; `silent_hubs` names those that do not answer \
        within a second.",
    params(
        ("stream" = Option<String>, Query,
         description = "Sessions that an event on this stream would go to"),
        ("subject" = Option<String>, Query,
         description = "Sessions of this subject: `key NAME` or `sub SUB`"),
        ("address" = Option<String>, Query, description = "Sessions from this IP address"),
        ("after" = Option<String>, Query,
         description = "Id of the session to continue after: `next` of the previous page"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000,
         description = "Maximum number of sessions in the response, 100 by default"),
        ("hub" = Option<String>, Query, description = "Only sessions of the hub with this name"),
    ),
    responses(
        (status = 200, description = "A page of sessions", body = List,
         example = examples::sessions),
        ListSessionsErrors,
    )
)]
pub(crate) async fn list(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    require_admin(&state, &request)?;
    let filter = session_filter(request.query_string()).map_err(Problem::query)?;
    let limit = filter.limit;
    let (listed, answers) =
        join(sessions(&state.manager, filter), peers::ask_all(&state, &request)).await;
    let listed = listed.ok_or_else(manager_unresponsive)?;
    let last = listed.sessions.last().filter(|_| listed.has_more);
    let hub = state.node.name();
    let mut list = List {
        next: last.map(|session| session.id.to_string()),
        sessions: listed.sessions.into_iter().map(|view| Session::new(view, hub)).collect(),
        silent_workers: listed.unresponsive,
        silent_hubs: Vec::new(),
    };
    list.merge(answers, limit);
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(list))
}

fn session_filter(query: &str) -> Result<SessionFilter, Invalid> {
    let pairs = query::pairs(query)?;
    let value = |name| query::single(&pairs, &[name]);
    let invalid = |name: &str, text: &str, expected| {
        Invalid::new(name, format!("{text:?} is not {expected}"))
    };
    let address = |text: &str| text.parse().map_err(|_| invalid("address", text, "an IP address"));
    let id = |text: &str| Uuid::parse_str(text).map_err(|_| invalid("after", text, "a session id"));
    let limit = |text: &str| match text.parse() {
        Ok(limit @ 1..=MAX_LIMIT) => Ok(limit),
        _ => Err(Invalid::new("limit", format!("must be 1 to {MAX_LIMIT}"))),
    };
    Ok(SessionFilter {
        stream: value("stream")?.map(StreamName::parse).transpose()?,
        subject: value("subject")?.map(str::to_owned),
        address: value("address")?.map(address).transpose()?,
        after: value("after")?.map(id).transpose()?,
        limit: value("limit")?.map_or(Ok(DEFAULT_LIMIT), limit)?,
    })
}

/// `DELETE /sessions/{id}`
#[utoipa::path(delete, path = "/sessions/{id}", tag = "operators",
    summary = "Close a session",
    description = "Closes a session; its client gets `hub-error` with the code \
        `closed_by_operator`. Requires the grant `admin`. The client may reconnect and resume: to \
        keep it out, revoke its credential.",
    params(("id" = String, Path, description = "Id of the session")),
    responses(
        (status = 204, description = "The session was closed"),
        CloseSessionErrors,
    )
)]
pub(crate) async fn delete(
    state: Data<AppState>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    require_admin(&state, &request)?;
    let was_open = match Uuid::parse_str(&id) {
        Ok(id) => close(&state.manager, id).await.ok_or_else(manager_unresponsive)?,
        Err(_) => false,
    };
    if was_open {
        tracing::info!(session = id.as_str(), "an operator closed a session");
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::new(Code::NotFound, format!("unknown session {:?}", *id)))
    }
}

/// Subscribers of a stream.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct Presence {
    stream: String,
    /// Number of sessions that an event on the stream would go to.
    sessions: u32,
    /// Number of anonymous subscribers.
    anonymous: u32,
    /// Other subscribers by subject, most sessions first; at most 1,000.
    subjects: Vec<Subject>,
    /// Total number of subjects.
    subject_count: usize,
    /// Names of other hubs of the cluster that do not answer. Their sessions are not counted.
    silent_hubs: Vec<String>,
}

/// A subject and the number of its sessions on the stream.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct Subject {
    subject: String,
    sessions: u32,
}

/// `GET /presence/{stream}`
#[utoipa::path(get, path = "/presence/{stream}", tag = "operators",
    summary = "List the subscribers of a stream",
    description = "Counts the sessions that an event on the stream would go to, by subject, most \
        sessions first. Requires the grant `admin`. At most 1,000 subjects are listed; \
        `subject_count` is the number of all. In a cluster, the sessions of all hubs are counted; \
        `silent_hubs` names those that do not answer within a second.",
    params(("stream" = String, Path, pattern = r"^[^\s*\x00-\x1f\x7f-\x9f]{1,255}$",
            description = "Name of the stream")),
    responses(
        (status = 200, description = "Subscribers of the stream", body = Presence,
         example = examples::presence),
        PresenceErrors,
    )
)]
pub(crate) async fn presence(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    require_admin(&state, &request)?;
    let stream = query::stream_of(&request).map_err(Problem::query)?;
    let message = GetPresence(stream.clone());
    let (by_subject, answers) = join(state.ask(message), peers::ask_all(&state, &request)).await;
    let by_subject = by_subject?;
    let mut sessions = by_subject.values().sum();
    let mut anonymous = by_subject.get(&None).copied().unwrap_or_default();
    let named = by_subject.into_iter();
    let mut named: BTreeMap<String, u32> =
        named.filter_map(|(subject, sessions)| Some((subject?.to_string(), sessions))).collect();
    for other in &answers.bodies {
        let Ok(other) = serde_json::from_slice::<Presence>(other) else { continue };
        sessions += other.sessions;
        anonymous += other.anonymous;
        for Subject { subject, sessions } in other.subjects {
            *named.entry(subject).or_default() += sessions;
        }
    }
    let named = named.into_iter().map(|(subject, sessions)| Subject { subject, sessions });
    let mut subjects: Vec<Subject> = named.collect();
    subjects.sort_unstable_by(|a, b| {
        b.sessions.cmp(&a.sessions).then_with(|| a.subject.cmp(&b.subject))
    });
    let subject_count = subjects.len();
    subjects.truncate(MAX_SUBJECTS);
    let stream = stream.to_string();
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Presence {
        stream,
        sessions,
        anonymous,
        subjects,
        subject_count,
        silent_hubs: answers.silent,
    }))
}
