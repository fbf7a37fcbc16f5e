//! `/v1/…`: OpenAI's API, for its unchanged clients.
//!
//! `Accept` is ignored, because SDKs send `application/json` even if they want a stream.

use crate::access::Caller;
use crate::http::api::chats::authorization;
use crate::http::api::chats::create::{self, CreatePolicy, create_chat};
use crate::http::api::chats::read::{self, ChatReadRequest};
use crate::http::error::{Code, Problem, openai};
use crate::http::extract::last_event_id::{LAST_EVENT_ID, requested_id};
use crate::http::extract::query::{self, ReaderOptions};
use crate::http::openapi::chat_errors::{CancelErrors, CompletionErrors, StoredCompletionErrors};
use crate::http::openapi::chat_examples;
use crate::http::outcome::{self, RequestOutcome};
use crate::http::state::AppState;
use crate::source::{Chat, ChatProgress, ChatReader, StopBy};
use crate::wire::chat::{ChatRequest, Completions, ResponseFormat, chunk_id, completion_object};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Header with the id of the chat.
pub(crate) const CHAT_ID: HeaderName = HeaderName::from_static("fanfare-chat-id");
/// Header that says that the chat existed already.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Header that selects what happens to a chat whose client disconnects.
const ON_DISCONNECT: &str = "fanfare-on-disconnect";
/// Header with the number of times that an SDK has sent the request before.
const RETRY_COUNT: &str = "x-stainless-retry-count";
/// Maximum time that the head of an answer waits for the head of the upstream's answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time from stopping a chat to its end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Requested form of an answer.
struct Form {
    stream: bool,
    wants_usage: bool,
    /// Number of events that the client has already.
    after: u64,
}

/// A chat with its reader.
struct AttachedReader {
    caller: Arc<Caller>,
    chat: Arc<Chat>,
    reader: ChatReader,
    replayed: bool,
}

/// `POST /v1/chat/completions`
#[utoipa::path(post, path = "/v1/chat/completions", tag = "openai",
    summary = "Create a chat completion",
    description = "Creates a chat and returns its answer in OpenAI's form, as a whole or, with \
        `stream`, in chunks; `n` must be 1. Requires the grant `chat` for the model, and costs \
        the tokens of one request to it. With an idempotency key a repeated request returns the \
        first answer, after `starting_after` if that is given. Without a subscriber the chat stops \
        after a minute.",
    params(
        ("Idempotency-Key" = Option<String>, Header,
         description = "Idempotency key: a repeated request returns the chat of the first one"),
        ("Last-Event-ID" = Option<String>, Header,
         description = "Resumes after the chunk with this `fanfare.seq`"),
        ("starting_after" = Option<u64>, Query,
         description = "Same as `Last-Event-ID`, which it overrides"),
        ("Fanfare-On-Disconnect" = Option<String>, Header,
         description = "`stop` (default) stops the chat a minute after its last subscriber has \
                        disconnected; `continue` lets it finish"),
    ),
    request_body(content = Object, examples(
        ("streamed" = (summary = "Streamed answer",
                       value = json!(chat_examples::streamed_completion_request()))),
        ("whole" = (summary = "Whole answer", value = json!(chat_examples::completion_request()))),
    )),
    responses(
        (status = 200, description = "The answer; chunks also have `fanfare.seq`, their position",
         content(
            (Object = "application/json", example = chat_examples::completion),
            (String = "text/event-stream", example = chat_examples::chunks),
        )),
        CompletionErrors,
    )
)]
pub(crate) async fn create(
    state: Data<AppState>,
    request: HttpRequest,
    payload: Payload,
) -> HttpResponse {
    openai_response(&state, create_one(&state, &request, payload).await)
}

async fn create_one(
    state: &Data<AppState>,
    request: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let caller = authorization::require_chat_caller(state, request)?;
    let (key, after) = (create::hashed_key(request)?, after(request)?);
    let (is_adoptable, stops_without_readers) = (key.is_none(), stops_without_readers(request)?);
    let policy = CreatePolicy { is_adoptable, stops_without_readers, must_exist: false };
    let chat_request =
        ChatRequest::completion(&create::read_request_body(state, request, payload).await?)?;
    let form = Form { stream: chat_request.stream, wants_usage: chat_request.include_usage, after };
    let owner = authorization::owner(&caller)?;
    let adopted = (policy.is_adoptable && is_retry(request))
        .then(|| state.chats.adopt(owner.as_ref(), &chat_request.fingerprint))
        .flatten();
    let attached = match adopted {
        Some((chat, reader)) => AttachedReader { caller, chat, reader, replayed: true },
        None => {
            let policy = CreatePolicy { must_exist: after > 0, ..policy };
            let created = create_chat(state, request, &caller, chat_request, key, policy).await?;
            let (chat, replayed) = (created.chat, created.replayed);
            let reader = chat.read();
            AttachedReader { caller, chat, reader, replayed }
        }
    };
    answer(state, request, attached, form).await
}

