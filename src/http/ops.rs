//! For operators: version, health, readiness, metrics.

use super::guard::caller;
use super::openapi::{HistoryRefused, Refused};
use super::problem::{Code, Problem};
use super::server::Hub;
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use utoipa::ToSchema;

/// What runs here.
#[derive(Serialize, ToSchema)]
pub(super) struct Version {
    name: &'static str,
    version: &'static str,
    journal_format: u32,
}

/// `GET /version`
#[utoipa::path(get, path = "/version", tag = "operators", responses(
    (status = 200, description = "What runs here", body = Version),
    Refused,
))]
pub(super) async fn version() -> HttpResponse {
    HttpResponse::Ok().json(Version {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        journal_format: crate::journal::FORMAT,
    })
}

/// `GET /healthz`: the process answers.
#[utoipa::path(get, path = "/healthz", tag = "operators", responses(
    (status = 200, description = "The process answers", body = String, content_type = "text/plain"),
    Refused,
))]
pub(super) async fn healthz() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type("text/plain")
        .body("ok\n")
}

/// Whether the hub should be sent work.
#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    ready: bool,
    checks: BTreeMap<&'static str, Check>,
}

/// One thing that readiness depends on.
#[derive(Serialize, ToSchema)]
struct Check {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Check {
    fn unless(reason: Option<String>) -> Self {
        Self { ok: reason.is_none(), reason }
    }
}

/// `GET /readyz`: whether the hub should be sent work, and if not, why.
#[utoipa::path(get, path = "/readyz", tag = "operators", responses(
    (status = 200, description = "It may be sent work", body = Ready),
    (status = 503, description = "It should not be, and why", body = Ready),
    Refused,
))]
pub(super) async fn readyz(hub: Data<Hub>) -> HttpResponse {
    let health = &hub.health;
    let draining = hub.draining.load(Ordering::Relaxed);
    let hanging = health.hanging_ms().map(|ms| format!("a commit has been running for {ms} ms"));
    let lacks_keys = hub.access.load().remote_keys().is_some_and(|keys| keys.fetched() == 0);
    let no_keys = lacks_keys.then(|| "the key set of --jwks could not be fetched yet".to_owned());
    let short = hub.memory.is_short();
    let no_memory = short.then(|| "the memory budget is nearly used up".to_owned());
    let checks = BTreeMap::from([
        ("keys", Check::unless(no_keys)),
        ("memory", Check::unless(no_memory)),
        ("draining", Check::unless(draining.then(|| "the hub is stopping".to_owned()))),
        ("journal", Check::unless(health.poisoned().map(str::to_owned).or(hanging))),
        ("disk", Check::unless(health.disk_full())),
        // It is told, but what is left is served: a restart would not bring anything back.
        ("loss", Check { ok: true, reason: health.loss().map(ToString::to_string) }),
    ]);
    let ready = checks.values().all(|check| check.ok);
    let mut response = if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.insert_header((header::CACHE_CONTROL, "no-store")).json(Ready { ready, checks })
}

/// `GET /metrics`, in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "operators", responses(
    (status = 200, description = "The metrics, for Prometheus", body = String,
     content_type = "text/plain"),
    Refused,
    HistoryRefused,
))]
pub(super) async fn metrics(hub: Data<Hub>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    if !caller(&hub, &request)?.grants.metrics {
        return Err(Problem::new(Code::Forbidden, "the metrics are for admins"));
    }
    metrics_apart(hub).await
}

/// The same on a listener of its own, where nobody asks who it is for.
pub(super) async fn metrics_apart(hub: Data<Hub>) -> Result<HttpResponse, Problem> {
    let text = hub
        .telemetry
        .render()
        .map_err(|e| Problem::new(Code::ServerError, format!("the metrics cannot be read: {e}")))?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(text))
}
