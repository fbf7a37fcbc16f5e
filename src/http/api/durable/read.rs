//! GET and HEAD: the data of a stream after an offset, and its state.

use super::chunk::{Read, check_readable, read_chunk, respond};
use super::follow::{self, Live};
use super::headers::malformed;
use super::offset::Offset;
use super::response::{StreamResponse, content_type_of, finish, lifetime_of};
use super::{found, stream_of};
use crate::access::Caller;
use crate::event::StreamName;
use crate::http::api::rejection::count_rejection;
use crate::http::error::Problem;
use crate::http::extract::identity::require_caller;
use crate::http::extract::query;
use crate::http::state::AppState;
use crate::journal::now;
use crate::wire;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use std::sync::Arc;

/// Responds with the data after an offset, at once or as it comes.
pub(super) async fn get(state: Data<AppState>, request: HttpRequest) -> HttpResponse {
    finish(count_rejection(&state, read(&state, &request).await))
}

/// Responds with the state of a stream. Does not prolong its lifetime.
pub(super) async fn head(state: Data<AppState>, request: HttpRequest) -> HttpResponse {
    finish(count_rejection(&state, describe(&state, &request).await))
}

async fn describe(state: &AppState, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let (_, name) = granted(state, request)?;
    let found = found(state, &name).await?;
    let response = StreamResponse::new(StatusCode::OK)
        .cache_control("no-store")
        .content_type(&content_type_of(&found))
        .next_offset(state, found.last)
        .closed(found.is_ended)
        .lifetime(lifetime_of(&found));
    Ok(response.empty())
}

fn granted(state: &AppState, request: &HttpRequest) -> Result<(Arc<Caller>, StreamName), Problem> {
    let caller = require_caller(state, request)?;
    let name = stream_of(state, request)?;
    check_readable(&caller, &name)?;
    Ok((caller, name))
}

async fn read(state: &Data<AppState>, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let (caller, name) = granted(state, request)?;
    let pairs = query::pairs(request.query_string()).map_err(Problem::query)?;
    let value = |name| query::single(&pairs, &[name]).map_err(Problem::query);
    let offset = value("offset")?.map(|text| Offset::parse("offset", text)).transpose()?;
    let cursor = value("cursor")?.and_then(|text| text.parse().ok());
    let cursor = cursor.filter(|cursor| wire::is_plausible_cursor(*cursor, now()));
    let live = value("live")?.map(Live::parse).transpose()?;
    let found = found(state, &name).await?;
    let read = Read { name, caller, found, offset, cursor };
    state.lifetimes.touch(&read.name, &read.found);
    match live {
        None => catch_up(state, request, &read).await,
        Some(_) if read.offset.is_none() => Err(malformed("offset", "a live read needs an offset")),
        Some(Live::LongPoll) => follow::long_poll(state, request, read).await,
        Some(Live::Sse) => follow::events(state, request, read).await,
    }
}

async fn catch_up(
    state: &Data<AppState>,
    request: &HttpRequest,
    read: &Read,
) -> Result<HttpResponse, Problem> {
    let after = read.position(state)?;
    let chunk = read_chunk(state, read, after).await?;
    Ok(respond(state, request, read, chunk, None))
}
