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
const NO_CHAT: &str = "there is no such chat";

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
        // Whoever has such a token would have the chats of all others.
        (None, None, Some(_)) => {
            Err(Problem::new(Code::Forbidden, "a token that chats needs `sub` or `jti`"))
        }
    }
}

/// Returns true if a selector names a chat that the caller may read whatever the grants are.
pub(crate) fn may_read_stream(state: &AppState, caller: &Caller, selector: &Selector) -> bool {
    let chat = selector.exact().and_then(|stream| state.chats.of_stream(stream));
    chat.is_some_and(|chat| may_read(caller, &chat))
}

/// Refuses a subscription to nothing but a chat that is gone, as `/chats/{id}` is refused: its stream would
/// be an empty one that waits for events which never come.
pub(crate) fn refuse_gone(state: &AppState, selectors: &[Selector]) -> Result<(), Problem> {
    let [selector] = selectors else { return Ok(()) };
    match selector.exact().filter(|stream| state.chats.is_of_chat(stream)) {
        Some(stream) => require_present(state, state.chats.of_stream(stream)).map(drop),
        None => Ok(()),
    }
}

/// Returns true if a selector names a chat with redactions.
pub(crate) fn is_redacted(state: &AppState, selector: &Selector) -> bool {
    let chat = selector.exact().and_then(|stream| state.chats.of_stream(stream));
    chat.is_some_and(|chat| chat.is_redacted())
}

/// The chat of an id, for somebody who may read it.
pub(crate) fn readable(
    state: &AppState,
    request: &HttpRequest,
    id: &str,
) -> Result<(Arc<Caller>, Arc<Chat>), Problem> {
    authorize(state, request, id, may_read)
}

/// The same for somebody who may stop it, too.
pub(crate) fn changeable(
    state: &AppState,
    request: &HttpRequest,
    id: &str,
) -> Result<(Arc<Caller>, Arc<Chat>), Problem> {
    authorize(state, request, id, may_change)
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

/// Refuses a chat that is unknown, deleted or not kept any more.
fn require_present(state: &AppState, chat: Option<Arc<Chat>>) -> Result<Arc<Chat>, Problem> {
    match chat {
        Some(chat) if chat.is_deleted() => Err(Problem::new(Code::Gone, "the chat is deleted")),
        // What the cap over the journal took is gone, too.
        Some(chat) if !state.history.has_history(&chat.stream) => {
            Err(Problem::new(Code::Gone, "the chat is not kept any more"))
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
        Err(Problem::new(Code::Forbidden, "asking models is not granted"))
    } else {
        Ok(caller)
    }
}
