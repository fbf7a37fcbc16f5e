//! `/session`: stores a credential in a cookie for pages, and describes the caller.
//!
//! The cookie contains only the presented credential, so it grants the same for the same time.

use crate::http::error::{Code, Problem};
use crate::http::extract::cookie;
use crate::http::extract::identity::require_caller;
use crate::http::openapi::errors::{CallerErrors, PublicErrors};
use crate::http::openapi::examples;
use crate::http::state::AppState;
use crate::journal::now;
use actix_web::http::header::{self};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;

/// The caller and its grants.
#[derive(Serialize, ToSchema)]
pub(crate) struct CallerDescription {
    /// `key NAME`, or `sub SUB` of a token; null if there is neither.
    subject: Option<String>,
    /// Time at which the credential expires (RFC 3339).
    expires_at: Option<String>,
    /// Selectors of streams to publish to.
    publish: Vec<String>,
    /// Selectors of streams to end.
    end: Vec<String>,
    /// Selectors of streams to delete.
    delete: Vec<String>,
    /// Selectors of streams to read.
    subscribe: Vec<String>,
    /// Jobs to run; `*` stands for all.
    run: Vec<String>,
    /// Folders to download from; `*` stands for all.
    files: Vec<String>,
    /// Models to chat with; `*` stands for all.
    chat: Vec<String>,
    /// True if the caller has the grant `admin`.
    admin: bool,
    /// Name of this hub in its cluster; null for a single hub. Its own streams end with it, such as
    /// `system.NODE`.
    node: Option<String>,
}

/// `GET /session`
#[utoipa::path(get, path = "/session", tag = "access",
    summary = "Describe the caller",
    description = "Returns the subject, the expiry and the grants of the credential or, without \
        one, of anonymous callers. Requires no grant.",
    responses(
        (status = 200, description = "The caller and its grants", body = CallerDescription,
         example = examples::caller),
        CallerErrors,
    )
)]
pub(crate) async fn describe_caller(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = require_caller(&state, &request)?;
    let grants = &caller.grants;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(
        CallerDescription {
            subject: caller.counted_as().map(|subject| subject.to_string()),
            expires_at: caller.expires.map(|expires| expires.to_string()),
            publish: grants.publish.selectors(),
            end: grants.end.selectors(),
            delete: grants.delete.selectors(),
            subscribe: grants.subscribe.selectors(),
            run: grants.run.to_vec(),
            files: grants.files.to_vec(),
            chat: grants.chat.to_vec(),
            admin: grants.admin,
            node: state.node.name().map(str::to_owned),
        },
    ))
}

/// `POST /session`, with the credential as `Authorization: Bearer`.
#[utoipa::path(post, path = "/session", tag = "access",
    summary = "Start a cookie session",
    description = "Stores the credential of the header `Authorization: Bearer` in a cookie that \
        no script can read, for pages of the hub's own origin. Requires no grant. The cookie \
        expires with the credential, that of an API key after `--jwt-max-lifetime`. With the \
        cookie, requests other than GET and HEAD are accepted only from pages of the hub and of \
        origins in `--cors-origin`.",
    responses(
        (status = 204, description = "The credential is stored in a cookie",
         headers(("set-cookie" = String, description = "The cookie"))),
        CallerErrors,
    )
)]
pub(crate) async fn begin(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = require_caller(&state, &request)?;
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let Some((_, credential)) = authorization.and_then(|text| text.split_once(' ')) else {
        let why = "send the credential of the session as `Authorization: Bearer`";
        return Err(Problem::new(Code::Unauthorized, why));
    };
    let now = now();
    let seconds = state.access.load().ends(&caller, now).ms().saturating_sub(now.ms()) / 1000;
    let value = utf8_percent_encode(credential.trim(), NON_ALPHANUMERIC);
    Ok(answer(cookie::cookie(&request, &value.to_string(), seconds)))
}

/// `DELETE /session`
#[utoipa::path(delete, path = "/session", tag = "access",
    summary = "End a cookie session",
    description = "Deletes the cookie in the browser; the credential itself stays valid. Requires \
        no grant, and succeeds without a cookie too.",
    responses(
        (status = 204, description = "The cookie is deleted",
         headers(("set-cookie" = String, description = "Expired cookie that replaces it"))),
        PublicErrors,
    )
)]
pub(crate) async fn end(request: HttpRequest) -> HttpResponse {
    answer(cookie::expired_cookie(&request))
}

fn answer(cookie: String) -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::SET_COOKIE, cookie))
        .finish()
}
