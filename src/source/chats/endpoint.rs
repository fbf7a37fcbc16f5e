//! The upstreams as they are reached: an HTTP client each, and what was learned of them.

use super::spec::{ChatSettings, Upstream};
use crate::wire::chat::{StreamUsage, UpstreamFailure};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// An upstream's HTTP client, and what was learned of the upstream.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) client: reqwest::Client,
    /// Set once it has refused `stream_options`.
    refuses_options: AtomicBool,
}

impl Endpoint {
    /// Returns which `stream_options` the upstream is sent; `None` where none at all.
    pub(super) fn stream_usage(&self, upstream: &Upstream) -> Option<StreamUsage> {
        let is_auto = upstream.stream_usage == StreamUsage::Auto;
        let is_refused = is_auto && self.refuses_options.load(Ordering::Relaxed);
        (!is_refused).then_some(upstream.stream_usage)
    }

    /// Returns true if a refusal is about `stream_options`, so that the upstream may be asked without.
    pub(super) fn refuses_options(upstream: &Upstream, refusal: &UpstreamFailure) -> bool {
        upstream.stream_usage == StreamUsage::Auto
            && matches!(refusal.status, Some(400 | 422))
            && refusal.names("stream_options")
    }

    /// Notes that the upstream answers without what it has refused.
    pub(super) fn answers_without_options(&self, upstream: &Upstream) {
        if !self.refuses_options.swap(true, Ordering::Relaxed) {
            let upstream = upstream.name.as_str();
            tracing::info!(upstream, "upstream refuses stream_options; usage will be estimated");
        }
    }
}

/// The endpoints of all upstreams, by their names.
#[derive(Debug)]
pub(super) struct Endpoints(HashMap<String, Endpoint>);

impl Endpoints {
    pub(super) fn new(settings: &ChatSettings) -> Result<Self, reqwest::Error> {
        let endpoint = |upstream: &Upstream| {
            let client = reqwest::Client::builder()
                .connect_timeout(settings.timeouts_of(Some(upstream)).connect)
                // An upstream may close an idle connection at the moment that it is used again, and
                // then nobody knows whether the model runs. A new one costs little beside an answer.
                .pool_max_idle_per_host(0)
                // Where a redirection leads, the key must not go.
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
