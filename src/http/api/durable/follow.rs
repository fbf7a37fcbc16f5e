//! Live reads: a long-poll for the next data, or Server-Sent Events.

use super::chunk::{Read, read_chunk, respond};
use super::headers::malformed;
use super::response::{SSE_DATA_ENCODING, STREAM_CURSOR, StreamResponse};
use crate::event::Position;
use crate::http::api::rejection::reject_subscriber;
use crate::http::api::session::{self, SessionHead, Subscriber, admission_refusal};
use crate::http::error::Problem;
use crate::http::state::AppState;
use crate::hub::{Heartbeat, PendingSession, SessionStart};
use crate::journal::{StreamState, now};
use crate::wire::{self, FollowState, FollowView, Format, MessageForm, Resume, View};
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderName;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use std::sync::Arc;
use std::time::Duration;

/// Way in which a client reads what comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Live {
    LongPoll,
    Sse,
}

impl Live {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "long-poll" => Ok(Self::LongPoll),
            "sse" => Ok(Self::Sse),
            _ => Err(malformed("live", format!("{text:?} is neither long-poll nor sse"))),
        }
    }
}

/// Registers the session of a reader, and returns it with the state of the stream after that; or the response that
/// rejects it.
async fn register(
    state: &Data<AppState>,
    request: &HttpRequest,
    read: &Read,
) -> Result<Result<(PendingSession, StreamState), HttpResponse>, Problem> {
    let by_status = true;
    if let Some(refusal) = admission_refusal(state, true) {
        return Ok(Err(reject_subscriber(state, request, refusal, Format::Follow, by_status)));
    }
    let follow = Some(FollowView { form: read.form(), cursor: read.cursor });
    let view = View { format: Format::Follow, without_control: true, follow, ..View::default() };
    let subscriber = Subscriber {
        interest: Arc::new(read.interest()?),
        view,
        caller: &read.caller,
        rejected_by_status: by_status,
    };
    let session = match session::register(state, request, subscriber).await {
        Ok(session) => session,
        Err(response) => return Ok(Err(response)),
    };
    let found = super::existing(state, &read.name)?;
    Ok(Ok((session, found)))
}

fn start(state: &AppState, read: &Read, cursor: Position) -> SessionStart {
    SessionStart {
        cursor,
        until: None,
        seen_removals: state.history.removals(),
        ended: Vec::new(),
        first_block: None,
        prefix: None,
        heartbeat: Heartbeat {
            every_s: state.settings.heartbeat.as_secs().max(1),
            as_event: false,
        },
        resume: Resume::Resumed,
        sink: None,
        flush: None,
        caller: read.caller.clone(),
        max_time: None,
    }
}

/// Responds with the data after an offset as soon as there is some, and without data after a time.
pub(super) async fn long_poll(
    state: &Data<AppState>,
    request: &HttpRequest,
    read: Read,
) -> Result<HttpResponse, Problem> {
    let after = read.position(state)?;
    let view = FollowView { form: read.form(), cursor: read.cursor };
    let mut read = read;
    let mut chunk = read_chunk(state, &read, after).await?;
    if !chunk.has_messages && !chunk.is_closed && chunk.is_up_to_date {
        let (mut session, found) = match register(state, request, &read).await? {
            Ok(registered) => registered,
            Err(response) => return Ok(response),
        };
        if found.last <= chunk.next {
            let mut start = start(state, &read, chunk.next);
            start.heartbeat.every_s = u64::from(u32::MAX);
            state.telemetry.session_opened(Format::Follow.protocol(), start.resume.as_str());
            session.subscription.begin(start);
            let next = std::future::poll_fn(|cx| session.subscription.poll_next(cx));
            // Whatever has come, or nothing, the stream is read once more.
            let _ = tokio::time::timeout(poll_time(state), next).await;
        }
        read.found = super::existing(state, &read.name)?;
        chunk = read_chunk(state, &read, after).await?;
    }
    let cursor = view.cursor(now());
    if chunk.has_messages {
        return Ok(respond(state, request, &read, chunk, Some(cursor)));
    }
    let response = StreamResponse::new(StatusCode::NO_CONTENT)
        .cache_control("no-store")
        .next_offset(state, chunk.next)
        .up_to_date(chunk.is_up_to_date)
        .closed(chunk.is_closed)
        .header(STREAM_CURSOR, &cursor.to_string());
    Ok(response.empty())
}

fn poll_time(state: &AppState) -> Duration {
    state.settings.durable.as_ref().map_or(Duration::ZERO, |settings| settings.poll)
}

/// Sends the data after an offset as Server-Sent Events.
pub(super) async fn events(
    state: &Data<AppState>,
    request: &HttpRequest,
    read: Read,
) -> Result<HttpResponse, Problem> {
    let after = read.position(state)?;
    let (session, found) = match register(state, request, &read).await? {
        Ok(registered) => registered,
        Err(response) => return Ok(response),
    };
    let mut start = start(state, &read, after);
    start.max_time = state.settings.durable.as_ref().map(|settings| settings.sse);
    // A reader of what was removed waits for what comes.
    if found.last <= after || found.removed_to >= found.last {
        let next = state.history.id(found.last.max(after));
        let view = FollowView { form: read.form(), cursor: read.cursor };
        let control = FollowState { next, is_up_to_date: true, is_closed: found.is_ended };
        let mut block = Vec::new();
        wire::follow_control(&mut block, &view, &control, now());
        start.first_block = Some(block.into());
        // The session of a closed stream ends with that block.
        start.until = found.is_ended.then_some(after);
    }
    let mut headers = Vec::new();
    if read.form() == MessageForm::Binary
        && let Ok(name) = HeaderName::from_bytes(SSE_DATA_ENCODING.as_bytes())
    {
        headers.push((name, "base64".to_owned()));
    }
    let head = SessionHead { format: Format::Follow, selectors: 1, headers, wrap: None };
    Ok(session::start(state, request, session.subscription, start, head))
}
