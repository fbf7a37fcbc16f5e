//! `POST /.well-known/mercure`.

use super::form;
use crate::access::{Caller, Denied, Dialect};
use crate::event::topic::{GENERATED, PublishedUpdate, RESERVED_TOPIC};
use crate::http::api::publish::count_refusal;
use crate::http::error::{Code, Problem};
use crate::http::extract::body::read_body_up_to;
use crate::http::extract::identity::{identity, quota_owner};
use crate::http::extract::mercure::MercureRequest;
use crate::http::ingest::{PublishSource, ingest};
use crate::http::outcome::{self, RequestOutcome};
use crate::http::state::AppState;
use crate::journal::now;
use crate::telemetry::Protocol;
use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use std::time::Instant;

/// Maximum size of the body of a publish, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Publishes an update and responds with its id, once it is as durable as `--durability` promises.
pub(super) async fn publish(
    state: Data<AppState>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    count_refusal(&state, publish_form(&state, &request, body).await)
}

async fn publish_form(
    state: &AppState,
    request: &HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    let own = MercureRequest::of(request)?;
    let Some(caller) = identity(request).filter(|caller| may_try(state, caller)) else {
        return Err(own.refused(state, Denied::Missing));
    };
    form::check_content_type(request)?;
    let max = MAX_BODY_BYTES.min(state.settings.max_body_bytes);
    let body = read_body_up_to(state, request, body, max).await?;
    let started = Instant::now();
    let update = form::read(&body, state.settings.max_event_bytes)?;
    let (own_id, topics) = (update.id.clone(), update.topics.clone());
    let draft = checked_draft(&own, update)?;
    let is_granted = |topic: &String| match &caller.topics {
        Some(granted) => granted.may_publish(topic),
        None => true,
    };
    if let Some(topic) = topics.iter().find(|topic| !is_granted(topic)) {
        let why = format!("permission denied: you cannot publish to the topic {topic:?}");
        return Err(own.insufficient(why));
    }
    let owner = quota_owner(state, request, &caller);
    let protocol = Protocol::Mercure;
    let source = PublishSource { owner: &owner, body_bytes: body.len(), started, protocol };
    let receipts = ingest(state, source, vec![draft]).await?;
    let id = match (own_id, receipts.first()) {
        (Some(id), _) => id,
        (None, Some(receipt)) => format!("{GENERATED}{}", receipt.id),
        (None, None) => return Err(Problem::new(Code::ServerError, "no receipt")),
    };
    let response = HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(id);
    Ok(outcome::with_outcome(response, RequestOutcome::Published { events: 1, streams: 1 }))
}

/// Returns true if a caller has a token, or needs none.
fn may_try(state: &AppState, caller: &Caller) -> bool {
    caller.topics.is_some() || state.access.load().may_publish_updates_without_token()
}

/// Returns the event of an update, or what is wrong with it.
fn checked_draft(
    own: &MercureRequest,
    update: PublishedUpdate,
) -> Result<crate::event::Draft, Problem> {
    update.into_draft(&own.settings.url, now()).map_err(|invalid| {
        let is_reserved = invalid.detail == RESERVED_TOPIC && own.dialect == Dialect::Zero;
        let code = if is_reserved { Code::Forbidden } else { Code::Malformed };
        Problem::new(code, invalid.detail).field(invalid.field)
    })
}
