//! `POST /tickets`: credentials for an EventSource, which cannot send headers.

use crate::access::{MAX_CREDENTIAL_BYTES, Scope, TicketSpec};
use crate::config::duration;
use crate::event::{Interest, Invalid, Selector};
use crate::http::error::{Code, Problem};
use crate::http::extract::body::{parse_object, read_body};
use crate::http::extract::identity::require_caller;
use crate::http::openapi::errors::TicketErrors;
use crate::http::openapi::examples;
use crate::http::state::AppState;
use crate::journal::now;
use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// Lifetime of a ticket for new connections: default and maximum.
const DEFAULT_TTL: Duration = Duration::from_secs(600);
const MAX_TTL: Duration = Duration::from_secs(3600);

/// A request for a ticket.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TicketRequest {
    /// Streams, or patterns of their names.
    streams: Vec<String>,
    /// Time for which the ticket opens new connections, such as `10m`; at most an hour.
    #[schema(pattern = r"^([1-9]\d{0,3}(ms|s)|[1-9]m|[1-5]\dm|60m|1h)$")]
    ttl: Option<String>,
}

/// A ticket.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ticket {
    ticket: String,
    expires_at: String,
}

/// `POST /tickets {"streams": ["a.*"], "ttl": "10m"}`
#[utoipa::path(post, path = "/tickets", tag = "access",
    summary = "Create a ticket",
    description = "Creates a ticket: a credential for the URL of an EventSource, which cannot \
        send headers. Requires the grant `subscribe` for at least one of the streams; the ticket \
        is narrowed to what is granted and cannot create tickets. It opens new connections until \
        `expires_at`, and after that only resumes, until the credential that created it expires.",
    request_body(content = TicketRequest, example = examples::ticket_request),
    responses(
        (status = 200, description = "The ticket", body = Ticket, example = examples::ticket),
        TicketErrors,
    )
)]
pub(crate) async fn mint(
    state: Data<AppState>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    let caller = require_caller(&state, &request)?;
    if caller.by_ticket {
        return Err(Problem::new(
            Code::Forbidden,
            "permission denied: a ticket cannot create tickets",
        ));
    }
    if caller.grants.subscribe == Scope::default() {
        return Err(Problem::new(Code::Forbidden, "permission denied: you cannot read any stream"));
    }
    let body = read_body(&state, &request, body).await?;
    let ticket_request: TicketRequest = parse_object(&body)?;
    let ttl = ticket_request.ttl.as_deref().map_or(Ok(DEFAULT_TTL), ttl)?;
    let selectors = ticket_request.streams.iter().map(|text| Selector::parse(text));
    let interest = Interest::new(selectors.collect::<Result<Vec<_>, _>>()?, None)?;
    let streams = caller.grants.readable(interest.selectors())?;
    if streams.is_empty() {
        let why = "permission denied: you cannot read any of these streams";
        return Err(Problem::new(Code::Forbidden, why).field("streams"));
    }
    let now = now();
    let end = state.access.load().ends(&caller, now);
    let until = now.plus_ms(ttl.as_millis() as u64).min(end);
    let head = state.history.id(state.history.head());
    let spec = TicketSpec { streams, head, made: now, until, end, seed: None };
    let ticket = state.access.load().mint(&caller, &spec);
    let ticket = ticket.map_err(|error| Problem::new(Code::ServerError, error.to_string()))?;
    if ticket.len() > MAX_CREDENTIAL_BYTES {
        let why =
            format!("the ticket would exceed {MAX_CREDENTIAL_BYTES} bytes; request fewer streams");
        return Err(Problem::new(Code::Validation, why).field("streams"));
    }
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(Ticket { ticket, expires_at: until.to_string() }))
}

/// Parses the time for which a ticket opens new connections.
pub(crate) fn ttl(text: &str) -> Result<Duration, Invalid> {
    let invalid = |why: String| Invalid::new("ttl", why);
    let ttl = duration(text).map_err(|error| invalid(error.to_string()))?;
    if ttl.is_zero() || ttl > MAX_TTL {
        Err(invalid(format!("{text:?} is not between 1ms and 1h")))
    } else {
        Ok(ttl)
    }
}
