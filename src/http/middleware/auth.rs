//! Authentication before any handler: checks the host, the origin, and the credential of a request.
//!
//! A hub without credentials is open only to its own machine. It therefore also refuses requests
//! that another site causes: by a name that resolves to the hub (DNS rebinding), or by a page.

use crate::access::{Caller, Denied};
use crate::event::EventId;
use crate::http::error::{Code, Problem, error_for, is_openai_path};
use crate::http::extract::identity::{RequestIdentity, credential_problem};
use crate::http::extract::last_event_id::requested_id;
use crate::http::extract::{cookie, query};
use crate::http::state::AppState;
use crate::journal::now;
use crate::telemetry::RequestRefused;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::http::{Method, Uri};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{HttpMessage as _, HttpRequest};
use percent_encoding::percent_decode_str;
use std::net::IpAddr;
use std::sync::Arc;

/// Origin of a request as browsers report it (W3C Fetch Metadata).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// Query parameters with which other systems send credentials (RFC 6750 §2.3, Mercure).
const QUERY_CREDENTIALS: [&str; 3] = ["access_token", "authorization", "token"];
/// Query parameter of a ticket.
const TICKET: &str = "ticket";

/// Attaches the caller to a request, or refuses the request.
pub(crate) async fn authenticate<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let identity = match request.app_data::<Data<AppState>>() {
        Some(state) => identify(state, request.request())
            .await
            .map_err(|problem| error_for(request.path(), problem))?,
        None => RequestIdentity(None),
    };
    request.extensions_mut().insert(identity);
    next.call(request).await
}

/// Checks the host of a request to the admin listener, which needs no credential. If only this
/// machine can reach the listener, names of other sites must not lead to it (DNS rebinding).
pub(crate) async fn check_admin_host<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    if let Some(state) =
        request.app_data::<Data<AppState>>().filter(|state| state.settings.admin_is_local)
    {
        check_host(state, request.request())?;
    }
    next.call(request).await
}

async fn identify(state: &AppState, request: &HttpRequest) -> Result<RequestIdentity, Problem> {
    if request.headers().get_all(header::HOST).count() > 1 {
        state.telemetry.request_refused(RequestRefused::Host);
        let why = "the request has more than one Host header (RFC 9112 §3.2)";
        return Err(Problem::new(Code::Malformed, why).field("Host"));
    }
    if state.settings.is_local && state.access.load().has_no_credentials() {
        check_host(state, request)?;
        check_site(state, request)?;
    }
    let refuse = |why| credential_problem(state, why);
    if let Some(anonymous) = anonymous_for_openai(state, request) {
        return Ok(RequestIdentity(Some(anonymous)));
    }
    let caller = match presented_credential(request).map_err(refuse)? {
        PresentedCredential::Nothing => {
            check_anonymous(state, request)?;
            return Ok(RequestIdentity(state.access.load().anonymous()));
        }
        PresentedCredential::Bearer(credential) => verify(state, credential).await,
        PresentedCredential::Ticket(ticket, last) => {
            // An id that does not resolve would start the session at the oldest event.
            let last = last.filter(|last| state.history.resolve(*last).is_some());
            state.access.load().verify_ticket(&ticket, last, now())
        }
        // Pages are public, because a page must load to report that its cookie is invalid.
        PresentedCredential::Cookie(_) if request.method().is_safe() && is_page(request.path()) => {
            return Ok(RequestIdentity(state.access.load().anonymous()));
        }
        PresentedCredential::Cookie(credential) => {
            return identify_by_cookie(state, request, &credential).await;
        }
    };
    Ok(RequestIdentity(Some(Arc::new(caller.map_err(refuse)?))))
}

/// Returns the anonymous caller for a request by an SDK of OpenAI to a hub without configured credentials:
/// SDKs always send a key, even if none is needed.
fn anonymous_for_openai(state: &AppState, request: &HttpRequest) -> Option<Arc<Caller>> {
    let access = state.access.load();
    if !is_openai_path(request.path()) || !access.has_no_credentials() {
        return None;
    }
    let is_valid = match presented_credential(request) {
        Ok(PresentedCredential::Bearer(credential)) => access.verify(credential, now()).is_ok(),
        _ => false,
    };
    access.anonymous().filter(|_| !is_valid)
}

/// Returns true for paths that need no credential: pages, and the description of the API.
fn is_page(path: &str) -> bool {
    #[cfg(feature = "dashboard")]
    if crate::http::api::pages::is_page(path) {
        return true;
    }
    path == "/openapi.json"
}

/// Verifies a credential. If its key is unknown, fetches the key set and verifies it again.
async fn verify(state: &AppState, credential: &str) -> Result<Caller, Denied> {
    let verified = state.access.load().verify(credential, now());
    #[cfg(feature = "remote-keys")]
    if matches!(verified, Err(Denied::Unknown | Denied::Algorithm))
        && state.access.load().lacks_key_of(credential)
        && let Some(key_set) = state.key_set.load_full()
        && key_set.fetch_for_unknown().await
    {
        return state.access.load().verify(credential, now());
    }
    verified
}

