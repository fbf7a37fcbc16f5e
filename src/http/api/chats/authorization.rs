//! Permissions on chats.

use crate::access::Caller;
use crate::event::Selector;
use crate::http::error::{Code, Problem};
use crate::http::extract::identity::require_caller;
use crate::http::state::AppState;
use crate::source::Chat;
use actix_web::HttpRequest;
use std::sync::Arc;

/// Detail of the problem for a chat that does not exist and for one of another subject.
const NO_CHAT: &str = "unknown chat";

/// Returns true if the caller may read a chat: its owner, an admin, or the holder of a ticket for
/// it.
fn may_read(caller: &Caller, chat: &Chat) -> bool {
    if caller.by_ticket { caller.grants.may_read(&chat.stream) } else { may_change(caller, chat) }
}

fn may_change(caller: &Caller, chat: &Chat) -> bool {
    let is_owner = || owner(caller).is_ok_and(|owner| owner == chat.owner);
    !caller.by_ticket && (caller.grants.admin || is_owner())
}

/// Returns the owner of what the caller creates; `None` for anonymous callers.
pub(crate) fn owner(caller: &Caller) -> Result<Option<Arc<str>>, Problem> {
    match (caller.counted_as(), &caller.jti, caller.mark) {
        (Some(subject), _, _) => Ok(Some(subject)),
        (None, Some(jti), _) => Ok(Some(format!("jti {jti}").into())),
        (None, None, None) => Ok(None),
        // Without an owner, such tokens would have access to each other's chats.
        (None, None, Some(_)) => {
            Err(Problem::new(Code::Forbidden, "permission denied: the token needs `sub` or `jti`"))
        }
    }
}

/// Adds the selectors of chats that the caller may read regardless of its grants.
pub(crate) fn add_readable(
    state: &AppState,
    caller: &Caller,
    selectors: &[Selector],
    mut readable: Vec<Selector>,
) -> Vec<Selector> {
    let own = selectors.iter().filter(|selector| {
        let chat = selector.exact().and_then(|stream| state.chats.of_stream(stream));
        chat.is_some_and(|chat| may_read(caller, &chat))
    });
    for selector in own {
        if !readable.contains(selector) {
            readable.push(selector.clone());
        }
    }
    readable
}

/// Refuses a subscription to a single chat that is gone, as `/chats/{id}` does: its stream would
/// be empty and wait for events that never come.
pub(crate) fn refuse_gone(state: &AppState, selectors: &[Selector]) -> Result<(), Problem> {
    let [selector] = selectors else { return Ok(()) };
    match selector.exact().filter(|stream| state.chats.is_of_chat(stream)) {
        Some(stream) => require_present(state, state.chats.of_stream(stream)).map(drop),
        None => Ok(()),
    }
}

/// Refuses a chat with redactions, because its stream contains the redacted parts.
pub(crate) fn refuse_redacted(state: &AppState, selectors: &[Selector]) -> Result<(), Problem> {
    let is_redacted = |selector: &&Selector| {
        let chat = selector.exact().and_then(|stream| state.chats.of_stream(stream));
        chat.is_some_and(|chat| chat.is_redacted())
    };
    match selectors.iter().find(is_redacted) {
        Some(chat) => {
            let why = format!("permission denied: {chat} is redacted; read /chats/{{id}}/events");
            Err(Problem::new(Code::Forbidden, why).field("stream"))
        }
        None => Ok(()),
    }
}

/// Returns the caller and the chat of an id, if the caller may read the chat.
pub(crate) fn readable(
    state: &AppState,
    request: &HttpRequest,
    id: &str,
) -> Result<(Arc<Caller>, Arc<Chat>), Problem> {
    authorize(state, request, id, may_read)
}

/// Returns the caller and the chat of an id, if the caller may change the chat.
pub(crate) fn changeable(
    state: &AppState,
    request: &HttpRequest,
    id: &str,
) -> Result<(Arc<Caller>, Arc<Chat>), Problem> {
    let (caller, chat) = authorize(state, request, id, may_change)?;
    if chat.is_own() || chat.ended().is_some() {
        Ok((caller, chat))
    } else {
        // The request is sent on to the hub that runs it.
        Err(Problem::new(Code::NotFound, NO_CHAT))
    }
}

fn authorize(
    state: &AppState,
    request: &HttpRequest,
    id: &str,
    may: impl Fn(&Caller, &Chat) -> bool,
) -> Result<(Arc<Caller>, Arc<Chat>), Problem> {
    let caller = require_caller(state, request)?;
    let chat = require_present(state, state.chats.find(id).filter(|chat| may(&caller, chat)))?;
    Ok((caller, chat))
}

/// Refuses a chat that is unknown, deleted or no longer stored.
fn require_present(state: &AppState, chat: Option<Arc<Chat>>) -> Result<Arc<Chat>, Problem> {
    match chat {
        Some(chat) if chat.is_deleted() => Err(Problem::new(Code::Gone, "the chat is deleted")),
        // A chat that the journal's size limit has removed is gone as well.
        Some(chat) if !state.history.has_history(&chat.stream) => {
            Err(Problem::new(Code::Gone, "the chat is no longer stored"))
        }
        Some(chat) => Ok(chat),
        None => Err(Problem::new(Code::NotFound, NO_CHAT)),
    }
}

/// Returns the caller, if it may use any model.
pub(crate) fn require_chat_caller(
    state: &AppState,
    request: &HttpRequest,
) -> Result<Arc<Caller>, Problem> {
    let caller = require_caller(state, request)?;
    if caller.by_ticket || caller.grants.chat.is_empty() {
        Err(Problem::new(Code::Forbidden, "permission denied: you cannot use any model"))
    } else {
        Ok(caller)
    }
}
