//! Reading a chat, for the native API and for OpenAI's.

use crate::access::Caller;
use crate::event::{EventId, Position};
use crate::http::api::chats::chat_body::ChatBody;
use crate::http::api::subscribe::{self, SubscribeRequest};
use crate::http::error::{Code, Problem};
use crate::http::extract::last_event_id::requested_id;
use crate::http::extract::query::{self, ReaderOptions, SubscribeQuery};
use crate::http::history::read_history;
use crate::http::state::AppState;
use crate::journal::now;
use crate::source::{Chat, ChatReader, Chats};
use crate::wire::Format;
use crate::wire::chat::{Native, Redaction, ResponseFormat, Transcript};
use actix_web::body::MessageBody;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use std::sync::Arc;

/// Detail of the problem for a chat of which the journal's size limit has removed a part.
const CUT: &str = "a part of the chat is no longer stored";

/// A reader of a chat.
pub(crate) struct ChatReadRequest {
    pub(crate) caller: Arc<Caller>,
    pub(crate) chat: Arc<Chat>,
    pub(crate) reader: ChatReader,
    pub(crate) format: ResponseFormat,
    /// Id to resume after.
    pub(crate) requested: Option<String>,
    pub(crate) options: ReaderOptions,
}

/// Returns the options that a request's query has for reading a chat.
pub(crate) fn options_of(
    state: &AppState,
    request: &HttpRequest,
) -> Result<ReaderOptions, Problem> {
    let pairs = query::pairs(request.query_string()).map_err(Problem::query)?;
    ReaderOptions::read(&pairs, state.settings.heartbeat, now()).map_err(Problem::query)
}

/// Returns the id that a request resumes after, from its header or its query.
pub(crate) fn requested(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let pairs = query::pairs(request.query_string()).map_err(Problem::query)?;
    let in_query = query::last_event_id(&pairs).map_err(Problem::query)?;
    Ok(requested_id(request, in_query))
}

/// Opens a session on a chat.
pub(crate) async fn open(
    state: &Data<AppState>,
    request: &HttpRequest,
    reading: ChatReadRequest,
) -> Result<HttpResponse, Problem> {
    let ChatReadRequest { caller, chat, reader, format, requested, options } = reading;
    if options.start.is_none() && requested.is_none() {
        require_start(state, &chat).await?;
    }
    let stream = chat.stream.clone();
    let mut query = SubscribeQuery::of_stream(stream, options).map_err(Problem::query)?;
    query.view.format = Format::Records;
    let wrap = Some(Box::new(|session| ChatBody::new(session, format, reader).boxed()) as _);
    subscribe::open(
        state,
        request,
        SubscribeRequest { query, requested, denied: Vec::new(), caller, wrap },
    )
    .await
}

/// Fails if the start of a chat was removed, so that a reader does not take the rest for the whole.
async fn require_start(state: &Data<AppState>, chat: &Chat) -> Result<(), Problem> {
    let stream = chat.stream.clone();
    let view = read_history(state, move |history| history.stream(&stream)).await?;
    if view.is_some_and(|view| view.events < view.published) {
        Err(Problem::new(Code::Gone, CUT))
    } else {
        Ok(())
    }
}

/// Returns the native format, that of the hub's own events.
pub(crate) async fn native(
    state: &Data<AppState>,
    chat: &Arc<Chat>,
    requested: Option<&str>,
    is_accumulated: bool,
    reports_disconnect: bool,
) -> Result<ResponseFormat, Problem> {
    let redactions = redactions(state, chat).await?;
    let mut text = is_accumulated.then(String::new);
    let position = requested.and_then(|id| state.history.resolve(EventId::parse(id).ok()?));
    if let (Some(text), Some(position)) = (&mut text, position) {
        let before = transcript(state, chat, Some(position)).await?.text();
        *text = Redaction::apply(&redactions, &before, 0);
    }
    let format = Native::new(redactions, text);
    let format =
        if reports_disconnect { format.with_disconnect_event(requested.is_some()) } else { format };
    Ok(ResponseFormat::Native(format))
}

/// Returns the redactions of a chat.
pub(crate) async fn redactions(
    state: &Data<AppState>,
    chat: &Arc<Chat>,
) -> Result<Vec<Redaction>, Problem> {
    if chat.is_redacted() {
        Ok(transcript(state, chat, None).await?.redactions().to_vec())
    } else {
        Ok(Vec::new())
    }
}

/// Reads a chat up to a position, or up to its newest event.
pub(crate) async fn transcript(
    state: &Data<AppState>,
    chat: &Arc<Chat>,
    until: Option<Position>,
) -> Result<Transcript, Problem> {
    let chat = chat.clone();
    let read = read_history(state, move |history| Chats::transcript(history, &chat, until));
    match read.await? {
        cut if cut.is_cut => Err(Problem::new(Code::Gone, CUT)),
        transcript => Ok(transcript),
    }
}

/// Returns the caller and the chat of an event's id, if the caller may read the chat.
pub(crate) async fn readable_by_event(
    state: &Data<AppState>,
    request: &HttpRequest,
    id: &str,
) -> Result<(Arc<Caller>, Arc<Chat>), Problem> {
    let gone = || Problem::new(Code::Gone, "the chat to resume no longer exists");
    let position =
        EventId::parse(id).ok().and_then(|id| state.history.resolve(id)).ok_or_else(gone)?;
    let streams = read_history(state, move |history| history.streams_at(position)).await?;
    let chat = streams.iter().find_map(|stream| state.chats.of_stream(stream)).ok_or_else(gone)?;
    crate::http::api::chats::authorization::readable(state, request, &chat.id).map_err(|problem| {
        match problem.code {
            Code::NotFound | Code::Gone => gone(),
            _ => problem,
        }
    })
}
