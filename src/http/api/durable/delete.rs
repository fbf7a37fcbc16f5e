//! DELETE: deletes a stream. One with forks is gone at once, and its data once they are deleted.

use super::response::{StreamResponse, finish};
use super::{found, stream_of};
use crate::http::api::publish::count_refusal;
use crate::http::api::streams::{check_delete, ingest_item};
use crate::http::error::Problem;
use crate::http::extract::identity::require_caller;
use crate::http::state::AppState;
use crate::journal::Item;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

pub(super) async fn delete(state: Data<AppState>, request: HttpRequest) -> HttpResponse {
    finish(count_refusal(&state, delete_stream(&state, &request).await))
}

async fn delete_stream(state: &AppState, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let caller = require_caller(state, request)?;
    let name = stream_of(state, request)?;
    check_delete(&caller, &name)?;
    found(state, &name).await?;
    ingest_item(state, Item::Delete { stream: name, has_readers: false }).await?;
    Ok(StreamResponse::new(StatusCode::NO_CONTENT).empty())
}
