//! `/session`: a credential in a cookie, for pages, and whose it is.
//!
//! The cookie holds what was shown and nothing else, so that it is as good as that, for as long.

use crate::http::guard::require_caller;
use crate::http::openapi::Refused;
use crate::http::problem::{Code, Problem};
use crate::http::server::AppState;
use crate::journal::now;
use actix_web::http::header::{self, HeaderName};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;

/// The cookie's name, and what it is called where connections are by TLS: only the host itself can
/// set one whose name begins so (RFC 6265bis §4.1.3.2).
const NAME: &str = "fanfare";
const HOST_NAME: &str = "__Host-fanfare";

/// Who asks, and what they may do.
#[derive(Serialize, ToSchema)]
pub(crate) struct Who {
    /// `key NAME`, or `sub SUB` of a token; null where nothing was shown.
    subject: Option<String>,
    /// When what was shown is good no longer (RFC 3339).
    expires_at: Option<String>,
    /// Selectors of streams to publish to.
    publish: Vec<String>,
    /// Selectors of streams to end.
    end: Vec<String>,
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
pub(crate) async fn who(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = require_caller(&state, &request)?;
    let grants = &caller.grants;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Who {
        subject: caller.counted_as().map(|subject| subject.to_string()),
        expires_at: caller.expires.map(|expires| expires.to_string()),
        publish: grants.publish.selectors(),
        end: grants.end.selectors(),
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
pub(crate) async fn begin(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = require_caller(&state, &request)?;
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let Some((_, credential)) = shown.and_then(|text| text.split_once(' ')) else {
        let why = "show the credential that the session is to have as `Authorization: Bearer`";
        return Err(Problem::new(Code::Unauthorized, why));
    };
    let now = now();
    let seconds = state.access.load().ends(&caller, now).ms().saturating_sub(now.ms()) / 1000;
    let value = utf8_percent_encode(credential.trim(), NON_ALPHANUMERIC);
    Ok(answer(cookie(&request, &value.to_string(), seconds)))
}

/// `DELETE /session`
#[utoipa::path(delete, path = "/session", tag = "access",
    responses(
        (status = 204, description = "The cookie is ended",
         headers(("set-cookie" = String, description = "One that takes its place and ends"))),
        Refused,
    )
)]
pub(crate) async fn end(request: HttpRequest) -> HttpResponse {
    answer(ended(&request))
}

fn answer(cookie: String) -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::SET_COOKIE, cookie))
        .finish()
}

/// A cookie that takes the place of the one there is, and ends.
pub(crate) fn ended(request: &HttpRequest) -> String {
    cookie(request, "", 0)
}

/// A page that came by TLS gets a cookie that goes by TLS alone.
fn cookie(request: &HttpRequest, value: &str, seconds: u64) -> String {
    let origin = text(request, &header::ORIGIN);
    let by_tls = is_by_tls(request) || origin.is_some_and(|origin| origin.starts_with("https://"));
    let (name, secure) = if by_tls { (HOST_NAME, "; Secure") } else { (NAME, "") };
    format!("{name}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{secure}")
}

/// Returns true for a request that came by TLS to the hub, or to the proxy in front of it: whoever
/// lies there keeps a cookie from nobody but themselves.
fn is_by_tls(request: &HttpRequest) -> bool {
    let is_ours = request.app_data::<Data<AppState>>().is_some_and(|state| state.tls.is_some());
    is_ours || text(request, &header::X_FORWARDED_PROTO).is_some_and(|proto| proto == "https")
}

fn text<'a>(request: &'a HttpRequest, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

/// The credential in a request's cookie. One that is not good has to be replaced or ended by
/// those who asked for it, never left out.
pub(crate) fn credential(request: &HttpRequest) -> Option<String> {
    let cookies = request.headers().get_all(header::COOKIE).filter_map(|v| v.to_str().ok());
    let pairs = cookies.flat_map(|text| text.split(';')).filter_map(|p| p.split_once('='));
    let pairs: Vec<_> = pairs.map(|(name, value)| (name.trim(), value)).collect();
    let of = |wanted: &str| pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    // By TLS the plain name may have been set by another host of the domain.
    let value = of(HOST_NAME).or_else(|| of(NAME).filter(|_| !is_by_tls(request)))?;
    Some(percent_decode_str(value.trim()).decode_utf8_lossy().into_owned())
}
