//! HTTP client of a hub: its URL, the credential, and the meaning of its refusals.
//!
//! Promises: a hub that is unreachable, stopping or at a limit is distinguished from one that
//! refuses the request, because only the first is worth a retry.

use crate::backoff::Backoff;
use anyhow::Context as _;
use clap::{Arg, ArgMatches};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use std::process::ExitCode;
use std::time::Duration;

/// Default URL of the hub.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// Maximum time to connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Pause before the first retry; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Maximum `Retry-After` that is respected.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// A client of one hub.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
}

/// Failure of a request to a hub.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The hub cannot be reached, or the connection broke.
    #[error("cannot reach the hub at {at}: {why}")]
    Unreachable {
        /// URL of the hub.
        at: String,
        /// Error of the system.
        why: String,
    },
    /// The hub cannot serve the request now.
    #[error("the hub cannot serve the request now: {why}")]
    Unavailable {
        /// Message of the hub.
        why: String,
        /// Time after which to try again.
        after: Option<Duration>,
    },
    /// The hub refuses the request.
    #[error("the hub refused the request: {why}")]
    Refused {
        /// Message of the hub.
        why: String,
        /// Part of the request that is wrong.
        field: Option<String>,
    },
}

impl Failure {
    /// Returns the exit status for scripts.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Unreachable { .. } | Self::Unavailable { .. } => ExitCode::from(3),
            Self::Refused { .. } => ExitCode::from(4),
        }
    }
}

/// Members of a problem document (RFC 9457) that are used.
#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: Option<String>,
    field: Option<String>,
}

/// Returns the arguments that all clients have: URL and credential.
pub(super) fn arguments() -> [Arg; 2] {
    [
        Arg::new("url")
            .long("url")
            .value_name("URL")
            .env("FANFARE_URL")
            .default_value(DEFAULT_URL)
            .help("URL of the hub"),
        Arg::new("token")
            .long("token-file")
            .value_name("FILE")
            .help("File with the API key or token; without it, FANFARE_TOKEN is used if it is set"),
    ]
}

impl Client {
    /// Creates a client from the arguments and the environment.
    pub(super) fn of(flags: &ArgMatches) -> anyhow::Result<Self> {
        let base = flags.get_one::<String>("url").map_or(DEFAULT_URL, String::as_str);
        let token = match flags.get_one::<String>("token") {
            Some(file) => Some(std::fs::read_to_string(file).with_context(|| file.clone())?),
            None => std::env::var("FANFARE_TOKEN").ok(),
        };
        let mut headers = HeaderMap::new();
        if let Some(token) = token.as_deref().map(str::trim).filter(|token| !token.is_empty()) {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .context("the token contains invalid characters")?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let http = reqwest::Client::builder()
            .user_agent(concat!("fanfare/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true)
            .default_headers(headers)
            .build()?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned() })
    }

    /// Creates a request to a path of the hub.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Sends a request; a status other than success is a failure.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let answer = request.send().await.map_err(|error| self.connection_failure(error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let seconds = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        let after = seconds.map(|s| Duration::from_secs(s).min(MAX_RETRY_AFTER));
        let text = answer.text().await.unwrap_or_default();
        let problem = serde_json::from_str::<Problem>(&text).ok();
        let field = problem.as_ref().and_then(|problem| problem.field.clone());
        let why = match problem {
            Some(Problem { title, detail: Some(detail), .. }) => format!("{title}: {detail}"),
            Some(Problem { title, .. }) => title,
            // Not a problem document: the response is not of a hub, or of a proxy in front of it.
            None => status.to_string(),
        };
        let is_retryable = status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        if is_retryable {
            Err(Failure::Unavailable { why, after })
        } else {
            Err(Failure::Refused { why, field })
        }
    }

    /// Returns the failure for a broken connection, with its innermost cause.
    pub(super) fn connection_failure(&self, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        let mut why = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            why = inner.to_string();
            cause = inner.source();
        }
        Failure::Unreachable { at: self.base.clone(), why }
    }
}

/// Retries of one operation, with pauses between them.
pub(super) struct Retries {
    backoff: Backoff,
    /// True if the user was told about the retries.
    was_reported: bool,
}

impl Retries {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::new(FIRST_PAUSE, MAX_PAUSE), was_reported: false }
    }

    /// Waits before the next attempt, and tells the user before the first. Returns an error if a
    /// retry cannot succeed.
    pub(super) async fn after(&mut self, failure: Failure) -> Result<(), Failure> {
        let after = match &failure {
            Failure::Refused { .. } => return Err(failure),
            Failure::Unavailable { after, .. } => *after,
            Failure::Unreachable { .. } => None,
        };
        if !std::mem::replace(&mut self.was_reported, true) {
            super::print_message(&format!("{failure}; retrying"));
        }
        tokio::time::sleep(after.unwrap_or(Duration::ZERO).max(self.backoff.pause())).await;
        Ok(())
    }

    /// Resets the pauses after a success.
    pub(super) fn reset(&mut self) {
        if std::mem::take(&mut self.was_reported) {
            super::print_message("the hub is available again");
        }
        self.backoff.reset();
    }
}
