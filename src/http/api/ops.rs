//! Operations: version, health, readiness, metrics.

use crate::config::enabled_features;
use crate::http::api::readiness::{self, Readiness};
use crate::http::error::{Code, Problem};
use crate::http::extract::identity::require_caller;
use crate::http::openapi::errors::{MetricsErrors, PublicErrors};
use crate::http::openapi::examples;
use crate::http::outcome::{self, RequestOutcome};
use crate::http::state::AppState;
use crate::telemetry::Exposition;
use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

/// Version of the running hub.
#[derive(Serialize, ToSchema)]
pub(crate) struct Version {
    name: &'static str,
    version: &'static str,
    journal_format: u32,
    /// Optional parts that this build has.
    features: Vec<&'static str>,
}

/// `GET /version`
#[utoipa::path(get, path = "/version", tag = "operators",
    summary = "Get the version",
    description = "Returns the name, version and features of the running hub, and the format of \
        its journal. Requires no credential.",
    responses(
        (status = 200, description = "The version", body = Version, example = examples::version),
        PublicErrors,
    )
)]
pub(crate) async fn version() -> HttpResponse {
    HttpResponse::Ok().json(Version {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        journal_format: crate::journal::FORMAT,
        features: enabled_features().collect(),
    })
}

/// `GET /healthz`: the process answers.
#[utoipa::path(get, path = "/healthz", tag = "operators",
    summary = "Check that the hub answers",
    description = "Succeeds while the process answers, even if it is not ready: restart the hub \
        if it fails. Requires no credential. Also answers HEAD.",
    responses(
        (status = 200, description = "The process answers", body = String,
         content_type = "text/plain", example = json!("ok\n")),
        PublicErrors,
    )
)]
pub(crate) async fn healthz() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type("text/plain")
        .body("ok\n")
}

/// `GET /readyz`: readiness of the hub. Only admins get the reasons of failed checks.
#[utoipa::path(get, path = "/readyz", tag = "operators",
    summary = "Check that the hub is ready",
    description = "Returns the result of every readiness check; send traffic elsewhere if it is a \
        503. Requires no credential, but only callers with the grant `admin` get the reasons. \
        Also answers HEAD.",
    responses(
        (status = 200, description = "The hub is ready", body = Readiness,
         example = examples::ready),
        (status = 503, description = "The hub is not ready", body = Readiness,
         example = examples::not_ready),
        PublicErrors,
    )
)]
pub(crate) async fn readyz(state: Data<AppState>, request: HttpRequest) -> HttpResponse {
    // Reasons contain paths and positions.
    let sees_reasons = require_caller(&state, &request).is_ok_and(|caller| caller.grants.admin);
    let ready = readiness::ready(&state, &readiness::usage(&state).await);
    readiness(if sees_reasons { ready } else { ready.without_reasons() })
}

/// `GET /readyz` on the metrics listener: readiness with every reason.
pub(crate) async fn readyz_admin(state: Data<AppState>) -> HttpResponse {
    readiness(readiness::ready(&state, &readiness::usage(&state).await))
}

fn readiness(ready: Readiness) -> HttpResponse {
    let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = HttpResponse::build(status);
    let response = response.insert_header((header::CACHE_CONTROL, "no-store")).json(&ready);
    if ready.ready {
        response
    } else {
        outcome::with_outcome(response, RequestOutcome::Refused("not_ready"))
    }
}

/// `GET /metrics`, in Prometheus's text format, or in `OpenMetrics` if `Accept` requests it.
#[utoipa::path(get, path = "/metrics", tag = "operators",
    summary = "Get metrics",
    description = "Returns the metrics in Prometheus's text format, or in OpenMetrics if `Accept` \
        requests it. Requires the grant `admin` or `--anonymous metrics`; the listener of \
        `--metrics-listen` needs no credential.",
    responses(
        (status = 200, description = "The metrics", content(
            (String = "text/plain", example = examples::metrics),
            (String = "application/openmetrics-text"),
        )),
        MetricsErrors,
    )
)]
pub(crate) async fn metrics(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    if !require_caller(&state, &request)?.grants.metrics {
        return Err(Problem::new(
            Code::Forbidden,
            "permission denied: metrics require the grant `admin` or `--anonymous metrics`",
        ));
    }
    metrics_admin(state, request).await
}

/// `GET /metrics` on the admin listener, which needs no credential.
pub(crate) async fn metrics_admin(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let accept = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let exposition = Exposition::accepted(accept.unwrap_or_default());
    let sampled = readiness::sampled(&state).await;
    let text = state
        .telemetry
        .render(&sampled, exposition)
        .map_err(|e| Problem::new(Code::ServerError, format!("cannot render the metrics: {e}")))?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::VARY, "Accept"))
        .content_type(exposition.content_type())
        .body(text))
}