/// `GET /v1/chat/completions/{id}`
#[utoipa::path(get, path = "/v1/chat/completions/{id}", tag = "openai",
    summary = "Get a chat completion",
    description = "Returns the answer of an existing chat once it is complete, or streams it with \
        `stream=true`, after the chunk `starting_after` if that is given. Requires ownership of \
        the chat, its ticket, or the grant `admin`. Never runs the model.",
    params(
        ("id" = String, Path, description = "Id of the completion, as in its chunks"),
        ("stream" = Option<bool>, Query,
         description = "`true` streams the answer; otherwise it is returned once it is complete"),
        ("starting_after" = Option<u64>, Query,
         description = "Resumes after the chunk with this `fanfare.seq`"),
    ),
    responses(
        (status = 200, description = "The answer", content(
            (Object = "application/json", example = chat_examples::completion),
            (String = "text/event-stream", example = chat_examples::chunks),
        )),
        StoredCompletionErrors,
    )
)]
pub(crate) async fn get(
    state: Data<AppState>,
    request: HttpRequest,
    id: Path<String>,
) -> HttpResponse {
    let result = async {
        let (caller, chat) = authorization::readable(&state, &request, chunk_id(&id))?;
        let pairs = query::pairs(request.query_string()).map_err(Problem::query)?;
        let stream_value = query::single(&pairs, &["stream"]).map_err(Problem::query)?;
        let form = Form {
            stream: stream_value.is_some_and(|stream| stream == "true" || stream == "1"),
            wants_usage: true,
            after: after(&request)?,
        };
        let reader = chat.read();
        answer(&state, &request, AttachedReader { caller, chat, reader, replayed: true }, form)
            .await
    };
    openai_response(&state, result.await)
}

/// `POST /v1/chat/completions/{id}/cancel`
#[utoipa::path(post, path = "/v1/chat/completions/{id}/cancel", tag = "openai",
    summary = "Cancel a chat completion",
    description = "Stops a chat and returns its answer so far, after at most five seconds. \
        Requires ownership of the chat, or the grant `admin`. Idempotent: a chat that has ended \
        stays as it is.",
    params(("id" = String, Path, description = "Id of the completion, as in its chunks")),
    responses(
        (status = 200, description = "The answer so far", body = Object,
         content_type = "application/json", example = chat_examples::completion),
        CancelErrors,
    )
)]
pub(crate) async fn cancel(
    state: Data<AppState>,
    request: HttpRequest,
    id: Path<String>,
) -> HttpResponse {
    let cancelled = async {
        let (_, chat) = authorization::changeable(&state, &request, chunk_id(&id))?;
        state.chats.stop(&chat, StopBy::User);
        // The chat is stopped even if the journal does not take its end yet.
        let _ = tokio::time::timeout(STOP_TIMEOUT, chat.until(ChatProgress::is_over)).await;
        let transcript = read::transcript(&state, &chat, None).await?;
        Ok(with_id(
            HttpResponse::Ok().json(completion_object(&chat.id, &chat.model, &transcript)),
            &chat,
        ))
    };
    openai_response(&state, cancelled.await)
}

/// Waits for the upstream and returns its answer.
async fn answer(
    state: &Data<AppState>,
    request: &HttpRequest,
    attached: AttachedReader,
    form: Form,
) -> Result<HttpResponse, Problem> {
    let AttachedReader { caller, chat, reader, replayed } = attached;
    let is_enough = |progress: &ChatProgress| {
        // This hub does not know when the upstream of another one answers.
        let has_begun = match progress {
            ChatProgress::Answered => true,
            ChatProgress::Begun => !chat.is_own(),
            _ => false,
        };
        progress.is_over() || form.stream && has_begun
    };
    let progress = if form.stream {
        tokio::time::timeout(HEAD_TIMEOUT, chat.until(is_enough)).await.ok()
    } else {
        Some(chat.until(is_enough).await)
    };
    if let Some(ChatProgress::Refused(why)) = progress {
        return Err(why.into());
    }
    let mut response = if form.stream {
        match early_failure(state, &chat, progress, form.after).await? {
            Some(failed) => failed,
            None => {
                let streamed = stream(state, request, caller, chat.clone(), reader, &form).await;
                if !replayed && streamed.as_ref().map_or(true, |r| !r.status().is_success()) {
                    // The chat was created for this request and now has no reader.
                    state.chats.stop(&chat, StopBy::NoReaders);
                }
                return streamed.map(|response| as_replayed(response, replayed));
            }
        }
    } else {
        whole_answer(state, &chat).await?
    };
    reader.acknowledge_all();
    if replayed {
        // The time counts from the original response.
        response.headers_mut().remove(header::RETRY_AFTER);
    }
    response = with_id(response, &chat);
    Ok(as_replayed(response, replayed))
}

