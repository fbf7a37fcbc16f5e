//! `/journal/losses` and `/journal/backup`: recorded losses, and a backup of the journal.

use crate::http::error::{Code, Problem};
use crate::http::extract::identity::require_admin;
use crate::http::openapi::errors::{AcknowledgeErrors, AdminErrors, BackupErrors};
use crate::http::openapi::examples;
use crate::http::state::AppState;
use crate::journal::Loss;
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

/// Size of a piece of a backup.
const BACKUP_CHUNK_BYTES: usize = 256 * 1024;

/// Losses that are not acknowledged yet.
#[derive(Serialize, ToSchema)]
pub(crate) struct Losses {
    losses: Vec<LossShape>,
}

/// Events that are missing or damaged.
#[derive(Serialize, ToSchema)]
#[schema(as = Loss)]
struct LossShape {
    /// The last event before the loss that is still there.
    kept: Option<String>,
    /// The last lost event, if it is known.
    committed: Option<String>,
    /// The affected files.
    place: String,
    /// Time at which it was found, in milliseconds since the Unix epoch.
    found_ms: u64,
}

impl From<Loss> for LossShape {
    fn from(loss: Loss) -> Self {
        let Loss { kept, committed, place, found_ms } = loss;
        Self { kept, committed, place, found_ms }
    }
}

fn answer(losses: Vec<Loss>) -> HttpResponse {
    let losses = losses.into_iter().map(LossShape::from).collect();
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Losses { losses })
}

/// `GET /journal/losses`
#[utoipa::path(get, path = "/journal/losses", tag = "operators",
    summary = "List losses",
    description = "Lists the losses of committed events that the hub found at a start and that \
        are not acknowledged yet. Requires the grant `admin`.",
    responses(
        (status = 200, description = "Losses that are not acknowledged", body = Losses,
         example = examples::losses),
        AdminErrors,
    )
)]
pub(crate) async fn losses(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    require_admin(&state, &request)?;
    Ok(answer(state.health.losses()))
}

/// `DELETE /journal/losses`
#[utoipa::path(delete, path = "/journal/losses", tag = "operators",
    summary = "Acknowledge losses",
    description = "Acknowledges all losses: they disappear from `/readyz`, from the metrics and \
        from this list. Requires the grant `admin`. Restores nothing: decide first if a backup \
        has the lost events. A repeated request acknowledges an empty list.",
    responses(
        (status = 200, description = "Losses that this request acknowledged", body = Losses,
         example = examples::losses),
        AcknowledgeErrors,
    )
)]
pub(crate) async fn acknowledge_losses(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    require_admin(&state, &request)?;
    let health = state.health.clone();
    let cleared = tokio::task::spawn_blocking(move || health.acknowledge_losses()).await;
    let failed = |why: String| {
        Problem::new(Code::ServerError, format!("cannot remove the record of losses: {why}"))
    };
    let losses = cleared.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
    state.telemetry.journal_lost(false);
    tracing::info!(losses = losses.len(), "acknowledged losses of the journal");
    Ok(answer(losses))
}

/// `GET /journal/backup`
#[utoipa::path(get, path = "/journal/backup", tag = "operators",
    summary = "Back up the journal",
    description = "Sends a backup of the journal, consistent as of one moment, for `fanfare \
        journal restore`. Requires the grant `admin`. Reads the whole journal at the pace of the \
        client while the hub goes on; only one backup runs at a time. A response that breaks off \
        is incomplete, which a restore detects.",
    responses(
        (status = 200, description = "The backup; complete only with its last record",
         body = Vec<u8>, content_type = "application/octet-stream"),
        BackupErrors,
    )
)]
pub(crate) async fn backup(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    require_admin(&state, &request)?;
    let Some(backup) = state.backup.clone() else {
        return Err(Problem::new(
            Code::Conflict,
            "cannot back up the journal: it is in memory (--durability memory)",
        ));
    };
    let Some(receiver) = backup.start(BACKUP_CHUNK_BYTES) else {
        return Err(Problem::new(Code::Conflict, "another backup is in progress"));
    };
    let body = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .content_type("application/octet-stream")
        .streaming(body))
}
