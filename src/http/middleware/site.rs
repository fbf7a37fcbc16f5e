//! Checks of the host and the origin of a request, against pages of other sites.

use crate::http::error::{Code, Problem};
use crate::http::state::AppState;
use crate::telemetry::RequestRefused;
use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::http::{Method, Uri};
use std::net::IpAddr;

/// Origin of a request as browsers report it (W3C Fetch Metadata).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Returns true for paths that need no credential: pages, and the description of the API.
pub(super) fn is_page(path: &str) -> bool {
    #[cfg(feature = "dashboard")]
    if crate::http::api::pages::is_page(path) {
        return true;
    }
    path == "/openapi.json"
}

/// Fails unless a request has one `Host`, which is a name of this machine or is configured
/// (RFC 9110 §7.2 and §15.5.20).
pub(super) fn check_host(state: &AppState, request: &HttpRequest) -> Result<(), Problem> {
    let refuse = |code, why: String| {
        state.telemetry.request_refused(RequestRefused::Host);
        Err(Problem::new(code, why).field("Host"))
    };
    let mut hosts = request.headers().get_all(header::HOST).map(|value| value.to_str());
    let (Some(Ok(host)), None) = (hosts.next(), hosts.next()) else {
        return refuse(Code::Malformed, "the request must have one valid Host header".into());
    };
    let is_ours = |authority: &str| {
        let name = host_name(authority).unwrap_or_default();
        let mut public = state.settings.public_hosts.iter();
        is_loopback(name) || public.any(|allowed| allowed.eq_ignore_ascii_case(name))
    };
    // A host in the request target takes precedence over the header (RFC 9112 §3.2.2).
    let target = request.uri().authority().map_or(host, |authority| authority.as_str());
    if is_ours(host) && is_ours(target) {
        Ok(())
    } else {
        refuse(
            Code::Misdirected,
            format!(
                "host {target:?} is not allowed: without credentials, the hub accepts only names \
                 of its own machine and of --public-host"
            ),
        )
    }
}

/// Refuses requests without a credential that a page of another site may have caused, if anonymous
/// callers have grants: a write, or any request by a name that is not the hub's (DNS rebinding).
pub(super) fn check_anonymous(state: &AppState, request: &HttpRequest) -> Result<(), Problem> {
    if !state.access.load().has_anonymous() || is_public(request) {
        return Ok(());
    }
    if !request.method().is_safe() {
        check_site(state, request)?;
    }
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let target = request.uri().authority().map_or(host, |authority| Some(authority.as_str()));
    let is_ours = |authority: &str| {
        let name = host_name(authority).unwrap_or_default();
        let mut public = state.settings.public_hosts.iter();
        // DNS rebinding needs a name, so an IP address is safe.
        name.parse::<IpAddr>().is_ok()
            || is_loopback(name)
            || public.any(|allowed| allowed.eq_ignore_ascii_case(name))
    };
    if [host, target].into_iter().flatten().all(is_ours) {
        return Ok(());
    }
    state.telemetry.request_refused(RequestRefused::Host);
    let why = "requests without a credential are accepted only for localhost, IP addresses and the \
               names in --public-host";
    Err(Problem::new(Code::Misdirected, why).field("Host"))
}

/// Returns true for pages, and for paths that reveal only that the hub is running.
fn is_public(request: &HttpRequest) -> bool {
    request.method().is_safe()
        && (matches!(request.path(), "/healthz" | "/readyz") || is_page(request.path()))
}

