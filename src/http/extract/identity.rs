//! The caller of a request, as the authentication middleware identified it.

use crate::access::{Caller, Denied, problem_detail};
use crate::http::error::{Code, Problem};
use crate::http::extract::client::client;
use crate::http::state::AppState;
use crate::limits::QuotaOwner;
use actix_web::{HttpMessage as _, HttpRequest};
use std::sync::Arc;

/// Caller that the authentication middleware attaches to a request; `None` for an anonymous caller
/// without grants.
#[derive(Clone)]
pub(crate) struct RequestIdentity(pub(crate) Option<Arc<Caller>>);

/// Returns the client and subject that a request's sessions and publishes are counted for.
pub(crate) fn quota_owner(state: &AppState, request: &HttpRequest, caller: &Caller) -> QuotaOwner {
    QuotaOwner { client: client(state, request), subject: caller.counted_as() }
}

/// Returns the caller of a request, if it is known.
pub(crate) fn identity(request: &HttpRequest) -> Option<Arc<Caller>> {
    request.extensions().get::<RequestIdentity>().and_then(|RequestIdentity(caller)| caller.clone())
}

/// Returns the caller of a request, or the problem that authentication is required.
pub(crate) fn require_caller(
    state: &AppState,
    request: &HttpRequest,
) -> Result<Arc<Caller>, Problem> {
    identity(request).ok_or_else(|| credential_problem(state, Denied::Missing))
}

/// Fails unless the caller of a request has the grant `admin`.
pub(crate) fn require_admin(state: &AppState, request: &HttpRequest) -> Result<(), Problem> {
    if require_caller(state, request)?.grants.admin {
        Ok(())
    } else {
        Err(Problem::new(Code::Forbidden, "permission denied: the grant `admin` is required"))
    }
}

/// Counts a refused credential and returns its problem.
pub(crate) fn credential_problem(state: &AppState, why: Denied) -> Problem {
    state.telemetry.credential_refused(why);
    let detail = problem_detail(why);
    match why {
        Denied::Missing => Problem::missing_credential(detail),
        Denied::Expired => Problem::new(Code::TokenExpired, detail),
        _ => Problem::new(Code::Unauthorized, detail),
    }
}

/// Fetches the key set if a credential was refused because its key is unknown. Returns true if the credential may be
/// valid now.
pub(crate) async fn was_key_fetched(
    state: &AppState,
    credential: &str,
    verified: &Result<Caller, Denied>,
) -> bool {
    #[cfg(feature = "remote-keys")]
    if matches!(verified, Err(Denied::Unknown | Denied::Algorithm))
        && state.access.load().lacks_key_of(credential)
        && let Some(key_set) = state.key_set.load_full()
    {
        return key_set.fetch_for_unknown().await;
    }
    #[cfg(not(feature = "remote-keys"))]
    let _ = (state, credential, verified);
    false
}
