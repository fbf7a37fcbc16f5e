//! Tickets for one chat, for the URL of an EventSource.

use crate::access::{Caller, KeyError, TicketSpec};
use crate::event::{Position, Selector, Timestamp};
use crate::http::api::chats::authorization;
use crate::http::api::chats::create::count_refusal;
use crate::http::api::tickets::ttl;
use crate::http::error::{Code, Problem};
use crate::http::extract::body::{parse_object, read_body};
use crate::http::history::read_history;
use crate::http::openapi::chat_errors::ChatTicketErrors;
use crate::http::openapi::{chat_examples, examples};
use crate::http::state::AppState;
use crate::journal::now;
use crate::source::Chat;
use actix_web::http::header;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;
use uuid::Uuid;

/// Default lifetime of a chat's ticket for opening new connections.
const DEFAULT_TTL: Duration = Duration::from_secs(60 * 60);

/// A ticket for a chat.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChatTicket {
    ticket: String,
    expires_at: String,
}

/// Request body of `POST /chats/{id}/tickets`.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatTicketRequest {
    /// Lifetime for opening new connections, such as `10m`: at most an hour, which is the default.
    #[schema(pattern = r"^([1-9]\d{0,3}(ms|s)|[1-9]m|[1-5]\dm|60m|1h)$")]
    ttl: Option<String>,
}

/// `POST /chats/{id}/tickets`
#[utoipa::path(post, path = "/chats/{id}/tickets", tag = "chats",
    summary = "Create a ticket for a chat",
    description = "Creates a ticket that reads one chat and allows nothing else, for the URL of \
        an EventSource. Requires ownership of the chat, or the grant `admin`. It opens new \
        connections for `ttl`, an hour by default.",
    params(("id" = String, Path, description = "Id of the chat")),
    request_body(content = ChatTicketRequest, example = chat_examples::ticket_request),
    responses(
        (status = 200, description = "The ticket", body = ChatTicket, example = examples::ticket),
        ChatTicketErrors,
    )
)]
pub(crate) async fn tickets(
    state: Data<AppState>,
    request: HttpRequest,
    id: Path<String>,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    let (caller, chat) = count_refusal(&state, authorization::changeable(&state, &request, &id))?;
    let body = count_refusal(&state, read_body(&state, &request, body).await)?;
    let ticket_request: ChatTicketRequest = if body.trim_ascii().is_empty() {
        ChatTicketRequest::default()
    } else {
        count_refusal(&state, parse_object(&body))?
    };
    let ttl = ticket_request.ttl.as_deref().map_or(Ok(DEFAULT_TTL), ttl).map_err(Problem::from);
    let validity = Validity::FromNow(now(), count_refusal(&state, ttl)?);
    let (ticket, expires_at) = ticket(&state, &caller, &chat, validity).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(ChatTicket { ticket, expires_at }))
}

/// Start and lifetime of a chat's ticket.
#[derive(Clone, Copy)]
pub(crate) enum Validity {
    /// Counted from the beginning of the chat, so that each call returns the same ticket.
    SinceCreation,
    /// A new ticket, with the time at which it is made and its lifetime.
    FromNow(Timestamp, Duration),
}

/// Makes a ticket for one chat; returns it with the time after which it opens no new connections.
pub(crate) async fn ticket(
    state: &Data<AppState>,
    caller: &Caller,
    chat: &Arc<Chat>,
    validity: Validity,
) -> Result<(String, String), Problem> {
    let stream = chat.stream.clone();
    let first = read_history(state, move |history| history.stream(&stream)).await?;
    let first = first.and_then(|view| view.first).unwrap_or(Position::ZERO);
    let (issued_at, ttl, seed) = match validity {
        Validity::SinceCreation => {
            let seed = Uuid::parse_str(&chat.id).map(|id| id.as_u64_pair().0).ok();
            (chat.created, DEFAULT_TTL, seed)
        }
        Validity::FromNow(at, ttl) => (at, ttl, None),
    };
    let access = state.access.load();
    let end = access.ends(caller, issued_at);
    let until = issued_at.plus_ms(ttl.as_millis() as u64).min(end);
    let spec = TicketSpec {
        streams: vec![Selector::Exact(chat.stream.clone())],
        head: state.history.id(first),
        made: issued_at,
        until,
        end,
        seed,
    };
    let failed = |error: KeyError| Problem::new(Code::ServerError, error.to_string());
    Ok((access.mint(caller, &spec).map_err(failed)?, until.to_string()))
}
