//! Requests of the Mercure protocol: their settings, dialect and errors.

use crate::access::{Denied, Dialect, problem_detail};
use crate::config::{MercureSettings, WELL_KNOWN_PATH};
use crate::http::error::{Code, Problem};
use crate::http::state::AppState;
use actix_web::{HttpMessage as _, HttpRequest};
use std::fmt::Write as _;
use std::sync::Arc;
use url::Url;

/// Path of the metadata of a protected resource, before that of the resource (RFC 9728 §3.1).
pub(crate) const METADATA_PREFIX: &str = "/.well-known/oauth-protected-resource";

/// A request of the Mercure protocol, as its authentication understood it.
#[derive(Clone)]
pub(crate) struct MercureRequest {
    pub(crate) settings: Arc<MercureSettings>,
    pub(crate) dialect: Dialect,
}

impl MercureRequest {
    /// Returns what the authentication found out about a request.
    pub(crate) fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let found = request.extensions().get::<Self>().cloned();
        found.ok_or_else(|| Problem::new(Code::ServerError, "the request was not authenticated"))
    }

    /// Returns the problem of a request without a token that needs one, or with one that is refused.
    pub(crate) fn refused(&self, state: &AppState, why: Denied) -> Problem {
        state.telemetry.credential_refused(why);
        let detail = problem_detail(why);
        if why == Denied::Missing {
            return Problem::missing_credential(detail).challenge(self.challenge(None));
        }
        Problem::new(Code::Unauthorized, detail).challenge(self.challenge(Some("invalid_token")))
    }

    /// Returns the problem of a token that is presented in a wrong way.
    pub(crate) fn misplaced(&self, state: &AppState, why: Denied) -> Problem {
        if !self.settings.speaks(Dialect::One) {
            return self.refused(state, why);
        }
        state.telemetry.credential_refused(why);
        let challenge = self.challenge(Some("invalid_request"));
        Problem::new(Code::Malformed, problem_detail(why)).challenge(challenge)
    }

    /// Returns the problem of a valid token that does not grant an operation.
    pub(crate) fn insufficient(&self, detail: String) -> Problem {
        // Clients of 0.x know only 401.
        let code = match self.dialect {
            Dialect::One => Code::Forbidden,
            Dialect::Zero => Code::Unauthorized,
        };
        Problem::new(code, detail).challenge(self.challenge(Some("insufficient_scope")))
    }

    /// Returns the challenge of a refusal (RFC 6750 §3).
    fn challenge(&self, error: Option<&str>) -> String {
        let mut challenge = "Bearer".to_owned();
        let mut separator = ' ';
        if let Some(error) = error {
            let _ = write!(challenge, "{separator}error=\"{error}\"");
            separator = ',';
        }
        if self.settings.speaks(Dialect::One) {
            let url = metadata_url(&self.settings.url);
            let _ = write!(challenge, "{separator}resource_metadata=\"{url}\"");
        }
        challenge
    }
}

/// Returns the URL of the metadata of a hub.
pub(crate) fn metadata_url(hub: &Url) -> Url {
    let mut url = hub.clone();
    url.set_path(&format!("{METADATA_PREFIX}{}", hub.path()));
    url
}

/// Returns the paths of the hub on this server: the usual one, and that of its URL.
pub(crate) fn hub_paths(settings: &MercureSettings) -> Vec<&str> {
    let mut paths = vec![WELL_KNOWN_PATH, settings.url.path()];
    paths.dedup();
    paths
}

/// Returns true for paths of the hub, and of what is below it.
pub(crate) fn is_mercure_path(settings: &MercureSettings, path: &str) -> bool {
    let is_below = |hub: &str| {
        path.strip_prefix(hub).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    hub_paths(settings).into_iter().any(is_below)
}

impl MercureRequest {
    /// Returns true for the path of the hub itself.
    pub(crate) fn is_hub(&self, path: &str) -> bool {
        hub_paths(&self.settings).contains(&path)
    }
}
