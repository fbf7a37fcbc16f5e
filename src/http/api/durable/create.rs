//! PUT: creates a stream.

use super::fork::{self, RequestedFork};
use super::headers;
use super::response::{StreamResponse, content_type_of, finish, lifetime_of};
use super::{messages, stream_of};
use crate::event::durable::{
    CommandRefusal, ContentType, Creation, DEFAULT_CONTENT_TYPE, Lifetime, StreamChange,
    StreamCommand, StreamProperties,
};
use crate::event::{Draft, StreamName};
use crate::http::api::publish::{check_publish, count_refusal};
use crate::http::error::{Code, Problem};
use crate::http::extract::body::read_body;
use crate::http::extract::identity::{quota_owner, require_caller};
use crate::http::ingest::{PublishSource, ingest_command};
use crate::http::outcome::{self, RequestOutcome};
use crate::http::state::AppState;
use crate::journal::StreamState;
use crate::telemetry::Protocol;
use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use std::time::Instant;

/// Responds with 201 once the stream is as durable as `--durability` promises, and with 200 if it exists already.
pub(super) async fn put(
    state: Data<AppState>,
    request: HttpRequest,
    body: Payload,
) -> HttpResponse {
    finish(count_refusal(&state, create(&state, &request, body).await))
}

/// Configuration that a request asks for.
struct Requested {
    content_type: Option<ContentType>,
    lifetime: Option<Lifetime>,
    fork: Option<RequestedFork>,
    close: bool,
}

impl Requested {
    fn of(state: &AppState, request: &HttpRequest) -> Result<Self, Problem> {
        Ok(Self {
            content_type: headers::content_type(request)?,
            lifetime: headers::lifetime(request)?,
            fork: fork::requested(state, request)?,
            close: headers::closes(request)?,
        })
    }

    /// Returns the properties of a new stream; `source` is the stream that it is a fork of.
    fn properties(&self, source: Option<&StreamState>) -> StreamProperties {
        let inherited = source.map(content_type_of);
        let content_type = self.content_type.clone().or(inherited);
        let lifetime = self.lifetime.or_else(|| source.map(lifetime_of));
        StreamProperties {
            content_type: content_type.unwrap_or_else(default_content_type),
            lifetime: lifetime.unwrap_or(Lifetime::Unlimited),
            source: None,
        }
    }

    /// Returns true if an existing stream has this configuration.
    fn matches(&self, found: &StreamState) -> bool {
        let source = found.record.as_ref().and_then(|record| record.properties.source.as_ref());
        let is_same_source = match (&self.fork, source) {
            (None, None) => true,
            (Some(fork), Some(source)) => fork.matches(source),
            _ => false,
        };
        let own = content_type_of(found);
        let is_same_type = match &self.content_type {
            Some(requested) => *requested == own,
            None => self.fork.is_some() || own == default_content_type(),
        };
        let is_same_lifetime = match self.lifetime {
            Some(requested) => requested == lifetime_of(found),
            None => self.fork.is_some() || lifetime_of(found) == Lifetime::Unlimited,
        };
        is_same_source && is_same_type && is_same_lifetime && self.close == found.is_ended
    }
}

fn default_content_type() -> ContentType {
    ContentType::parse(DEFAULT_CONTENT_TYPE).unwrap_or_else(|_| ContentType::json())
}

async fn create(
    state: &Data<AppState>,
    request: &HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    let caller = require_caller(state, request)?;
    let name = stream_of(state, request)?;
    check_publish(&caller, &name)?;
    let requested = Requested::of(state, request)?;
    let body = read_body(state, request, body).await?;
    let started = Instant::now();
    let replaces = match state.history.stream_state(&name) {
        Some(found) if state.lifetimes.is_over(&name, &found) => Some(found.created),
        Some(found) => return known(state, request, &requested, &found, &name),
        None => None,
    };
    let (properties, mut drafts) = match &requested.fork {
        Some(fork) => {
            let (source, cut) = fork.resolve(state, &caller, &name).await?;
            let properties = requested.properties(Some(&source));
            if !properties.content_type.matches(&content_type_of(&source)) {
                let why = "a fork has the type of its source";
                return Err(Problem::new(Code::Conflict, why).field("Content-Type"));
            }
            (StreamProperties { source: Some(cut.source), ..properties }, cut.drafts)
        }
        None => (requested.properties(None), Vec::new()),
    };
    drafts.extend(first_messages(state, &name, &properties, &body)?);
    messages::check_count(drafts.len(), state.settings.max_event_bytes)?;
    let messages = drafts.len();
    let creation = Creation { properties, drafts, close: requested.close, replaces };
    let change = StreamChange::Create(creation);
    let owner = quota_owner(state, request, &caller);
    let protocol = Protocol::DurableStreams;
    let source = PublishSource { owner: &owner, body_bytes: body.len(), started, protocol };
    let command = StreamCommand { stream: name.clone(), change };
    match ingest_command(state, source, command).await? {
        Ok(_) => {}
        // Another request was faster.
        Err(CommandRefusal::Exists) => {
            if let Some(found) = state.history.stream_state(&name) {
                return known(state, request, &requested, &found, &name);
            }
        }
        Err(CommandRefusal::Gone) => return Err(gone(&name)),
        Err(refusal) => return Err(refusal.into()),
    }
    let unknown = || Problem::new(Code::Conflict, "the stream was deleted at the same time");
    let found = state.history.stream_state(&name).ok_or_else(unknown)?;
    let response = described(state, request, StatusCode::CREATED, &found);
    let outcome = RequestOutcome::Published { events: messages, streams: 1 };
    Ok(outcome::with_outcome(response, outcome))
}

/// Returns the messages of the body of a creation.
fn first_messages(
    state: &AppState,
    name: &StreamName,
    properties: &StreamProperties,
    body: &Bytes,
) -> Result<Vec<Draft>, Problem> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    messages::read(name, &properties.content_type, body, state.settings.max_event_bytes)
}

/// Returns the response to the creation of a stream that exists.
fn known(
    state: &AppState,
    request: &HttpRequest,
    requested: &Requested,
    found: &StreamState,
    name: &StreamName,
) -> Result<HttpResponse, Problem> {
    if found.record.as_ref().is_some_and(|record| record.is_deleted) {
        return Err(gone(name));
    }
    if !requested.matches(found) {
        let why = format!("stream {name:?} exists with another configuration");
        return Err(Problem::new(Code::Conflict, why));
    }
    Ok(described(state, request, StatusCode::OK, found))
}

fn gone(name: &StreamName) -> Problem {
    let why = format!("stream {name:?} was deleted; its name is free once its forks are deleted");
    Problem::new(Code::Conflict, why)
}

fn described(
    state: &AppState,
    request: &HttpRequest,
    status: StatusCode,
    found: &StreamState,
) -> HttpResponse {
    let connection = request.connection_info();
    let location =
        format!("{}://{}{}", connection.scheme(), connection.host(), request.uri().path());
    StreamResponse::new(status)
        .header(header::LOCATION.as_str(), &location)
        .cache_control("no-store")
        .content_type(&content_type_of(found))
        .next_offset(state, found.last)
        .closed(found.is_ended)
        .lifetime(lifetime_of(found))
        .empty()
}
