//! Configuration of chats and their upstreams.

use super::invalid_value::InvalidValue;
use super::raw::Table;
use super::resolve::{Resolver, parse_count, parse_positive_duration, parse_size, parse_switch};
use crate::source::{ChatSettings, ChatTimeouts, ECHO, Upstream, UpstreamKey, UpstreamKind};
use crate::wire::chat::StreamUsage;
use reqwest::header::{HeaderName, HeaderValue};

/// Names of the kinds of upstreams.
const KINDS: [(&str, UpstreamKind); 3] = [
    ("openai", UpstreamKind::OpenAi),
    ("azure-v1", UpstreamKind::AzureV1),
    ("azure", UpstreamKind::Azure),
];

impl Resolver {
    /// Returns the settings of chats.
    pub(super) fn chats(&mut self) -> ChatSettings {
        let tables = self.raw.take_tables("chat.upstream");
        let upstreams: Vec<Upstream> = tables
            .into_iter()
            .filter_map(|(location, rule)| self.upstream(&location, rule))
            .collect();
        self.reject_duplicate_models(&upstreams);
        let mut time = |name| self.value(name, parse_positive_duration).unwrap_or_default();
        let timeouts = ChatTimeouts {
            connect: time("chat-connect-timeout"),
            first_token: time("chat-first-token-timeout"),
            idle: time("chat-idle-timeout"),
        };
        ChatSettings {
            upstreams,
            timeouts,
            total_timeout: time("chat-total-timeout"),
            kept: time("chat-kept"),
            max_tokens: self.value("chat-max-tokens", parse_count),
            max_output_bytes: self.value("chat-max-output-bytes", parse_size).unwrap_or_default(),
            max_request_bytes: self.value("chat-max-request-bytes", parse_size).unwrap_or_default(),
            keeps_prompts: self.value("chat-keep-prompts", parse_switch).unwrap_or_default(),
        }
    }

    /// Refuses a model that two upstreams name, because only the first would ever be asked.
    fn reject_duplicate_models(&mut self, upstreams: &[Upstream]) {
        let models = || upstreams.iter().flat_map(|upstream| upstream.models.iter());
        let is_double =
            |(at, model): &(usize, &String)| models().take(*at).any(|other| other == *model);
        for (_, model) in models().enumerate().filter(is_double) {
            self.raw.add_error("chat.upstream", format!("the model {model:?} is named twice"));
        }
    }

    fn upstream(&mut self, location: &str, mut rule: Table) -> Option<Upstream> {
        let name = self.member(&mut rule, "name", |text| match text {
            ECHO => Err(format!("the upstream name {ECHO:?} is reserved")),
            name => Ok(name.to_owned()),
        })?;
        let needs = [("url", "the base URL of its API"), ("models", "a list of model names")];
        for (key, hint) in needs {
            if rule.get(key).is_none_or(|value| value.values.is_empty()) {
                self.raw.add_error(location, format!("upstream {name:?}: missing `{key}`, {hint}"));
            }
        }
        if let Some(value) = rule.remove("api-key") {
            let why =
                "the key must not be in the file; name its environment variable in `api-key-env`";
            self.raw.add_error(value.location, why);
        }
        let url = self.member(&mut rule, "url", parse_url);
        let kind = self.member(&mut rule, "kind", parse_kind).unwrap_or(UpstreamKind::OpenAi);
        let models = rule.remove("models").map_or_else(Vec::new, |value| {
            self.parse(&value, |model| match model {
                "" => Err("the name of a model must not be empty".to_owned()),
                ECHO => Err(format!("the model name {ECHO:?} is reserved")),
                model => Ok(model.to_owned()),
            })
        });
        let key = self.member(&mut rule, "api-key-env", |variable| {
            std::env::var(variable)
                .ok()
                .filter(|key| !key.is_empty())
                .map(UpstreamKey)
                .ok_or_else(|| format!("environment variable {variable:?} is not set or empty"))
        });
        let version = rule.get("api-version").map(|value| value.location.clone());
        let api_version =
            self.member(&mut rule, "api-version", |text| Ok::<_, InvalidValue>(text.to_owned()));
        match (kind, version) {
            (UpstreamKind::Azure, None) => {
                self.raw.add_error(location, "kind azure requires `api-version`");
            }
            (UpstreamKind::OpenAi | UpstreamKind::AzureV1, Some(location)) => {
                self.raw.add_error(location, "`api-version` is only for kind azure");
            }
            _ => {}
        }
        let max_running = self.member(&mut rule, "max-running", parse_count);
        let stream_usage = self.member(&mut rule, "stream-usage", parse_stream_usage);
        let timeouts = ChatTimeouts {
            connect: self.member(&mut rule, "connect-timeout", parse_positive_duration),
            first_token: self.member(&mut rule, "first-token-timeout", parse_positive_duration),
            idle: self.member(&mut rule, "idle-timeout", parse_positive_duration),
        };
        let headers = rule.remove("headers");
        let headers = headers.map_or_else(Vec::new, |value| self.parse(&value, parse_header));
        let is_credential = |name: &str| matches!(name, "authorization" | "api-key");
        if key.is_some() && headers.iter().any(|(name, _)| is_credential(name)) {
            self.raw
                .add_error(location, "`api-key-env` sets the credential; remove it from `headers`");
        }
        self.refuse_others("[chat.upstream.NAME]", rule);
        Some(Upstream {
            name,
            url: url?,
            kind,
            key,
            api_version,
            models,
            max_running,
            headers,
            stream_usage: stream_usage.unwrap_or_default(),
            timeouts,
        })
    }
}

