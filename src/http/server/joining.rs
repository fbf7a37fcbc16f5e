//! The server of a hub that is receiving a snapshot: health, readiness and progress. Everything else is refused,
//! so that load balancers and clients use other hubs.

use super::sockets::BoundSockets;
use crate::http::error::{Code, Problem};
use crate::wire::{Format, hub_error};
use actix_web::dev::ServerHandle;
use actix_web::http::header;
use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, ResponseError as _};
use rand::Rng as _;
use serde_json::json;
use std::sync::{Mutex, PoisonError};

/// Time after which refused clients retry, in seconds and milliseconds.
const RETRY_S: u64 = 5;
const RETRY_MS: u64 = 5_000;

/// Progress of the snapshot.
#[derive(Default)]
pub struct JoinProgress(Mutex<Progress>);

#[derive(Clone, Default)]
struct Progress {
    reason: String,
    bytes: u64,
}

impl JoinProgress {
    /// Records the state of the snapshot, and the number of bytes that were received so far.
    pub fn set(&self, reason: String, bytes: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Progress { reason, bytes };
    }

    fn get(&self) -> Progress {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Starts a server on copies of the sockets, which is to be stopped before the hub uses them. `None` if there is
/// no socket.
pub fn start_joining(
    progress: Data<JoinProgress>,
    sockets: &[&BoundSockets],
) -> std::io::Result<Option<ServerHandle>> {
    if sockets.iter().all(|sockets| sockets.is_empty()) {
        return Ok(None);
    }
    let mut server = HttpServer::new(move || {
        App::new()
            .app_data(progress.clone())
            .route("/healthz", web::get().to(HttpResponse::Ok))
            .route("/healthz", web::head().to(HttpResponse::Ok))
            .route("/readyz", web::get().to(readyz))
            .route("/readyz", web::head().to(readyz))
            .route("/metrics", web::get().to(metrics))
            .default_service(web::to(refuse))
    })
    .workers(1)
    .shutdown_timeout(0)
    .disable_signals();
    for sockets in sockets {
        for listener in sockets.listen_on_copies()? {
            server = server.listen(listener)?;
        }
    }
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Ok(Some(handle))
}

async fn readyz(progress: Data<JoinProgress>) -> HttpResponse {
    let check = json!({ "ok": false, "reason": progress.get().reason });
    HttpResponse::ServiceUnavailable()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({ "ready": false, "checks": { "cluster": check } }))
}

async fn metrics(progress: Data<JoinProgress>) -> HttpResponse {
    let bytes = progress.get().bytes;
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(format!(
        "# TYPE fanfare_ready gauge\nfanfare_ready 0\n# TYPE fanfare_cluster_snapshot_received_bytes gauge\n\
         fanfare_cluster_snapshot_received_bytes {bytes}\n"
    ))
}

async fn refuse(progress: Data<JoinProgress>, request: HttpRequest) -> HttpResponse {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("text/event-stream")) {
        // An EventSource does not reconnect after a 503.
        let mut block = Vec::new();
        let retry_ms = rand::rng().random_range(RETRY_MS / 2..=RETRY_MS);
        hub_error(&mut block, Format::Sse, retry_ms, "joining", None);
        return HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .content_type("text/event-stream")
            .body(block);
    }
    let problem = Problem::new(Code::Unresponsive, progress.get().reason);
    problem.retry_after(RETRY_S).error_response()
}
