//! `/session`: a credential in a cookie, for pages, and whose it is.
//!
//! The cookie holds what was shown and nothing else, so that it is as good as that, for as long.

use super::guard::caller;
use super::openapi::Refused;
use super::problem::{Code, Problem};
use super::server::Hub;
use crate::journal::now;
use actix_web::http::header::{self, HeaderName};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;

/// The cookie's name.
const NAME: &str = "fanfare";

/// Who asks, and what they may do.
#[derive(Serialize, ToSchema)]
pub(super) struct Who {
    /// `key NAME`, or `sub SUB` of a token; null where nothing was shown.
    subject: Option<String>,
    /// When what was shown is good no longer (RFC 3339).
    expires_at: Option<String>,
    /// Selectors of streams to publish to.
    publish: Vec<String>,
    /// Selectors of streams to read.
    subscribe: Vec<String>,
    /// Jobs to run; `*` is all of them.
    run: Vec<String>,
    /// Folders to download from; `*` is all of them.
    files: Vec<String>,
    /// Models to chat with; `*` is all of them.
    chat: Vec<String>,
    /// Whether they see what is for operators.
    admin: bool,
}

/// `GET /session`
#[utoipa::path(get, path = "/session", tag = "access",
    responses(
        (status = 200, description = "Who asks, and what they may do", body = Who),
        Refused,
    )
)]
pub(super) async fn who(hub: Data<Hub>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let caller = caller(&hub, &request)?;
    let grants = &caller.grants;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Who {
        subject: caller.counted_as().map(|subject| subject.to_string()),
        expires_at: caller.expires.map(|expires| expires.to_string()),
        publish: grants.publish.selectors(),
        subscribe: grants.subscribe.selectors(),
        run: grants.run.to_vec(),
        files: grants.files.to_vec(),
        chat: grants.chat.to_vec(),
        admin: grants.admin,
    }))
}

/// `POST /session`, with the credential as `Authorization: Bearer`.
#[utoipa::path(post, path = "/session", tag = "access",
    responses(
        (status = 204, description = "The credential is in a cookie from now on",
         headers(("set-cookie" = String, description = "The cookie"))),
        Refused,
    )
)]
pub(super) async fn begin(hub: Data<Hub>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let caller = caller(&hub, &request)?;
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let Some((_, credential)) = shown.and_then(|text| text.split_once(' ')) else {
        let why = "show the credential that the session is to have as `Authorization: Bearer`";
        return Err(Problem::new(Code::Unauthorized, why));
    };
    let now = now();
    let seconds = hub.access.load().ends(&caller, now).ms().saturating_sub(now.ms()) / 1000;
    let value = utf8_percent_encode(credential.trim(), NON_ALPHANUMERIC);
    Ok(answer(format!("{NAME}={value}; Max-Age={seconds}{}", attributes(&request))))
}

/// `DELETE /session`
#[utoipa::path(delete, path = "/session", tag = "access",
    responses(
        (status = 204, description = "The cookie is ended",
         headers(("set-cookie" = String, description = "One that takes its place and ends"))),
        Refused,
    )
)]
pub(super) async fn end(request: HttpRequest) -> HttpResponse {
    answer(ended(&request))
}

fn answer(cookie: String) -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::SET_COOKIE, cookie))
        .finish()
}

/// A cookie that takes the place of the one there is, and ends.
pub(super) fn ended(request: &HttpRequest) -> String {
    format!("{NAME}=; Max-Age=0{}", attributes(request))
}

/// A page that came by TLS gets a cookie that goes by TLS alone.
fn attributes(request: &HttpRequest) -> String {
    let text = |name: &HeaderName| request.headers().get(name).and_then(|v| v.to_str().ok());
    let is_ours = request.app_data::<Data<Hub>>().is_some_and(|hub| hub.tls.is_some());
    // A proxy in front says it; and whoever lies here keeps a cookie from nobody but themselves.
    let is_proxys = text(&header::X_FORWARDED_PROTO).is_some_and(|proto| proto == "https");
    let is_pages = text(&header::ORIGIN).is_some_and(|origin| origin.starts_with("https://"));
    let by_tls = is_ours || is_proxys || is_pages;
    format!("; Path=/; HttpOnly; SameSite=Strict{}", if by_tls { "; Secure" } else { "" })
}

/// The credential in a request's cookie. One that is not good has to be replaced or ended by
/// those who asked for it, never left out.
pub(super) fn credential(request: &HttpRequest) -> Option<String> {
    let cookies = request.headers().get_all(header::COOKIE).filter_map(|v| v.to_str().ok());
    let mut pairs = cookies.flat_map(|text| text.split(';')).filter_map(|p| p.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim() == NAME)?;
    Some(percent_decode_str(value.trim()).decode_utf8_lossy().into_owned())
}
