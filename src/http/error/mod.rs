//! Errors as `application/problem+json` (RFC 9457), and the one table from code to status.

#[cfg(feature = "chat")]
pub(crate) mod openai;
mod publish;

use crate::event::Invalid;
use crate::http::outcome::{self, InternalFailure, RequestOutcome};
use crate::journal::JournalError;
use crate::limits::Limit;
use crate::source::SourceError;
use crate::telemetry::BoundHit;
use crate::wire::BodyError;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;
use std::fmt;
use utoipa::ToSchema;

/// Kind of a problem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Code {
    /// The request cannot be parsed: not UTF-8, not JSON, a bad query, an empty batch.
    Malformed,
    /// The request can be parsed, but a value is invalid.
    Validation,
    /// The credential is missing or invalid.
    Unauthorized,
    TokenExpired,
    /// The caller has no grant for this.
    Forbidden,
    /// The request is for another host.
    Misdirected,
    NotFound,
    /// The resource existed and is gone.
    Gone,
    MethodNotAllowed,
    /// The hub has no such function.
    #[cfg_attr(
        not(feature = "durable-streams"),
        expect(dead_code, reason = "only that protocol has functions that the hub lacks")
    )]
    NotImplemented,
    Conflict,
    PayloadTooLarge,
    /// A limit of the hub is reached.
    ResourceExhausted,
    /// A limit of the client is reached.
    TooMany,
    DiskFull,
    JournalPoisoned,
    /// The log of the cluster does not answer; nothing was published.
    LogUnavailable,
    /// The log of the cluster has not confirmed a publish.
    Unconfirmed,
    Draining,
    ClientDisconnected,
    ConnectionTimeout,
    /// A part of the hub does not answer.
    Unresponsive,
    ServerError,
}

impl Code {
    /// Returns the code on the wire, its title and its status.
    pub(crate) fn row(self) -> (&'static str, &'static str, StatusCode) {
        use StatusCode as S;
        match self {
            Self::Malformed => ("validation_error", "Bad request", S::BAD_REQUEST),
            Self::Validation => ("validation_error", "Validation failed", S::UNPROCESSABLE_ENTITY),
            Self::Unauthorized => ("unauthorized", "Authentication required", S::UNAUTHORIZED),
            Self::TokenExpired => ("token_expired", "Token expired", S::UNAUTHORIZED),
            Self::Forbidden => ("forbidden", "Forbidden", S::FORBIDDEN),
            Self::Misdirected => {
                ("misdirected_request", "Misdirected request", S::MISDIRECTED_REQUEST)
            }
            Self::NotFound => ("not_found", "Not found", S::NOT_FOUND),
            Self::Gone => ("gone", "Gone", S::GONE),
            Self::MethodNotAllowed => {
                ("method_not_allowed", "Method not allowed", S::METHOD_NOT_ALLOWED)
            }
            Self::NotImplemented => ("not_implemented", "Not implemented", S::NOT_IMPLEMENTED),
            Self::Conflict => ("conflict", "Conflict", S::CONFLICT),
            Self::PayloadTooLarge => {
                ("payload_too_large", "Content too large", S::PAYLOAD_TOO_LARGE)
            }
            Self::ResourceExhausted => {
                ("resource_exhausted", "Limit reached", S::SERVICE_UNAVAILABLE)
            }
            Self::TooMany => ("resource_exhausted", "Too many requests", S::TOO_MANY_REQUESTS),
            Self::DiskFull => ("disk_full", "Disk full", S::SERVICE_UNAVAILABLE),
            Self::JournalPoisoned => {
                ("journal_poisoned", "Journal poisoned", S::SERVICE_UNAVAILABLE)
            }
            Self::LogUnavailable => {
                ("log_unavailable", "Log of the cluster unavailable", S::SERVICE_UNAVAILABLE)
            }
            Self::Unconfirmed => ("unconfirmed", "Publish not confirmed", S::SERVICE_UNAVAILABLE),
            Self::Draining => ("draining", "Draining", S::SERVICE_UNAVAILABLE),
            Self::ClientDisconnected => {
                ("client_disconnected", "Client disconnected", S::BAD_REQUEST)
            }
            Self::ConnectionTimeout => {
                ("connection_timeout", "Request timeout", S::REQUEST_TIMEOUT)
            }
            Self::Unresponsive => {
                ("unresponsive", "Part of the hub does not respond", S::SERVICE_UNAVAILABLE)
            }
            Self::ServerError => {
                ("server_error", "Internal server error", S::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// Returns the code of a request that reached a limit.
    pub(crate) fn of_limit(limit: Limit) -> Self {
        if limit.is_of_caller() { Self::TooMany } else { Self::ResourceExhausted }
    }

    /// Returns the code on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        self.row().0
    }
}

/// A problem document (RFC 9457).
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) detail: String,
    pub(crate) field: Option<String>,
    /// The limit that was reached.
    pub(crate) limit: Option<Limit>,
    /// The queue or buffer that was full.
    pub(crate) bound: Option<BoundHit>,
    /// Seconds after which the client may retry.
    pub(crate) retry_after: Option<u64>,
    /// True for a 401 because the request had no credential.
    lacks_credential: bool,
    /// `Set-Cookie` value that ends an invalid cookie.
    cookie: Option<String>,
    /// `WWW-Authenticate` value, if it is not the usual one.
    challenge: Option<String>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            field: None,
            limit: None,
            bound: None,
            retry_after: None,
            lacks_credential: false,
            cookie: None,
            challenge: None,
        }
    }

    /// Returns the problem of a request that reached a limit.
    pub(crate) fn limit_reached(limit: Limit, detail: impl Into<String>) -> Self {
        Self::new(Code::of_limit(limit), detail).limit(limit)
    }

    /// Returns the problem of a request that found a queue or buffer of the hub full.
    pub(crate) fn bound_hit(bound: BoundHit, detail: impl Into<String>) -> Self {
        let problem = Self::new(Code::ResourceExhausted, detail).retry_after(1);
        Self { bound: Some(bound), ..problem }
    }

    /// Returns the reason that the problem is logged with: the limit or bound, or the code.
    pub(crate) fn reason(&self) -> &'static str {
        let bound = || self.bound.map_or(self.code.as_str(), BoundHit::as_str);
        self.limit.map_or_else(bound, Limit::as_str)
    }

    /// Returns the problem of an invalid query or path.
    pub(crate) fn query(invalid: Invalid) -> Self {
        Self { field: Some(invalid.field), ..Self::new(Code::Malformed, invalid.detail) }
    }

    /// Returns the problem of a request without a credential.
    pub(crate) fn missing_credential(detail: impl Into<String>) -> Self {
        Self { lacks_credential: true, ..Self::new(Code::Unauthorized, detail) }
    }

    /// Returns the challenge of a refusal, if it has one (RFC 6750 §3). It has no error code if the request had
    /// no credential (§3.1).
    fn www_authenticate(&self) -> Option<String> {
        if let Some(challenge) = &self.challenge {
            return Some(challenge.clone());
        }
        if self.code.row().2 != StatusCode::UNAUTHORIZED {
            return None;
        }
        if self.lacks_credential {
            return Some("Bearer realm=\"fanfare\"".to_owned());
        }
        Some(format!(
            "Bearer realm=\"fanfare\", error=\"invalid_token\", error_description=\"{}\"",
            self.detail
        ))
    }

    /// Sets the challenge of a refusal.
    #[cfg(feature = "mercure")]
    #[must_use]
    pub(crate) fn challenge(self, challenge: String) -> Self {
        Self { challenge: Some(challenge), ..self }
    }

    #[must_use]
    pub(crate) fn field(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    #[must_use]
    pub(crate) fn limit(self, limit: Limit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    #[must_use]
    pub(crate) fn ends_cookie(self, cookie: String) -> Self {
        Self { cookie: Some(cookie), ..self }
    }

    #[must_use]
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

/// Returns true for paths of OpenAI's API.
pub(crate) fn is_openai_path(path: &str) -> bool {
    // Streams of the Durable Streams protocol are below /v1/stream/.
    cfg!(feature = "chat") && path.starts_with("/v1/") && !path.starts_with("/v1/stream/")
}

/// Returns the error of a request for `path`, in the form that the clients of that path read.
pub(crate) fn error_for(path: &str, problem: Problem) -> actix_web::Error {
    #[cfg(feature = "chat")]
    if is_openai_path(path) {
        return openai::as_error(problem);
    }
    #[cfg(not(feature = "chat"))]
    let _ = path;
    problem.into()
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self { field: Some(invalid.field), ..Self::new(Code::Validation, invalid.detail) }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Unreadable(why) => Self::new(Code::Malformed, why),
            BodyError::Invalid(invalid) => invalid.into(),
            BodyError::TooLarge { .. } => {
                Self::new(Code::PayloadTooLarge, error.to_string()).field("data")
            }
        }
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        Self::new(Code::ServerError, format!("cannot read history: {error}"))
    }
}

impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Journal(error) => error.into(),
            other => Self::new(Code::ServerError, format!("cannot read history: {other}")),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

/// A problem document (RFC 9457 §3.1).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document<'a> {
    /// `urn:fanfare:problem:` followed by the code.
    r#type: String,
    /// Title of the kind of problem.
    title: &'a str,
    /// HTTP status of the response.
    status: u16,
    /// Description of this problem.
    detail: &'a str,
    /// Code of the kind of problem, for programs.
    code: &'a str,
    /// Part of the request that is invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    /// The limit that was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'a str>,
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.row().2
    }

    fn error_response(&self) -> HttpResponse {
        let body = serde_json::to_vec(&self.document()).unwrap_or_default();
        self.answer("application/problem+json", body)
    }
}

impl Problem {
    /// Returns the problem document.
    pub(crate) fn document(&self) -> Document<'_> {
        let (code, title, status) = self.code.row();
        Document {
            r#type: format!("urn:fanfare:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            code,
            field: self.field.as_deref(),
            limit: self.limit.map(Limit::as_str),
        }
    }

    /// Returns a refusal with this body, with the headers of a refusal and with its reason for the
    /// access log.
    pub(crate) fn answer(&self, content_type: &str, body: Vec<u8>) -> HttpResponse {
        let (_, _, status) = self.code.row();
        let mut response = HttpResponseBuilder::new(status);
        response
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::CONTENT_TYPE, content_type));
        if let Some(challenge) = self.www_authenticate() {
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        if let Some(seconds) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if let Some(cookie) = &self.cookie {
            response.insert_header((header::SET_COOKIE, cookie.as_str()));
        }
        let failed = (status == StatusCode::INTERNAL_SERVER_ERROR)
            .then(|| InternalFailure(self.detail.clone()));
        let mut response =
            outcome::with_outcome(response.body(body), RequestOutcome::Refused(self.reason()));
        if let Some(failed) = failed {
            response.extensions_mut().insert(failed);
        }
        response
    }
}