/// Identifies the caller by a cookie. A browser adds the cookie to requests of any page, so unsafe
/// methods are accepted only from pages of the hub and of allowed origins. An invalid cookie is
/// ended, because the browser would send it forever.
async fn identify_by_cookie(
    state: &AppState,
    request: &HttpRequest,
    credential: &str,
) -> Result<RequestIdentity, Problem> {
    let caller = verify(state, credential).await;
    let caller = caller.map_err(|why| {
        credential_problem(state, why).ends_cookie(cookie::expired_cookie(request))
    })?;
    if request.method().is_safe() || is_own_page(state, request) {
        return Ok(RequestIdentity(Some(Arc::new(caller))));
    }
    state.telemetry.request_refused(RequestRefused::CrossSite);
    let why = "the cookie is accepted only from pages of this hub and of origins in --cors-origin";
    Err(Problem::new(Code::Forbidden, why).field("Origin"))
}

/// Credential that a request presents.
enum PresentedCredential<'a> {
    Nothing,
    Bearer(&'a str),
    /// A ticket, and the id of the last event that its bearer has.
    Ticket(String, Option<EventId>),
    /// Credential of a cookie; used only if no other is presented.
    Cookie(String),
}

/// Returns the credential of a request. A second credential, or one in an unknown form, is an
/// error, so that the request is never treated as anonymous.
fn presented_credential(request: &HttpRequest) -> Result<PresentedCredential<'_>, Denied> {
    let mut values = request.headers().get_all(header::AUTHORIZATION);
    let ticket = ticket_in_query(request)?;
    let value = match (values.next(), values.next(), ticket) {
        (None, _, Some((ticket, last))) => return Ok(PresentedCredential::Ticket(ticket, last)),
        (None, _, None) => {
            return Ok(cookie::credential(request)
                .map_or(PresentedCredential::Nothing, PresentedCredential::Cookie));
        }
        (Some(value), None, None) => value,
        _ => return Err(Denied::Malformed),
    };
    let text = value.to_str().map_err(|_| Denied::Malformed)?;
    let (scheme, credential) = text.split_once(' ').ok_or(Denied::Malformed)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(PresentedCredential::Bearer(credential.trim()))
    } else {
        Err(Denied::Malformed)
    }
}

/// Returns the ticket and the last event id of a query. Other credentials in a query are refused.
fn ticket_in_query(request: &HttpRequest) -> Result<Option<(String, Option<EventId>)>, Denied> {
    let query = request.query_string();
    let is_named = |pair: &str, name: &str| {
        let encoded_name = pair.split('=').next().unwrap_or_default();
        percent_decode_str(encoded_name).eq(name.bytes())
    };
    let has = |name: &str| query.split('&').any(|pair| is_named(pair, name));
    if QUERY_CREDENTIALS.iter().any(|name| has(name)) {
        return Err(Denied::InQuery);
    }
    if !has(TICKET) {
        return Ok(None);
    }
    let malformed = |_| Denied::Malformed;
    let pairs = query::pairs(query).map_err(malformed)?;
    let ticket = query::single(&pairs, &[TICKET]).map_err(malformed)?.unwrap_or_default();
    let last = requested_id(request, query::last_event_id(&pairs).ok().flatten());
    let is_read = request.method() == Method::GET && request.path().ends_with("/events");
    let can_resume = is_read || request.method() == Method::POST && request.path() == "/events";
    let last = last.filter(|_| can_resume).and_then(|text| EventId::parse(&text).ok());
    Ok(Some((ticket.to_owned(), last)))
}

/// Fails unless a request has one `Host`, which is a name of this machine or is configured
/// (RFC 9110 §7.2 and §15.5.20).
fn check_host(state: &AppState, request: &HttpRequest) -> Result<(), Problem> {
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
fn check_anonymous(state: &AppState, request: &HttpRequest) -> Result<(), Problem> {
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
fn check_site(state: &AppState, request: &HttpRequest) -> Result<(), Problem> {
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
fn is_own_page(state: &AppState, request: &HttpRequest) -> bool {
    let headers = request.headers();
    let is_own = match header_text(headers, &FETCH_SITE) {
        Some(site) => matches!(site, "same-origin" | "none"),
        None => header_text(headers, &header::ORIGIN)
            .is_some_and(|origin| is_same_origin(origin, headers)),
    };
    is_own || is_allowed_origin(state, headers)
}

fn is_allowed_origin(state: &AppState, headers: &HeaderMap) -> bool {
    let origin = header_text(headers, &header::ORIGIN);
    state.settings.cors_origins.iter().any(|allowed| Some(allowed.as_str()) == origin)
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
