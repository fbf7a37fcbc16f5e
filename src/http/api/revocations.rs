//! `/revocations`: credentials that are revoked before they expire.

use crate::access::{RevocationChange, RevocationTarget, RevokeError};
use crate::http::error::{Code, Problem};
use crate::http::extract::body::read_body;
use crate::http::extract::identity::require_admin;
use crate::http::openapi::errors::{AdminErrors, RemoveRevocationErrors, RevokeErrors};
use crate::http::openapi::examples;
use crate::http::state::AppState;
use crate::journal::now;
use crate::source::revocation_item;
use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

/// Bytes that a change counts for in the queue of publishes.
const MAX_CHANGE_BYTES: usize = 1024;

/// Target of a revocation: exactly one of the three.
#[derive(Serialize, ToSchema)]
#[schema(as = Whose)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what `RevocationTarget` reads")]
enum WhoseShape {
    /// A token, by its `jti`.
    Jti(String),
    /// All credentials of a `sub`.
    Sub(String),
    /// An API key, by its name.
    Key(String),
}

/// A revocation.
#[derive(Serialize, ToSchema)]
#[schema(as = Revocation)]
struct Answer<'a> {
    #[serde(flatten)]
    #[schema(value_type = WhoseShape)]
    target: &'a RevocationTarget,
    /// Time up to which issued credentials are refused.
    revoked_at: String,
}

/// The revocations in force.
#[derive(Serialize, ToSchema)]
struct RevocationList<'a> {
    revocations: Vec<Answer<'a>>,
}

/// `GET /revocations`
#[utoipa::path(get, path = "/revocations", tag = "access",
    summary = "List revocations",
    description = "Lists the revocations in force, newest first. Requires the grant `admin`.",
    responses(
        (status = 200, description = "The revocations", body = RevocationList,
         example = examples::revocations),
        AdminErrors,
    )
)]
pub(crate) async fn list(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    require_admin(&state, &request)?;
    let list = state.revocations.list();
    let revocations = list.iter().map(|(target, at)| Answer { target, revoked_at: at.to_string() });
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(RevocationList { revocations: revocations.collect() }))
}

/// `DELETE /revocations {"jti": …} | {"sub": …} | {"key": …}`
#[utoipa::path(delete, path = "/revocations", tag = "access",
    summary = "Remove a revocation",
    description = "Removes a revocation, so that the credentials that it revoked are accepted \
        again until they expire. Requires the grant `admin`. The body names the target as in \
        `POST /revocations`.",
    request_body(content = WhoseShape, example = examples::revocation_target),
    responses(
        (status = 204, description = "The revocation was removed"),
        RemoveRevocationErrors,
    )
)]
pub(crate) async fn undo(
    state: Data<AppState>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    let target = read_target(&state, &request, body).await?;
    let Some(revoked_at) = state.revocations.revoked_at(&target) else {
        return Err(Problem::new(Code::NotFound, "no such revocation"));
    };
    // Another hub may have revoked it with a clock that is ahead.
    let now = revoked_at.max(now());
    // First, so that the request can be repeated if the other hubs cannot get it.
    publish_change(&state, RevocationChange::undo(target.clone(), now)).await?;
    let (revocations, owned_target) = (state.revocations.clone(), target.clone());
    let done = tokio::task::spawn_blocking(move || revocations.undo(&owned_target, now)).await;
    match done.map_err(|e| Problem::new(Code::ServerError, e.to_string()))? {
        Ok(true) => {
            tracing::info!(whose = ?target, "removed a revocation");
            Ok(HttpResponse::NoContent().finish())
        }
        Ok(false) => Err(Problem::new(Code::NotFound, "no such revocation")),
        Err(error) => Err(refused(&error)),
    }
}

async fn read_target(
    state: &AppState,
    request: &HttpRequest,
    body: Payload,
) -> Result<RevocationTarget, Problem> {
    require_admin(state, request)?;
    let body = read_body(state, request, body).await?;
    serde_json::from_slice(&body)
        .map_err(|e| Problem::new(Code::Malformed, e.to_string()).field("body"))
}

/// Publishes a change to the other hubs of the cluster, if there are any. If that fails, it is in force at this
/// hub alone, and the request is to be repeated.
async fn publish_change(state: &AppState, change: RevocationChange) -> Result<(), Problem> {
    if state.node.name().is_none() {
        return Ok(());
    }
    let item = revocation_item(&change, now());
    let item = item.map_err(|error| Problem::new(Code::ServerError, error.to_string()))?;
    state.publisher.publish(vec![item], MAX_CHANGE_BYTES).await?;
    Ok(())
}

fn refused(error: &RevokeError) -> Problem {
    match error {
        RevokeError::TooMany => Problem::new(Code::ResourceExhausted, error.to_string()),
        RevokeError::Io(_) => {
            tracing::error!(%error, "failed to write a revocation");
            Problem::new(Code::ServerError, error.to_string())
        }
    }
}

/// `POST /revocations {"jti": …} | {"sub": …} | {"key": …}`
#[utoipa::path(post, path = "/revocations", tag = "access",
    summary = "Revoke credentials",
    description = "Revokes a token by its `jti`, all tokens of a `sub`, or the API keys of a \
        name, and the tickets that these created; their sessions end within a second. Requires \
        the grant `admin`. Tokens that are issued later stay valid. Revocations outlast a \
        restart; a repeated request updates `revoked_at`.",
    request_body(content = WhoseShape, example = examples::revocation_target),
    responses(
        (status = 200, description = "Credentials that were issued until now are revoked",
         body = Answer, example = examples::revocation),
        RevokeErrors,
    )
)]
pub(crate) async fn add(
    state: Data<AppState>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    let target = read_target(&state, &request, body).await?;
    let keys = match &target {
        RevocationTarget::Key(name) => state.access.load().marks_of(name),
        RevocationTarget::Jti(_) | RevocationTarget::Sub(_) => Vec::new(),
    };
    let (revocations, now, owned_target) = (state.revocations.clone(), now(), target.clone());
    let change = RevocationChange::revoke(target.clone(), keys.clone(), now);
    let done = tokio::task::spawn_blocking(move || revocations.add(owned_target, &keys, now)).await;
    done.map_err(|e| Problem::new(Code::ServerError, e.to_string()))?.map_err(|e| refused(&e))?;
    tracing::info!(whose = ?target, "revoked credentials");
    publish_change(&state, change).await?;
    let answer = Answer { target: &target, revoked_at: now.to_string() };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}
