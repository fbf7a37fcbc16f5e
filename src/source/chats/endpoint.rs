//! Endpoints of upstreams: an HTTP client for each, and what was learned about it.

use super::spec::{ChatSettings, Upstream};
use crate::wire::chat::{StreamUsage, UpstreamFailure};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// HTTP client of an upstream, and what was learned about the upstream.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) client: reqwest::Client,
    /// Set once it has refused `stream_options`.
    refuses_options: AtomicBool,
}

impl Endpoint {
    /// Returns the policy for `stream_options`; `None` if the upstream refuses them.
    pub(super) fn stream_usage(&self, upstream: &Upstream) -> Option<StreamUsage> {
        let is_auto = upstream.stream_usage == StreamUsage::Auto;
        let is_refused = is_auto && self.refuses_options.load(Ordering::Relaxed);
        (!is_refused).then_some(upstream.stream_usage)
    }

    /// Returns true if a refusal is about `stream_options`, so that a request without them may
    /// succeed.
    pub(super) fn refuses_options(upstream: &Upstream, refusal: &UpstreamFailure) -> bool {
        upstream.stream_usage == StreamUsage::Auto
            && matches!(refusal.status, Some(400 | 422))
            && refusal.names("stream_options")
    }

    /// Records that the upstream answers a request without `stream_options`.
    pub(super) fn answers_without_options(&self, upstream: &Upstream) {
        if !self.refuses_options.swap(true, Ordering::Relaxed) {
            let upstream = upstream.name.as_str();
            tracing::info!(upstream, "upstream refuses stream_options; usage will be estimated");
        }
    }
}

/// Endpoints of all upstreams, by name.
#[derive(Debug)]
pub(super) struct Endpoints(HashMap<String, Endpoint>);

impl Endpoints {
    pub(super) fn new(settings: &ChatSettings) -> Result<Self, reqwest::Error> {
        let endpoint = |upstream: &Upstream| {
            let mut client = reqwest::Client::builder();
            if upstream.url.starts_with("http:") {
                // No certificates of the system are needed, which minimal containers lack.
                client = client.tls_certs_only([]);
            }
            let client = client
                .connect_timeout(settings.timeouts_of(Some(upstream)).connect)
                // An upstream may close an idle connection just as it is used again. Then it is
                // unknown if the model runs. A new connection costs little compared to an answer.
                .pool_max_idle_per_host(0)
                // The key must not be sent to the target of a redirect.
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("fanfare/", env!("CARGO_PKG_VERSION")))
                .build()?;
            let refuses_options = AtomicBool::new(false);
            Ok((upstream.name.clone(), Endpoint { client, refuses_options }))
        };
        settings.upstreams.iter().map(endpoint).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn of(&self, upstream: &Upstream) -> Option<&Endpoint> {
        self.0.get(&upstream.name)
    }
}
