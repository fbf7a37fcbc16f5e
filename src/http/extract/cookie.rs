//! The cookie that holds a credential.

use crate::http::state::AppState;
use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName};
use actix_web::web::Data;
use percent_encoding::percent_decode_str;

/// Name of the cookie; the port of the hub follows it, because cookies do not distinguish ports.
const NAME: &str = "fanfare";
/// Prefix of the name with TLS: only the host itself can set such a cookie (RFC 6265bis §4.1.3.2).
const HOST_PREFIX: &str = "__Host-";

/// Returns the name of the cookie without TLS for the port of a request's host.
fn name(request: &HttpRequest) -> String {
    let host = request.uri().authority().map(|authority| authority.as_str());
    let host = host.or_else(|| text(request, &header::HOST)).unwrap_or_default();
    // An IPv6 address ends with a bracket.
    let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => format!("{NAME}-{port}"),
        _ => NAME.to_owned(),
    }
}

/// Returns a `Set-Cookie` value that ends the cookie.
pub(crate) fn expired_cookie(request: &HttpRequest) -> String {
    cookie(request, "", 0)
}

/// Returns a `Set-Cookie` value. A page that was loaded over TLS gets a cookie only for TLS.
pub(crate) fn cookie(request: &HttpRequest, value: &str, seconds: u64) -> String {
    let origin = text(request, &header::ORIGIN);
    let by_tls = is_by_tls(request) || origin.is_some_and(|origin| origin.starts_with("https://"));
    let (prefix, secure) = if by_tls { (HOST_PREFIX, "; Secure") } else { ("", "") };
    let name = name(request);
    format!("{prefix}{name}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{secure}")
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
    let pairs = pairs(request);
    let find = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| value);
    // Over TLS, another host of the domain may have set the plain name.
    let name = name(request);
    let value = find(&format!("{HOST_PREFIX}{name}"))
        .or_else(|| find(&name).filter(|_| !is_by_tls(request)))?;
    Some(percent_decode_str(value.trim()).decode_utf8_lossy().into_owned())
}

/// Returns the value of the cookie with a name, if it is not empty.
#[cfg(feature = "mercure")]
pub(crate) fn value(request: &HttpRequest, name: &str) -> Option<String> {
    let pairs = pairs(request);
    let (_, value) = pairs.iter().find(|(own, value)| *own == name && !value.trim().is_empty())?;
    Some(percent_decode_str(value.trim()).decode_utf8_lossy().into_owned())
}

/// Returns the names and values of all cookies.
fn pairs(request: &HttpRequest) -> Vec<(&str, &str)> {
    let cookies = request.headers().get_all(header::COOKIE).filter_map(|v| v.to_str().ok());
    let pairs = cookies.flat_map(|text| text.split(';')).filter_map(|p| p.split_once('='));
    pairs.map(|(name, value)| (name.trim(), value)).collect()
}
