//! Tickets for one chat: what a page puts into the URL of its EventSource.

use super::super::openapi::{ChatMissed, HistoryRefused, Refused};
use super::super::problem::{Code, Problem};
use super::super::server::Hub;
use super::super::subscribe::off_thread;
use super::begin::counted;
use super::who;
use crate::access::{Caller, TicketWanted};
use crate::event::{Position, Selector, Timestamp};
use crate::journal::now;
use crate::source::Chat;
use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// How long a chat's ticket opens new connections.
const TICKET_MS: u64 = 60 * 60 * 1000;

/// A ticket for a chat.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ChatTicket {
    ticket: String,
    expires_at: String,
}

/// `POST /chats/{id}/tickets`
#[utoipa::path(post, path = "/chats/{id}/tickets", tag = "chats",
    params(("id" = String, Path, description = "The chat")),
    responses(
        (status = 200, description = "A ticket to read it by", body = ChatTicket),
        ChatMissed,
        Refused, HistoryRefused,
    )
)]
pub(in crate::http) async fn tickets(
    hub: Data<Hub>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let (caller, chat) = counted(&hub, who::changeable(&hub, &request, &id))?;
    let (ticket, expires_at) = ticket(&hub, &caller, &chat, Some(now())).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(ChatTicket { ticket, expires_at }))
}

/// A ticket for one chat: the same one again, unless it is made at another time.
pub(super) async fn ticket(
    hub: &Data<Hub>,
    caller: &Caller,
    chat: &Arc<Chat>,
    made: Option<Timestamp>,
) -> Result<(String, String), Problem> {
    let stream = chat.stream.clone();
    let first = off_thread(hub, move |history| history.stream(&stream)).await?;
    let first = first.and_then(|view| view.first).unwrap_or(Position::ZERO);
    let seed = Uuid::parse_str(&chat.id).map(|id| id.as_u64_pair().0).ok();
    let begun = made.unwrap_or(chat.created);
    let access = hub.access.load();
    let end = access.ends(caller, begun);
    let until = begun.plus_ms(TICKET_MS).min(end);
    let wanted = TicketWanted {
        streams: vec![Selector::Exact(chat.stream.clone())],
        head: hub.history.id(first),
        made: begun,
        until,
        end,
        seed: seed.filter(|_| made.is_none()),
    };
    let failed = |why: String| Problem::new(Code::ServerError, why);
    Ok((access.mint(caller, &wanted).map_err(failed)?, until.to_string()))
}