/// Returns the whole answer of a chat that has ended, or the error response if it failed.
async fn whole_answer(state: &Data<AppState>, chat: &Arc<Chat>) -> Result<HttpResponse, Problem> {
    let transcript = read::transcript(state, chat, None).await?;
    if let Some(failed) = transcript.end.as_ref().and_then(openai::failed) {
        return Ok(failed);
    }
    if transcript.end.is_none() {
        return Err(Problem::new(Code::Gone, "the end of the chat is no longer stored"));
    }
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(completion_object(&chat.id, &chat.model, &transcript)))
}

/// Returns the error response if the client reads from the start and the chat failed before any
/// output.
async fn early_failure(
    state: &Data<AppState>,
    chat: &Arc<Chat>,
    progress: Option<ChatProgress>,
    after: u64,
) -> Result<Option<HttpResponse>, Problem> {
    let Some(ChatProgress::Over(_, Some(end))) = progress.filter(|_| after == 0) else {
        return Ok(None);
    };
    let Some(failed) = openai::failed(&end) else { return Ok(None) };
    let is_begun = read::transcript(state, chat, None).await?.is_begun();
    Ok((!is_begun).then_some(failed))
}

fn as_replayed(mut response: HttpResponse, replayed: bool) -> HttpResponse {
    if replayed {
        let name = REPLAYED;
        response.headers_mut().insert(name, HeaderValue::from_static("true"));
    }
    response
}

async fn stream(
    state: &Data<AppState>,
    request: &HttpRequest,
    caller: Arc<Caller>,
    chat: Arc<Chat>,
    reader: ChatReader,
    form: &Form,
) -> Result<HttpResponse, Problem> {
    let redactions = read::redactions(state, &chat).await?;
    let format =
        ResponseFormat::Completions(Completions::new(form.after, form.wants_usage, redactions));
    let options = ReaderOptions::new(state.settings.heartbeat);
    let options = ReaderOptions { has_control: Some(false), ..options };
    let streamed_chat = chat.clone();
    let reading = ChatReadRequest { caller, chat, reader, format, requested: None, options };
    let mut response = read::open(state, request, reading).await?;
    if response.status() != StatusCode::OK {
        // The subscriber was refused because of load: reported in OpenAI's form, as retryable.
        let object = json!({
            "message": "the hub cannot accept another subscriber; retry later",
            "type": "server_error",
            "param": null, "code": "resource_exhausted",
        });
        let mut refused = with_id(openai::error(response.status(), &object), &streamed_chat);
        if let Some(wait) = response.headers().get(header::RETRY_AFTER) {
            refused.headers_mut().insert(header::RETRY_AFTER, wait.clone());
        }
        let request_outcome = response.extensions().get::<RequestOutcome>().copied();
        return Ok(match request_outcome {
            Some(request_outcome) => outcome::with_outcome(refused, request_outcome),
            None => refused,
        });
    }
    // The chunks contain their positions.
    response.headers_mut().remove(LAST_EVENT_ID);
    Ok(with_id(response, &streamed_chat))
}

fn with_id(mut response: HttpResponse, chat: &Chat) -> HttpResponse {
    if let Ok(id) = HeaderValue::from_str(&chat.id) {
        response.headers_mut().insert(CHAT_ID, id);
    }
    response
}

/// Returns the number of events that the client has.
fn after(request: &HttpRequest) -> Result<u64, Problem> {
    let pairs = query::pairs(request.query_string()).map_err(Problem::query)?;
    let starting_after = query::single(&pairs, &["starting_after"]).map_err(Problem::query)?;
    match starting_after.map(str::to_owned).or_else(|| requested_id(request, None)) {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| {
            let why = format!("{text:?} is not a number; use the `fanfare.seq` of a chunk");
            Problem::new(Code::Malformed, why).field("starting_after")
        }),
    }
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn is_retry(request: &HttpRequest) -> bool {
    let count =
        header_text(request.headers(), RETRY_COUNT).and_then(|text| text.parse::<u64>().ok());
    count.is_some_and(|count| count > 0)
}

fn stops_without_readers(request: &HttpRequest) -> Result<bool, Problem> {
    match header_text(request.headers(), ON_DISCONNECT) {
        None | Some("stop") => Ok(true),
        Some("continue") => Ok(false),
        Some(other) => {
            let why = format!("{other:?} is neither stop nor continue");
            Err(Problem::new(Code::Malformed, why).field("Fanfare-On-Disconnect"))
        }
    }
}

/// Returns the response, or counts a refusal and returns it in OpenAI's form.
pub(super) fn openai_response(
    state: &AppState,
    result: Result<HttpResponse, Problem>,
) -> HttpResponse {
    create::count_refusal(state, result).unwrap_or_else(|problem| openai::refusal(&problem))
}
