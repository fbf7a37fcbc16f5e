//! Configuration of chats: upstreams, timeouts, and limits.

use crate::wire::chat::StreamUsage;
use std::fmt;
use std::time::Duration;

/// Built-in model that is always available.
pub const ECHO: &str = "echo";

/// Protocol of an upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// OpenAI: `{url}/chat/completions` with the key as a bearer token; also vLLM, Ollama,
    /// llama.cpp and LiteLLM.
    OpenAi,
    /// Azure's `/openai/v1/`, with the key in `api-key`.
    AzureV1,
    /// Azure's deployments, with `api-version`; a model is the name of a deployment.
    Azure,
}

/// A secret key, which `Debug` does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamKey(pub String);

impl fmt::Debug for UpstreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamKey")
    }
}

/// An upstream, which serves models.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upstream {
    /// Name in logs and metrics.
    pub name: String,
    /// URL without a trailing slash.
    pub url: String,
    /// Protocol.
    pub kind: Kind,
    /// Credential of the hub at the upstream.
    pub key: Option<UpstreamKey>,
    /// API version of [`Kind::Azure`].
    pub api_version: Option<String>,
    /// Models.
    pub models: Vec<String>,
    /// Maximum number of concurrent requests; further chats wait.
    pub max_running: Option<u64>,
    /// Further headers of requests.
    pub headers: Vec<(String, UpstreamKey)>,
    /// The setting `stream-usage`.
    pub stream_usage: StreamUsage,
    /// Timeouts that override those of the hub.
    pub timeouts: Timeouts<Option<Duration>>,
}

/// Timeouts of an upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timeouts<T> {
    /// Time until the connection is established.
    pub connect: T,
    /// Time until the first token.
    pub first_token: T,
    /// Maximum time without output or a comment after the first token.
    pub idle: T,
}

impl Upstream {
    /// Returns the URL for requests to `model`.
    pub(super) fn endpoint(&self, model: &str) -> String {
        let Self { url, .. } = self;
        match self.kind {
            Kind::OpenAi => format!("{url}/chat/completions"),
            Kind::AzureV1 => format!("{url}/openai/v1/chat/completions"),
            Kind::Azure => {
                let version = self.api_version.as_deref().unwrap_or_default();
                format!("{url}/openai/deployments/{model}/chat/completions?api-version={version}")
            }
        }
    }

    /// Returns a text without the key, and without header values that are long enough to be a key.
    pub(super) fn without_key(&self, text: &str) -> String {
        const KEY_BYTES: usize = 8;
        let of_headers = self.headers.iter().map(|(_, value)| value);
        let secrets = of_headers.filter(|value| value.0.len() >= KEY_BYTES).chain(&self.key);
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret.0.as_str(), "…"))
    }

    /// Returns the header with the key.
    pub(super) fn credential(&self) -> Option<(&'static str, String)> {
        let UpstreamKey(key) = self.key.as_ref()?;
        Some(match self.kind {
            Kind::OpenAi => ("authorization", format!("Bearer {key}")),
            Kind::AzureV1 | Kind::Azure => ("api-key", key.clone()),
        })
    }
}

/// Settings of chats.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChatSettings {
    /// Upstreams, in the order of the configuration.
    pub upstreams: Vec<Upstream>,
    /// Default timeouts of upstreams.
    pub timeouts: Timeouts<Duration>,
    /// Maximum duration of a chat.
    pub total_timeout: Duration,
    /// Maximum number of tokens of an answer, whatever a request asks for.
    pub max_tokens: Option<u64>,
    /// Maximum size of an answer, in bytes.
    pub max_output_bytes: usize,
    /// Maximum size of a request, in bytes.
    pub max_request_bytes: usize,
    /// Time for which a chat is kept after its end.
    pub kept: Duration,
    /// True if requests are stored in the journal, too.
    pub keeps_prompts: bool,
}

impl ChatSettings {
    /// Returns the upstream of a model; `None` for the echo and for an unknown model.
    pub(super) fn upstream_of(&self, model: &str) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.models.iter().any(|known| known == model))
    }

    /// Returns the name of a model's upstream in logs and metrics; empty if the model is no longer
    /// configured.
    pub(super) fn upstream_name(&self, model: &str) -> &str {
        match self.upstream_of(model) {
            Some(upstream) => &upstream.name,
            None if model == ECHO => ECHO,
            None => "",
        }
    }

    /// Returns the timeouts of an upstream; `None` is the echo.
    pub(super) fn timeouts_of(&self, upstream: Option<&Upstream>) -> Timeouts<Duration> {
        let (all, own) = (self.timeouts, upstream.map(|of| of.timeouts).unwrap_or_default());
        Timeouts {
            connect: own.connect.unwrap_or(all.connect),
            first_token: own.first_token.unwrap_or(all.first_token),
            idle: own.idle.unwrap_or(all.idle),
        }
    }

    /// Returns the names of all upstreams.
    pub(super) fn upstream_names(&self) -> impl Iterator<Item = &str> {
        self.upstreams.iter().map(|upstream| upstream.name.as_str()).chain([ECHO])
    }

    /// Returns all models and the names of their upstreams, the default model first.
    pub fn models(&self) -> Vec<(&str, &str)> {
        let all = self.upstreams.iter().flat_map(|upstream| {
            upstream.models.iter().map(|model| (model.as_str(), upstream.name.as_str()))
        });
        all.chain([(ECHO, "fanfare")]).collect()
    }

    /// Returns the time for which the records of chats are kept: as long as any chat may exist, and
    /// a margin.
    pub fn records_kept(&self) -> Duration {
        /// Margin for clock differences and the queue of deletions.
        const MARGIN: Duration = Duration::from_secs(60 * 60);
        self.total_timeout + self.kept * 2 + MARGIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_and_credential_depend_on_the_protocol() {
        let upstream = |kind| Upstream {
            name: "u".into(),
            url: "https://x.example".into(),
            kind,
            key: Some(UpstreamKey("k".into())),
            api_version: Some("2024-10-21".into()),
            models: vec!["m".into()],
            max_running: None,
            headers: Vec::new(),
            stream_usage: StreamUsage::Auto,
            timeouts: Timeouts::default(),
        };
        for (kind, endpoint, credential) in [
            (Kind::OpenAi, "https://x.example/chat/completions", ("authorization", "Bearer k")),
            (Kind::AzureV1, "https://x.example/openai/v1/chat/completions", ("api-key", "k")),
            (
                Kind::Azure,
                "https://x.example/openai/deployments/m/chat/completions?api-version=2024-10-21",
                ("api-key", "k"),
            ),
        ] {
            assert_eq!(upstream(kind).endpoint("m"), endpoint);
            let shown = upstream(kind).credential();
            assert_eq!(shown, Some((credential.0, credential.1.to_owned())));
        }
        assert!(!format!("{:?}", upstream(Kind::Azure)).contains("\"k\""), "the key is printed");
    }
}