/// Headers that the hub sets itself, or that belong to one connection (RFC 9110 §7.6.1).
const OWN_HEADERS: [&str; 9] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Parses `NAME=VALUE`; a name of a header has no `=`.
fn parse_header(pair: &str) -> Result<(String, UpstreamKey), InvalidValue> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
        return Err(InvalidValue::HeaderName(name.to_owned()));
    };
    if OWN_HEADERS.contains(&header.as_str()) {
        return Err(InvalidValue::OwnHeader(name.to_owned()));
    }
    // The error omits the value, which may be a secret.
    if HeaderValue::from_str(value).is_err() {
        return Err(InvalidValue::HeaderValue(name.to_owned()));
    }
    Ok((header.as_str().to_owned(), UpstreamKey(value.to_owned())))
}

fn parse_stream_usage(text: &str) -> Result<StreamUsage, InvalidValue> {
    match text {
        "auto" => Ok(StreamUsage::Auto),
        "always" => Ok(StreamUsage::Always),
        "never" => Ok(StreamUsage::Never),
        _ => Err(InvalidValue::word(text, "auto, always, never")),
    }
}

fn parse_url(text: &str) -> Result<String, InvalidValue> {
    let invalid = |why| Err(InvalidValue::Url(why));
    let Ok(url) = text.parse::<reqwest::Url>() else { return invalid("is not valid") };
    let path = url.path().trim_end_matches('/');
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return invalid("is neither http nor https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return invalid(
            "has a user name or password (put a key into the variable that `api-key-env` names)",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return invalid("has a query or a fragment");
    }
    if path.ends_with("/chat/completions") {
        return invalid("ends with /chat/completions, which the hub adds");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn parse_kind(text: &str) -> Result<UpstreamKind, InvalidValue> {
    let found = KINDS.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
    found.ok_or_else(|| InvalidValue::word(text, KINDS.map(|(name, _)| name).join(", ")))
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, RawConfig, command};

    fn resolve(file: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f.toml");
        std::fs::write(&path, file).expect("writes");
        let path = path.display().to_string();
        let flags = command().try_get_matches_from(["serve", "--config", &path]).expect("flags");
        let config = Config::resolve(RawConfig::collect(&flags, |_| None));
        config.map_err(|errors| errors.iter().map(|error| format!("{error}\n")).collect())
    }

    #[test]
    fn upstreams_keep_the_order_of_the_file() {
        let file = "[chat.upstream.z]\nurl = \"http://z.example/v1/\"\nmodels = [\"c\", \"b\"]\n\
                    [chat.upstream.a]\nurl = \"http://a.example\"\nmodels = \"a\"\n";
        let chats = resolve(file).expect("ok").chats;
        let models: Vec<&str> = chats.models().into_iter().map(|(model, _)| model).collect();
        assert_eq!(models, ["c", "b", "a", "echo"]);
        assert_eq!(chats.upstreams[0].url, "http://z.example/v1");
    }

    #[test]
    fn invalid_upstream_settings_are_reported_without_secrets() {
        for (member, why) in [
            ("models = []", "missing `models`"),
            ("url = \"https://u:secret@x/v1\"", "has a user name or password"),
            ("url = \"https://x/v1?key=secret\"", "has a query"),
            ("url = \"https://x/v1/chat/completions\"", "ends with /chat/completions"),
            ("url = \"ftp://x\"", "neither http nor https"),
            ("kind = \"azur\"", "not one of openai, azure-v1, azure"),
            ("kind = \"azure\"", "requires `api-version`"),
            ("api-version = \"1\"", "is only for kind azure"),
            ("api-key = \"secret\"", "`api-key-env`"),
            ("api-key-env = \"NO_SUCH_VARIABLE\"", "is not set or empty"),
            ("models = [\"m\", \"m\"]", "named twice"),
            ("models = [\"echo\"]", "is reserved"),
            ("max-running = 0", "not a positive integer"),
            ("stream-usage = \"often\"", "not one of auto, always, never"),
            ("idle-timeout = \"0s\"", "0s"),
            ("headers = { Host = \"secret\" }", "the header \"Host\" is set by the hub"),
            ("headers = { \"a b\" = \"secret\" }", "not a valid header name"),
            ("headers = { a = \"secret\\n\" }", "characters that are not allowed"),
            ("modles = \"m\"", "unknown member \"modles\" in [chat.upstream.NAME]"),
        ] {
            let name = member.split(' ').next().unwrap_or_default();
            let valid = ["url = \"http://x\"", "models = [\"a\"]"].map(str::to_owned);
            let others = valid.iter().filter(|line| !line.starts_with(&format!("{name} ")));
            let lines = others.map(String::as_str).chain([member]).collect::<Vec<_>>().join("\n");
            let errors = resolve(&format!("[chat.upstream.u]\n{lines}\n")).expect_err(member);
            assert!(errors.contains(why) && !errors.contains("secret"), "{member}: {errors}");
        }
        assert!(
            resolve("[chat.upstreams.u]\n").expect_err("wrong").contains("[chat.upstream.NAME]")
        );
    }
}
