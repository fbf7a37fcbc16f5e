//! POST: appends to a stream, or closes it.

use super::headers::{self, malformed};
use super::response::{StreamResponse, content_type_of, deny_gap, finish, refused_append};
use super::{existing, found, messages, stream_of};
use crate::event::durable::{Append, CommandRefusal, ContentType, StreamChange, StreamCommand};
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
use actix_web::http::StatusCode;
use actix_web::web::{self, Data};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use std::time::Instant;

/// Responds once the messages are as durable as `--durability` promises.
pub(super) async fn post(
    state: Data<AppState>,
    request: HttpRequest,
    body: web::Payload,
) -> HttpResponse {
    let mut response = finish(append(&state, &request, body).await);
    if response.status() == StatusCode::CONFLICT
        && let Ok(Some(write)) = headers::producer(&request)
    {
        deny_gap(&mut response, &write);
    }
    response
}

async fn append(
    state: &AppState,
    request: &HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let answer = match prepared(state, request, body).await {
        Ok((source, name, append)) => apply(state, request, source, name, append).await,
        Err(problem) => Err((problem, None)),
    };
    match answer {
        Ok(response) => Ok(response),
        Err((problem, Some((name, refusal)))) => {
            let response = refused_append(state, &name, &refusal, &problem);
            count_refusal(state, Err(problem)).or(Ok(response))
        }
        Err((problem, None)) => count_refusal(state, Err(problem)),
    }
}

/// Size of the body of an append, and the time from which it is measured.
struct Received {
    body_bytes: usize,
    started: Instant,
}

/// Checks an append as far as that is possible before its place in the order is known.
async fn prepared(
    state: &AppState,
    request: &HttpRequest,
    body: web::Payload,
) -> Result<(Received, StreamName, Append), Problem> {
    let caller = require_caller(state, request)?;
    let name = stream_of(state, request)?;
    check_publish(&caller, &name)?;
    let (close, seq) = (headers::closes(request)?, headers::seq(request)?);
    let producer = headers::producer(request)?;
    found(state, &name).await?;
    let body = read_body(state, request, body).await?;
    let received = Received { body_bytes: body.len(), started: Instant::now() };
    let found = existing(state, &name)?;
    if body.is_empty() && !close {
        return Err(malformed("body", "an append has data"));
    }
    if found.is_ended && !body.is_empty() {
        // The journal decides whether it was applied before; without messages it can only be refused.
        let append =
            Append { created: found.created, drafts: Vec::new(), seq, producer, close: false };
        return Ok((received, name, append));
    }
    let drafts = match headers::content_type(request)? {
        _ if body.is_empty() => Vec::new(),
        Some(content_type) => own_messages(state, &name, &found, &content_type, &body)?,
        None => return Err(malformed("Content-Type", "an append has a Content-Type")),
    };
    if drafts.is_empty() && !body.is_empty() {
        return Err(malformed("body", "an empty array appends nothing"));
    }
    Ok((received, name, Append { created: found.created, drafts, seq, producer, close }))
}

/// Returns the messages of a body that has the type of its stream.
fn own_messages(
    state: &AppState,
    name: &StreamName,
    found: &StreamState,
    content_type: &ContentType,
    body: &Bytes,
) -> Result<Vec<Draft>, Problem> {
    let own = content_type_of(found);
    if !own.matches(content_type) {
        let why = format!("stream {name:?} has the type {:?}", own.as_str());
        return Err(Problem::new(Code::Conflict, why).field("Content-Type"));
    }
    messages::read(name, &own, body, state.settings.max_event_bytes)
}

/// A problem and, if the journal refused the append, why.
type Refused = (Problem, Option<(StreamName, CommandRefusal)>);

async fn apply(
    state: &AppState,
    request: &HttpRequest,
    received: Received,
    name: StreamName,
    append: Append,
) -> Result<HttpResponse, Refused> {
    let caller = require_caller(state, request).map_err(|problem| (problem, None))?;
    let owner = quota_owner(state, request, &caller);
    let Received { body_bytes, started } = received;
    let protocol = Protocol::DurableStreams;
    let source = PublishSource { owner: &owner, body_bytes, started, protocol };
    let (close, producer, messages) = (append.close, append.producer.clone(), append.drafts.len());
    let change = StreamChange::Append(append);
    let command = StreamCommand { stream: name.clone(), change };
    let applied = ingest_command(state, source, command).await;
    let (status, position, seq) = match applied.map_err(|problem| (problem, None))? {
        Ok(receipt) => {
            let is_new = producer.is_some() && messages > 0;
            let status = if is_new { StatusCode::OK } else { StatusCode::NO_CONTENT };
            (status, receipt.id.position, producer.as_ref().map(|write| write.seq))
        }
        Err(CommandRefusal::Applied { seq }) => {
            let found = existing(state, &name).map_err(|problem| (problem, None))?;
            state.lifetimes.touch(&name, &found);
            (StatusCode::NO_CONTENT, found.last, seq)
        }
        Err(refusal) => return Err((refusal.clone().into(), Some((name, refusal)))),
    };
    let is_closed = close || existing(state, &name).is_ok_and(|found| found.is_ended);
    let mut response = StreamResponse::new(status).next_offset(state, position).closed(is_closed);
    if let (Some(write), Some(seq)) = (&producer, seq) {
        response = response.producer(write.epoch, seq);
    }
    let outcome = RequestOutcome::Published { events: messages, streams: 1 };
    Ok(outcome::with_outcome(response.empty(), outcome))
}