/// Returns the name in `name:port`, `[address]:port` or either without the port.
pub(crate) fn host_name(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let is_port = port.is_empty() || port.starts_with(':');
    (is_port && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Refuses requests by pages of other sites, except navigations to a page of the hub.
pub(super) fn check_site(state: &AppState, request: &HttpRequest) -> Result<(), Problem> {
    let headers = request.headers();
    let is_foreign = match header_text(headers, &FETCH_SITE) {
        Some(site) => !matches!(site, "same-origin" | "same-site" | "none"),
        // Browsers without Fetch Metadata send `Origin` with requests that could do harm.
        None => header_text(headers, &header::ORIGIN)
            .is_some_and(|origin| !is_same_origin(origin, headers)),
    };
    let is_navigation =
        request.method() == Method::GET && header_text(headers, &FETCH_MODE) == Some("navigate");
    if !is_foreign || is_navigation && is_page(request.path()) {
        return Ok(());
    }
    let is_open = state.settings.cors_origins.iter().any(|origin| origin == "*");
    if is_open || is_allowed_origin(state, headers) {
        return Ok(());
    }
    state.telemetry.request_refused(RequestRefused::CrossSite);
    let why = "permission denied: pages of other sites need their origin in --cors-origin";
    Err(Problem::new(Code::Forbidden, why).field("Origin"))
}

/// Returns true if a page of this hub or of an origin in --cors-origin sent the request.
pub(super) fn is_own_page(state: &AppState, request: &HttpRequest) -> bool {
    let headers = request.headers();
    let is_own = match header_text(headers, &FETCH_SITE) {
        Some(site) => matches!(site, "same-origin" | "none"),
        None => origin(headers).is_some_and(|origin| is_same_origin(&origin, headers)),
    };
    is_own || is_allowed_origin(state, headers)
}

fn is_allowed_origin(state: &AppState, headers: &HeaderMap) -> bool {
    let origin = origin(headers);
    state.settings.cors_origins.iter().any(|allowed| Some(allowed) == origin.as_ref())
}

/// Returns the origin of the page that sent a request; without `Origin`, that of `Referer`.
fn origin(headers: &HeaderMap) -> Option<String> {
    if let Some(origin) = header_text(headers, &header::ORIGIN) {
        return Some(origin.to_owned());
    }
    let referer = header_text(headers, &header::REFERER)?.parse::<Uri>().ok()?;
    Some(format!("{}://{}", referer.scheme_str()?, referer.authority()?))
}

fn is_same_origin(origin: &str, headers: &HeaderMap) -> bool {
    let uri = origin.parse::<Uri>().ok();
    let authority = uri.as_ref().and_then(|uri| uri.authority());
    authority.map(|authority| authority.as_str()) == header_text(headers, &header::HOST)
}

fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::cases;
    use proptest::prelude::*;

    #[test]
    fn loopback_names_are_recognised_with_any_port() {
        for host in ["localhost", "LocalHost:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:80", "[::1]"]
        {
            assert!(host_name(host).is_some_and(is_loopback), "{host}");
        }
        for other in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "[::2]",
            "",
            "127.0.0.1.x",
            "[::1]x",
            "[::1",
            "localhost:x",
            "::1",
        ] {
            assert!(!host_name(other).is_some_and(is_loopback), "{other}");
        }
    }

    proptest! {
        #![proptest_config(cases(1_000))]

        #[test]
        fn host_name_parses_a_name_with_an_optional_port(
            name in prop_oneof!["[a-zé0-9.-]{1,20}", any::<std::net::Ipv4Addr>().prop_map(|a| a.to_string())],
            address in any::<std::net::Ipv6Addr>(),
            port in proptest::option::of(any::<u16>()),
        ) {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let (by_name, text) = (format!("{name}{port}"), address.to_string());
            prop_assert_eq!(host_name(&by_name), Some(name.as_str()));
            let by_address = format!("[{text}]{port}");
            prop_assert_eq!(host_name(&by_address), Some(text.as_str()));
            prop_assert_eq!(is_loopback(&text), address.is_loopback());
        }

        #[test]
        fn host_name_accepts_nothing_but_a_name_and_a_port(
            text in "(\\[::1\\]|localhost|127\\.0\\.0\\.1)?(\\[|\\]|::1|:|[0-9]{1,5}|@|/|evil|\\.| |é){0,4}",
        ) {
            let Some(name) = host_name(&text) else { return Ok(()) };
            let is_in_text = [name.to_owned(), format!("[{name}]")].into_iter().any(|host| {
                let port = text.strip_prefix(&host);
                port.is_some_and(|port| {
                    let digits = port.strip_prefix(':');
                    port.is_empty() || digits.is_some_and(|d| d.bytes().all(|b| b.is_ascii_digit()))
                })
            });
            prop_assert!(is_in_text, "{:?} of {:?}", name, text);
        }
    }
}
