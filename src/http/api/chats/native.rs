//! `/chats…` and `POST /chat`.

use crate::access::Caller;
use crate::http::api::chats::authorization;
use crate::http::api::chats::create::{self, CreatePolicy, count_refusal, create_chat};
use crate::http::api::chats::read::{self, ChatReadRequest};
use crate::http::api::chats::shapes::{BegunShape, ChatAsk, ChatShape};
use crate::http::api::chats::ticket::{Validity, ticket};
use crate::http::error::{Code, Problem};
use crate::http::extract::query::{self, ReaderOptions};
use crate::http::openapi::chat_errors::{
    ChatEventsErrors, CreateChatErrors, DeleteChatErrors, ReadChatErrors, StopChatErrors,
    StreamChatErrors,
};
use crate::http::openapi::chat_examples;
use crate::http::openapi::responses::EventResponses;
use crate::http::state::AppState;
use crate::source::{Chat, StopBy};
use crate::wire::chat::ChatRequest;
use actix_web::http::header;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Maximum time that a request waits for a deletion, which continues after it.
const DELETE_TIMEOUT: Duration = Duration::from_secs(10);
/// Policy of native chats, which continue without readers.
const NATIVE_POLICY: CreatePolicy =
    CreatePolicy { is_adoptable: false, stops_without_readers: false, must_exist: false };

/// `POST /chats`
#[utoipa::path(post, path = "/chats", tag = "chats",
    summary = "Create a chat",
    description = "Creates a chat, whose answer is read at `events_url`, also by several \
        subscribers. Requires the grant `chat` for the model, and costs the tokens of one request \
        to it. The chat runs to its end even without subscribers. With an idempotency key a \
        repeated request returns the chat of the first one with status 200.",
    params(("Idempotency-Key" = Option<String>, Header,
            description = "Idempotency key: a repeated request returns the chat of the first one")),
    request_body(content = ChatAsk, examples(
        ("message" = (summary = "One message", value = json!(chat_examples::request()))),
        ("messages" = (summary = "A conversation",
                       value = json!(chat_examples::request_with_messages()))),
    )),
    responses(
        (status = 201, description = "The chat was created", body = BegunShape,
         example = chat_examples::created),
        (status = 200, description = "The chat was created by an earlier request with this key",
         body = BegunShape, example = chat_examples::created),
        CreateChatErrors,
    )
)]
pub(crate) async fn create(
    state: Data<AppState>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    count_refusal(&state, create_one(&state, &request, payload).await)
}

async fn create_one(
    state: &Data<AppState>,
    request: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let caller = authorization::require_chat_caller(state, request)?;
    let key = create::hashed_key(request)?;
    let chat_request =
        ChatRequest::native(&create::read_request_body(state, request, payload).await?)?;
    let created = create_chat(state, request, &caller, chat_request, key, NATIVE_POLICY).await?;
    let chat = &created.chat;
    let (ticket, expires_at) = match chat.ticket.get() {
        Some(ticket) => ticket.clone(),
        None => {
            let minted = ticket(state, &caller, chat, Validity::SinceCreation).await?;
            chat.ticket.get_or_init(|| minted).clone()
        }
    };
    let id = &chat.id;
    let shape = BegunShape {
        id: id.clone(),
        stream: chat.stream.to_string(),
        status: "begun",
        events_url: format!("/chats/{id}/events"),
        stop_url: format!("/chats/{id}/stop"),
        ticket,
        expires_at,
    };
    let mut answer = if created.replayed { HttpResponse::Ok() } else { HttpResponse::Created() };
    if created.replayed {
        answer.insert_header(("Idempotent-Replayed", "true"));
    }
    Ok(answer
        .insert_header((header::LOCATION, format!("/chats/{id}")))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(shape))
}

