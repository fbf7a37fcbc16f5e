//! `POST /revocations`: credentials that end before their time.

use super::guard::admin;
use super::openapi::{BodyRefused, HistoryRefused, Refused};
use super::problem::{Code, Problem};
use super::received::read_body;
use super::server::Hub;
use crate::access::{RevokeError, Whose};
use crate::journal::now;
use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

/// Whose credentials: exactly one of the three.
#[derive(Serialize, ToSchema)]
#[schema(as = Whose)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what `Whose` reads")]
enum WhoseShape {
    /// One token's, by its `jti`.
    Jti(String),
    /// Everything of a `sub`.
    Sub(String),
    /// An API key's, by its name.
    Key(String),
}

/// A revocation.
#[derive(Serialize, ToSchema)]
#[schema(as = Revocation)]
struct Answer<'a> {
    #[serde(flatten)]
    #[schema(value_type = WhoseShape)]
    whose: &'a Whose,
    /// Credentials made until then are refused.
    revoked_at: String,
}

/// `POST /revocations {"jti": …} | {"sub": …} | {"key": …}`
#[utoipa::path(post, path = "/revocations", tag = "access",
    request_body(content = WhoseShape),
    responses(
        (status = 200, description = "Nothing of theirs that was made until now is good any more",
         body = Answer),
        Refused,
        BodyRefused,
        HistoryRefused,
    )
)]
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
