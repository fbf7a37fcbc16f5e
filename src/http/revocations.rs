//! `POST /revocations`: credentials that end before their time.

use super::guard::admin;
use super::problem::{Code, Problem};
use super::publish::read_body;
use super::server::Hub;
use crate::access::{RevokeError, Whose};
use crate::journal::now;
use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    whose: &'a Whose,
    revoked_at: String,
}

/// `POST /revocations {"jti": …} | {"sub": …} | {"key": …}`
pub(super) async fn add(
    hub: Data<Hub>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    admin(&hub, &request)?;
    let body = read_body(&hub, &request, body).await?;
    let whose: Whose = serde_json::from_slice(&body)
        .map_err(|e| Problem::new(Code::Malformed, e.to_string()).field("body"))?;
    let (revocations, now) = (hub.revocations.clone(), now());
    let asked = whose.clone();
    let done = tokio::task::spawn_blocking(move || revocations.add(asked, now)).await;
    let failed = |why: String| Problem::new(Code::ServerError, why);
    match done.map_err(|e| failed(e.to_string()))? {
        Ok(()) => {}
        Err(error @ RevokeError::TooMany) => {
            return Err(Problem::new(Code::ResourceExhausted, error.to_string()));
        }
        Err(error @ RevokeError::Io(_)) => {
            tracing::error!("{error}");
            return Err(failed(error.to_string()));
        }
    }
    tracing::info!(?whose, "credentials were revoked");
    let answer = Answer { whose: &whose, revoked_at: now.to_string() };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}
