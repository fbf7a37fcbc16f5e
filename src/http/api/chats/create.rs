//! Creating a chat, for the native API and for OpenAI's.

use crate::access::Caller;
use crate::event::Key;
use crate::http::api::chats::authorization;
use crate::http::error::{Code, Problem};
use crate::http::extract::body::read_body;
use crate::http::extract::client::client;
use crate::http::extract::idempotency_key::{IDEMPOTENCY_KEY, idempotency_key};
use crate::http::state::AppState;
use crate::source::{CreateChat, CreateChatError, CreatedChat};
use crate::telemetry::ChatRefused;
use crate::wire::chat::ChatRequest;
use actix_web::HttpRequest;
use actix_web::web::{Data, Payload};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Conditions under which a chat is created, and kept without readers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CreatePolicy {
    /// True if a repeated request takes the chat over from a client that is gone.
    pub(crate) is_adoptable: bool,
    /// True if the chat stops after a minute without readers.
    pub(crate) stops_without_readers: bool,
    /// True if no chat is created: the chat to continue must exist, or the request fails as gone.
    pub(crate) must_exist: bool,
}

/// Reads the body of a request for a chat.
pub(crate) async fn read_request_body(
    state: &AppState,
    request: &HttpRequest,
    payload: Payload,
) -> Result<Bytes, Problem> {
    let body = read_body(state, request, payload).await?;
    let max = state.chats.max_request_bytes();
    if body.len() > max {
        let why =
            format!("the request exceeds the maximum of {max} bytes (--chat-max-request-bytes)");
        Err(Problem::new(Code::PayloadTooLarge, why).field("body"))
    } else {
        Ok(body)
    }
}

/// Returns the hash of a request's idempotency key.
pub(crate) fn hashed_key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let hash = |key: Key| Sha256::digest(key.as_str());
    let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(idempotency_key(request)?.map(|key| hex(&hash(key))))
}

/// Creates a chat, or returns the chat that was created with the key.
pub(crate) async fn create_chat(
    state: &Data<AppState>,
    request: &HttpRequest,
    caller: &Caller,
    chat_request: ChatRequest,
    key: Option<String>,
    policy: CreatePolicy,
) -> Result<CreatedChat, Problem> {
    let models = state.chats.models();
    let model = chat_request.model.as_deref().or(models.first().map(|(model, _)| model.as_str()));
    if let Some(model) = model
        && !caller.grants.may_chat(model)
    {
        let why = format!("permission denied: you cannot use model {model:?}");
        return Err(Problem::new(Code::Forbidden, why).field("model"));
    }
    let CreatePolicy { is_adoptable, stops_without_readers, must_exist } = policy;
    let (owner, client) = (authorization::owner(caller)?, client(state, request));
    let create = CreateChat {
        ask: chat_request,
        owner,
        client,
        key,
        is_adoptable,
        stops_without_readers,
        must_exist,
    };
    let created = state.chats.create(create).await?;
    if created.replayed {
        state.chats.metrics().replayed();
    }
    Ok(created)
}

impl From<CreateChatError> for Problem {
    fn from(why: CreateChatError) -> Self {
        let detail = why.to_string();
        match why {
            CreateChatError::UnknownModel(_) => Self::new(Code::NotFound, detail).field("model"),
            CreateChatError::KeyTaken => Self::new(Code::Validation, detail).field(IDEMPOTENCY_KEY),
            CreateChatError::Gone => Self::new(Code::Gone, detail).field(IDEMPOTENCY_KEY),
            CreateChatError::TooManyKnown => {
                Self::new(Code::ResourceExhausted, detail).retry_after(60)
            }
            CreateChatError::AtMost(limit, _) => Self::limit_reached(limit, detail).retry_after(5),
            CreateChatError::Refused(refused) => refused.into(),
        }
    }
}

/// Counts a refusal by its reason.
pub(crate) fn count_refusal<T>(state: &AppState, result: Result<T, Problem>) -> Result<T, Problem> {
    result.inspect_err(|problem| state.chats.metrics().refused(reason(problem)))
}

fn reason(problem: &Problem) -> ChatRefused {
    let by_code = || match problem.code {
        Code::Unauthorized | Code::TokenExpired | Code::Forbidden => ChatRefused::Forbidden,
        Code::NotFound => ChatRefused::NotFound,
        Code::Gone => ChatRefused::Gone,
        Code::PayloadTooLarge => ChatRefused::TooLarge,
        Code::Validation if problem.field.as_deref() == Some(IDEMPOTENCY_KEY) => {
            ChatRefused::KeyTaken
        }
        Code::TooMany | Code::ResourceExhausted | Code::Unresponsive => ChatRefused::Busy,
        Code::Draining => ChatRefused::Draining,
        Code::DiskFull | Code::JournalPoisoned | Code::LogUnavailable | Code::Unconfirmed => {
            ChatRefused::Journal
        }
        Code::ClientDisconnected | Code::ConnectionTimeout => ChatRefused::Client,
        Code::ServerError => ChatRefused::Error,
        Code::Malformed
        | Code::Validation
        | Code::Misdirected
        | Code::MethodNotAllowed
        | Code::NotImplemented
        | Code::Conflict => ChatRefused::Invalid,
    };
    problem.limit.and_then(ChatRefused::of_limit).unwrap_or_else(by_code)
}
