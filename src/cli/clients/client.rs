//! HTTP client of a hub: its URL, the credential, and the meaning of its refusals.
//!
//! Promises: a hub that is unreachable, stopping or at a limit is distinguished from one that
//! refuses the request, because only the first is worth a retry.

use crate::backoff::Backoff;
use crate::config::duration;
use anyhow::Context as _;
use clap::builder::ValueParser;
use clap::{Arg, ArgMatches};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

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
            .value_parser(parse_url)
            .help("URL of the hub; `http://` may be left out"),
        Arg::new("token")
            .long("token-file")
            .value_name("FILE")
            .help("File with the API key or token; without it, FANFARE_TOKEN is used if it is set"),
    ]
}

/// Returns the argument for commands that fail at once if the hub cannot be reached.
pub(super) fn wait_argument() -> Arg {
    Arg::new("wait")
        .long("wait")
        .value_name("DURATION")
        .value_parser(ValueParser::new(duration))
        .help("Time to wait for a hub that cannot be reached; without it, fail at once")
}

/// Parses the URL of a hub.
fn parse_url(text: &str) -> Result<String, String> {
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    match reqwest::Url::parse(&url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => {
            Ok(url.trim_end_matches('/').to_owned())
        }
        _ => Err("expected a URL such as http://127.0.0.1:8080".to_owned()),
    }
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
        let mut http = reqwest::Client::builder();
        if base.starts_with("http:") {
            // No certificates of the system are needed, which minimal containers lack.
            http = http.tls_certs_only([]);
        }
        let http = http
            .user_agent(concat!("fanfare/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true)
            .default_headers(headers)
            .build()
            .context("cannot create an HTTP client; are CA certificates installed?")?;
        Ok(Self { http, base: base.to_owned() })
    }

    /// Creates a request to a path of the hub.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Sends a request that `build` makes, and retries it; returns an error if a retry cannot
    /// succeed.
    pub(super) async fn send_with_retry(
        &self,
        build: impl Fn(&Self) -> RequestBuilder,
        pauses: &mut Retries,
    ) -> Result<Response, Failure> {
        loop {
            match self.send(build(self)).await {
                Ok(answer) => {
                    pauses.reset();
                    return Ok(answer);
                }
                Err(failure) => pauses.after(failure).await?,
            }
        }
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
        if let Some(scheme) = other_scheme(&self.base, &why) {
            why.push_str(&format!("; does the hub use {scheme}:// on this port?"));
        }
        Failure::Unreachable { at: self.base.clone(), why }
    }
}

/// Returns the scheme that the port seems to have: a TLS handshake with plain HTTP ends with a
/// corrupt message, plain HTTP on a TLS port with an alert that is no HTTP.
fn other_scheme(base: &str, why: &str) -> Option<&'static str> {
    if base.starts_with("https:") {
        why.contains("corrupt message").then_some("http")
    } else {
        why.contains("invalid HTTP version").then_some("https")
    }
}

/// Retries of one operation, with pauses between them.
pub(super) struct Retries {
    backoff: Backoff,
    /// Time until which a hub may be unreachable that has not answered yet; `None` if always.
    deadline: Option<Instant>,
    /// True if the user was told about the retries.
    was_reported: bool,
}

impl Retries {
    pub(super) fn new() -> Self {
        let backoff = Backoff::new(FIRST_PAUSE, MAX_PAUSE);
        Self { backoff, deadline: None, was_reported: false }
    }

    /// Creates retries that end unless the hub answers within `--wait`.
    pub(super) fn within_wait(flags: &ArgMatches) -> Self {
        let wait: Duration = flags.get_one("wait").copied().unwrap_or_default();
        Self { deadline: Instant::now().checked_add(wait), ..Self::new() }
    }

    /// Waits before the next attempt, and tells the user before the first. Returns an error if a
    /// retry cannot succeed.
    pub(super) async fn after(&mut self, failure: Failure) -> Result<(), Failure> {
        let after = match &failure {
            Failure::Refused { .. } => return Err(failure),
            Failure::Unavailable { after, .. } => *after,
            Failure::Unreachable { .. } => None,
        };
        let pause = after.unwrap_or(Duration::ZERO).max(self.backoff.pause());
        if self.deadline.is_some_and(|deadline| Instant::now() + pause > deadline) {
            return Err(failure);
        }
        if !std::mem::replace(&mut self.was_reported, true) {
            super::print_message(&format!("{failure}; retrying"));
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Resets the pauses after a success.
    pub(super) fn reset(&mut self) {
        self.deadline = None;
        if std::mem::take(&mut self.was_reported) {
            super::print_message("the hub is available again");
        }
        self.backoff.reset();
    }
}
