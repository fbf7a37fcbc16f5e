//! `GET /stats`: use of the hub and of each limit.

use crate::http::api::readiness::{self, Readiness};
use crate::http::error::Problem;
use crate::http::extract::identity::require_admin;
use crate::http::openapi::errors::AdminErrors;
use crate::http::openapi::examples;
use crate::http::state::AppState;
use crate::limits::Usage;
use crate::source::SourceView;
use crate::telemetry::{Latency, Refusals, Totals};
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

/// Totals, limits and readiness of the hub.
#[derive(Serialize, ToSchema)]
pub(crate) struct Stats {
    version: &'static str,
    /// Seconds since the hub was started.
    uptime_s: u64,
    /// Readiness and its checks.
    #[serde(flatten)]
    ready: Readiness,
    totals: Totals,
    /// Seconds from the commit of a batch until it is written to the sockets of all its live
    /// sessions.
    fan_out: Latency,
    /// Refusals of `subscribers`, `publishes`, `credentials`, `connections` and `requests`, by reason.
    #[schema(value_type = BTreeMap<String, BTreeMap<String, u64>>)]
    refusals: Refusals,
    /// Sources of events inside the hub, with their state.
    sources: Vec<SourceView>,
    /// Configured jobs with their runs.
    #[cfg(feature = "jobs")]
    jobs: Vec<crate::source::JobView>,
    /// Empty: this build has no jobs.
    #[cfg(not(feature = "jobs"))]
    #[schema(value_type = Vec<String>)]
    jobs: [u8; 0],
    /// Each limit with its use.
    limits: Vec<Usage>,
}

/// `GET /stats`
#[utoipa::path(get, path = "/stats", tag = "operators",
    summary = "Get statistics",
    description = "Returns totals, the use of every limit, refusals by reason, sources, jobs and \
        readiness. Requires the grant `admin`. Totals count from the start of the hub.",
    responses(
        (status = 200, description = "Totals, limits and readiness of the hub", body = Stats,
         example = examples::stats),
        AdminErrors,
    )
)]
pub(crate) async fn stats(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    require_admin(&state, &request)?;
    let used = readiness::usage(&state).await;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Stats {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: state.started_at.elapsed().as_secs(),
        ready: readiness::ready(&state, &used),
        totals: state.telemetry.totals(),
        fan_out: state.telemetry.fan_out(),
        refusals: state.telemetry.refusals(),
        sources: state.sources.views(),
        #[cfg(feature = "jobs")]
        jobs: state.jobs.views(|_| true),
        #[cfg(not(feature = "jobs"))]
        jobs: [],
        limits: used.limits,
    }))
}
