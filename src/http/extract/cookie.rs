//! The cookie that holds a credential.

use crate::http::state::AppState;
use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName};
use actix_web::web::Data;
use percent_encoding::percent_decode_str;

/// Names of the cookie without and with TLS. Only the host itself can set a cookie with the prefix
/// `__Host-` (RFC 6265bis §4.1.3.2).
const NAME: &str = "fanfare";

const HOST_NAME: &str = "__Host-fanfare";

/// Returns a `Set-Cookie` value that ends the cookie.
pub(crate) fn expired_cookie(request: &HttpRequest) -> String {
    cookie(request, "", 0)
}

/// Returns a `Set-Cookie` value. A page that was loaded over TLS gets a cookie only for TLS.
pub(crate) fn cookie(request: &HttpRequest, value: &str, seconds: u64) -> String {
    let origin = text(request, &header::ORIGIN);
    let by_tls = is_by_tls(request) || origin.is_some_and(|origin| origin.starts_with("https://"));
    let (name, secure) = if by_tls { (HOST_NAME, "; Secure") } else { (NAME, "") };
    format!("{name}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{secure}")
}

/// Returns true for a request that came over TLS to the hub, or to the proxy in front of it. A
/// client that forges the proxy's header affects only its own cookie.
fn is_by_tls(request: &HttpRequest) -> bool {
    let is_ours = request.app_data::<Data<AppState>>().is_some_and(|state| state.tls.is_some());
    is_ours || text(request, &header::X_FORWARDED_PROTO).is_some_and(|proto| proto == "https")
}

fn text<'a>(request: &'a HttpRequest, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

/// Returns the credential in a request's cookie. The caller must replace or end an invalid one,
/// never ignore it.
pub(crate) fn credential(request: &HttpRequest) -> Option<String> {
    let cookies = request.headers().get_all(header::COOKIE).filter_map(|v| v.to_str().ok());
    let pairs = cookies.flat_map(|text| text.split(';')).filter_map(|p| p.split_once('='));
    let pairs: Vec<_> = pairs.map(|(n, value)| (n.trim(), value)).collect();
    let find = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| value);
    // Over TLS, another host of the domain may have set the plain name.
    let value = find(HOST_NAME).or_else(|| find(NAME).filter(|_| !is_by_tls(request)))?;
    Some(percent_decode_str(value.trim()).decode_utf8_lossy().into_owned())
}