/// `POST /chat`: creates a chat and streams its answer, for clients that use `fetch`.
#[utoipa::path(post, path = "/chat", tag = "chats",
    summary = "Create a chat and stream it",
    description = "Creates a chat and streams its answer, for clients that use `fetch`. Requires \
        the grant `chat` for the model. The chat continues if the client disconnects; with \
        `Last-Event-ID` the request resumes it and never creates one. `Content-Location` names \
        the chat.",
    params(
        ("Idempotency-Key" = Option<String>, Header,
         description = "Idempotency key: a repeated request returns the chat of the first one"),
        ("Last-Event-ID" = Option<String>, Header,
         description = "Resumes the chat after this event; creates no chat"),
    ),
    request_body(content = ChatAsk, example = chat_examples::request),
    responses(EventResponses, StreamChatErrors)
)]
pub(crate) async fn chat(
    state: Data<AppState>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    count_refusal(&state, create_or_resume(&state, &request, payload).await)
}

async fn create_or_resume(
    state: &Data<AppState>,
    request: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let requested = read::requested(request)?;
    let (caller, chat) = match &requested {
        // fetch-event-source repeats the request when its tab becomes visible again.
        Some(id) => {
            let body = create::read_request_body(state, request, payload).await?;
            if !body.is_empty() {
                ChatRequest::native(&body)?;
            }
            read::readable_by_event(state, request, id).await?
        }
        None => {
            let caller = authorization::require_chat_caller(state, request)?;
            let key = create::hashed_key(request)?;
            let chat_request =
                ChatRequest::native(&create::read_request_body(state, request, payload).await?)?;
            let created =
                create_chat(state, request, &caller, chat_request, key, NATIVE_POLICY).await?;
            (caller, created.chat)
        }
    };
    let location = format!("/chats/{}", chat.id);
    let mut options = read::options_of(state, request)?;
    // A reader that ignores event names would take control events for events of the chat.
    options.has_control.get_or_insert(false);
    // A client that reads by `fetch` understands a status.
    options.refusal_as_status.get_or_insert(true);
    let is_created_here = requested.is_none();
    let opened = open(state, request, caller, chat.clone(), requested, options).await;
    if is_created_here && opened.as_ref().map_or(true, |r| !r.status().is_success()) {
        state.chats.stop(&chat, StopBy::NoReaders);
    }
    let mut response = opened?;
    let name = header::CONTENT_LOCATION;
    if let Ok(value) = header::HeaderValue::from_str(&location) {
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

async fn open(
    state: &Data<AppState>,
    request: &HttpRequest,
    caller: Arc<Caller>,
    chat: Arc<Chat>,
    requested: Option<String>,
    options: ReaderOptions,
) -> Result<HttpResponse, Problem> {
    let pairs = query::pairs(request.query_string()).map_err(Problem::query)?;
    let is_accumulated = match query::single(&pairs, &["accumulated"]).map_err(Problem::query)? {
        None | Some("0" | "false") => false,
        Some("1" | "true") => true,
        Some(_) => {
            let why = "must be 1, 0, true or false";
            return Err(Problem::new(Code::Malformed, why).field("accumulated"));
        }
    };
    let has_control = options.has_control != Some(false);
    let id = requested.as_deref();
    let format = read::native(state, &chat, id, is_accumulated, !has_control).await?;
    let reader = chat.read();
    let reading = ChatReadRequest { caller, chat, reader, format, requested, options };
    read::open(state, request, reading).await
}

/// `GET /chats/{id}/events`
#[utoipa::path(get, path = "/chats/{id}/events", tag = "chats",
    summary = "Stream the events of a chat",
    description = "Streams a chat from its start, or after `Last-Event-ID`, always as Server-Sent \
        Events. Requires ownership of the chat, its ticket, or the grant `admin`. Disconnecting \
        stops no chat. A 204 means that the chat has ended and that no events are left.",
    params(
        ("id" = String, Path, description = "Id of the chat"),
        ("accumulated" = Option<bool>, Query,
         description = "Adds `accumulated`, the whole text so far, to each part of the text"),
        ("Last-Event-ID" = Option<String>, Header, description = "Id of the event to resume after"),
    ),
    responses(EventResponses, ChatEventsErrors),
    security((), ("bearer" = []), ("cookie" = []), ("ticket" = []))
)]
pub(crate) async fn events(
    state: Data<AppState>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let opened = async {
        let (caller, chat) = authorization::readable(&state, &request, &id)?;
        let requested = read::requested(&request)?;
        let options = read::options_of(&state, &request)?;
        open(&state, &request, caller, chat, requested, options).await
    };
    count_refusal(&state, opened.await)
}

