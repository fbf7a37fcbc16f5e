//! Authentication before any handler: checks the host, the origin, and the credential of a request.
//!
//! A hub without credentials is open only to its own machine. It therefore also refuses requests
//! that another site causes: by a name that resolves to the hub (DNS rebinding), or by a page.

use crate::access::{Caller, Denied};
use crate::event::EventId;
use crate::http::error::{Code, Problem, error_for, is_openai_path};
use crate::http::extract::identity::{RequestIdentity, credential_problem, was_key_fetched};
use crate::http::extract::last_event_id::requested_id;
use crate::http::extract::{cookie, query};
use crate::http::middleware::site::{
    check_anonymous, check_host, check_site, is_own_page, is_page,
};
use crate::http::state::AppState;
use crate::journal::now;
use crate::telemetry::RequestRefused;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{HttpMessage as _, HttpRequest};
use percent_encoding::percent_decode_str;
use std::sync::Arc;

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
    #[cfg(feature = "mercure")]
    if let Some(identified) = super::mercure::identify(state, request).await {
        return identified;
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

/// Verifies a credential. If its key is unknown, fetches the key set and verifies it again.
async fn verify(state: &AppState, credential: &str) -> Result<Caller, Denied> {
    let verified = state.access.load().verify(credential, now());
    if was_key_fetched(state, credential, &verified).await {
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
