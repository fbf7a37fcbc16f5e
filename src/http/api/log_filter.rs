//! `GET /log-filter` and `PUT /log-filter`: the filter of the log. A change lasts until the next
//! change or restart.

use crate::http::error::{Code, Problem};
use crate::http::extract::body::{parse_object, read_body};
use crate::http::extract::identity::require_admin;
use crate::http::openapi::errors::{AdminErrors, LogFilterErrors};
use crate::http::openapi::examples;
use crate::http::state::AppState;
use crate::telemetry::{InvalidFilter, check_log_filter, log_filter, set_log_filter};
use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The filter of the log.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogFilter {
    /// A level, or levels by module, such as `warn` or `info,fanfare::hub=debug`.
    filter: String,
}

/// `GET /log-filter`
#[utoipa::path(get, path = "/log-filter", tag = "operators",
    summary = "Get the log filter",
    description = "Returns the filter of the log in use. Requires the grant `admin`.",
    responses(
        (status = 200, description = "The log filter", body = LogFilter,
         example = examples::log_filter),
        AdminErrors,
    )
)]
pub(crate) async fn get(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    require_admin(&state, &request)?;
    Ok(answer())
}

/// `PUT /log-filter {"filter": …}`
#[utoipa::path(put, path = "/log-filter", tag = "operators",
    summary = "Change the log filter",
    description = "Replaces the filter of the log: a level, or levels by module, in the syntax of \
        `RUST_LOG`. Requires the grant `admin`. The change lasts until the next change or \
        restart.",
    request_body(content = LogFilter, example = examples::log_filter),
    responses(
        (status = 200, description = "The new log filter", body = LogFilter,
         example = examples::log_filter),
        LogFilterErrors,
    )
)]
pub(crate) async fn put(
    state: Data<AppState>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    require_admin(&state, &request)?;
    let body = read_body(&state, &request, body).await?;
    let requested: LogFilter = parse_object(&body)?;
    let invalid = |e: InvalidFilter| Problem::new(Code::Validation, e.to_string()).field("filter");
    check_log_filter(&requested.filter).map_err(invalid)?;
    // Logged with the old filter, because the new one may omit it; if the old one omits it, with
    // the new one.
    let log_change = || tracing::info!(filter = requested.filter, "changed the log filter");
    let was_logged = tracing::enabled!(tracing::Level::INFO);
    log_change();
    set_log_filter(&requested.filter).map_err(invalid)?;
    if !was_logged {
        log_change();
    }
    Ok(answer())
}

fn answer() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(LogFilter { filter: log_filter() })
}