/// `GET /chats/{id}`
#[utoipa::path(get, path = "/chats/{id}", tag = "chats",
    summary = "Get a chat",
    description = "Returns a chat with its answer so far. Requires ownership of the chat, its \
        ticket, or the grant `admin`.",
    params(("id" = String, Path, description = "Id of the chat")),
    responses(
        (status = 200, description = "The chat with its answer so far", body = ChatShape,
         example = chat_examples::chat),
        ReadChatErrors,
    ),
    security((), ("bearer" = []), ("cookie" = []), ("ticket" = []))
)]
pub(crate) async fn get(
    state: Data<AppState>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let shape = count_refusal(&state, shape(&state, &request, &id).await)?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(shape))
}

async fn shape(
    state: &Data<AppState>,
    request: &HttpRequest,
    id: &str,
) -> Result<ChatShape, Problem> {
    let (_, chat) = authorization::readable(state, request, id)?;
    let transcript = read::transcript(state, &chat, None).await?;
    let status = transcript.status();
    Ok(ChatShape {
        id: chat.id.clone(),
        stream: chat.stream.to_string(),
        model: chat.model.clone(),
        created_at: chat.created.to_string(),
        status,
        text: transcript.text(),
        reasoning: transcript.reasoning().map(str::to_owned),
        refusal: transcript.refusal().map(str::to_owned),
        tool_calls: transcript.tool_calls(),
        extra: serde_json::to_value(transcript.extra()).ok().filter(|extra| *extra != json!({})),
        finish_reason: transcript.finish_reason().map(str::to_owned),
        usage: transcript.usage.and_then(|usage| serde_json::to_value(usage).ok()),
        error: transcript
            .end
            .filter(|_| status == "error")
            .and_then(|end| serde_json::to_value(end).ok()),
        metadata: transcript.metadata,
    })
}

/// `DELETE /chats/{id}`
#[utoipa::path(delete, path = "/chats/{id}", tag = "chats",
    summary = "Delete a chat",
    description = "Stops a chat and deletes its events; what the journal still holds cannot be \
        decrypted afterwards. Requires ownership of the chat, or the grant `admin`. For \
        `--chat-kept` afterwards the chat and its idempotency key are a 410.",
    params(("id" = String, Path, description = "Id of the chat")),
    responses(
        (status = 204, description = "The chat was stopped and deleted"),
        DeleteChatErrors,
    )
)]
pub(crate) async fn delete(
    state: Data<AppState>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let (_, chat) = count_refusal(&state, authorization::changeable(&state, &request, &id))?;
    let deleted = tokio::time::timeout(DELETE_TIMEOUT, state.chats.delete(&chat)).await;
    let deleted = deleted.map_or_else(
        |_| {
            let why = "the journal accepts no writes; the chat is deleted as soon as it does";
            Err(Problem::new(Code::Unresponsive, why).retry_after(5))
        },
        |deleted| deleted.map_err(Problem::from),
    );
    count_refusal(&state, deleted)?;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /chats/{id}/stop`
#[utoipa::path(post, path = "/chats/{id}/stop", tag = "chats",
    summary = "Stop a chat",
    description = "Stops a chat; the answer so far stays stored, and the last event is \
        `cancelled`. Requires ownership of the chat, or the grant `admin`. Idempotent: a chat \
        that has ended stays as it is.",
    params(("id" = String, Path, description = "Id of the chat")),
    responses(
        (status = 202, description = "The chat is being stopped, or has ended already"),
        StopChatErrors,
    )
)]
pub(crate) async fn stop(
    state: Data<AppState>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let (_, chat) = count_refusal(&state, authorization::changeable(&state, &request, &id))?;
    state.chats.stop(&chat, StopBy::User);
    Ok(HttpResponse::Accepted().finish())
}
