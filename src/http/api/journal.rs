//! `/journal/losses` and `/journal/backup`: recorded losses, and a backup of the journal.

use crate::http::error::{Code, Problem};
use crate::http::extract::identity::require_admin;
use crate::http::openapi::errors::{AcknowledgeErrors, AdminErrors, BackupErrors};
use crate::http::openapi::examples;
use crate::http::state::AppState;
use crate::journal::Loss;
use actix_web::http::header;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;
use utoipa::ToSchema;

/// Size of a piece of a backup, and maximum number of pieces that wait for the client.
const BACKUP_CHUNK_BYTES: usize = 256 * 1024;
const MAX_WAITING_CHUNKS: usize = 4;

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
    let Some(permit) = BackupPermit::take(&state.is_backing_up) else {
        return Err(Problem::new(Code::Conflict, "another backup is in progress"));
    };
    let (sender, receiver) = mpsc::channel(MAX_WAITING_CHUNKS);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let out = BufWriter::with_capacity(BACKUP_CHUNK_BYTES, ChunkWriter(sender.clone()));
        match backup.write(out) {
            Ok(()) => tracing::info!("made a backup"),
            Err(error) => {
                tracing::error!(%error, "failed to make a backup");
                // Ends the response early, so that the client knows that it is incomplete.
                let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
            }
        }
    });
    let body = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .content_type("application/octet-stream")
        .streaming(body))
}

/// Permit to make a backup. Only one exists at a time, because a backup reads the whole journal.
struct BackupPermit(Arc<AtomicBool>);

impl BackupPermit {
    fn take(is_taken: &Arc<AtomicBool>) -> Option<Self> {
        (!is_taken.swap(true, Ordering::AcqRel)).then(|| Self(is_taken.clone()))
    }
}

impl Drop for BackupPermit {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Writer that sends its bytes to the response, at the client's pace.
struct ChunkWriter(mpsc::Sender<io::Result<Bytes>>);

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
