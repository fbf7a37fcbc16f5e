//! The cookie that holds a credential.

use crate::http::state::AppState;
use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName};
use actix_web::web::Data;
use percent_encoding::percent_decode_str;

/// The cookie's name, and what it is called where connections are by TLS: only the host itself can
/// set one whose name begins so (RFC 6265bis §4.1.3.2).
const NAME: &str = "fanfare";

const HOST_NAME: &str = "__Host-fanfare";

/// A cookie that takes the place of the one there is, and ends.
pub(crate) fn ended(request: &HttpRequest) -> String {
    cookie(request, "", 0)
}

/// A page that came by TLS gets a cookie that goes by TLS alone.
pub(crate) fn cookie(request: &HttpRequest, value: &str, seconds: u64) -> String {
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
