//! Chats and the upstreams that they ask, as configured.

use super::resolve::{Resolver, parse_count, parse_size, parse_some_time, parse_switch};
use super::said::Rule;
use crate::source::{ChatSettings, ECHO, Upstream, UpstreamKey, UpstreamKind};

/// The names of the ways to speak to an upstream.
const KINDS: [(&str, UpstreamKind); 3] = [
    ("openai", UpstreamKind::OpenAi),
    ("azure-v1", UpstreamKind::AzureV1),
    ("azure", UpstreamKind::Azure),
];

impl Resolver {
    /// What chats go by.
    pub(super) fn chats(&mut self) -> ChatSettings {
        let tables = self.said.take_tables("chat.upstream");
        let upstreams: Vec<Upstream> =
            tables.into_iter().filter_map(|(place, rule)| self.upstream(&place, rule)).collect();
        self.refuse_doubles(&upstreams);
        let mut time = |name| self.one(name, parse_some_time).unwrap_or_default();
        let (connect_timeout, first_token_timeout) =
            (time("chat-connect-timeout"), time("chat-first-token-timeout"));
        let (idle_timeout, total_timeout) = (time("chat-idle-timeout"), time("chat-total-timeout"));
        ChatSettings {
            upstreams,
            connect_timeout,
            first_token_timeout,
            idle_timeout,
            total_timeout,
            kept: time("chat-kept"),
            max_tokens: self.one("chat-max-tokens", parse_count),
            max_output_bytes: self.one("chat-max-output-bytes", parse_size).unwrap_or_default(),
            max_request_bytes: self.one("chat-max-request-bytes", parse_size).unwrap_or_default(),
            keeps_prompts: self.one("chat-keep-prompts", parse_switch).unwrap_or_default(),
        }
    }

    /// A model of two upstreams would be asked of the first alone, and nobody told.
    fn refuse_doubles(&mut self, upstreams: &[Upstream]) {
        let models = || upstreams.iter().flat_map(|upstream| upstream.models.iter());
        let is_double =
            |(at, model): &(usize, &String)| models().take(*at).any(|one| one == *model);
        for (_, model) in models().enumerate().filter(is_double) {
            self.said.note("chat.upstream", format!("the model {model:?} is named twice"));
        }
    }

    fn upstream(&mut self, place: &str, mut rule: Rule) -> Option<Upstream> {
        let name = self.member(&mut rule, "name", |text| Ok(text.to_owned()))?;
        if !["url", "models"].iter().all(|needed| rule.contains_key(*needed)) {
            self.said.note(place, "an upstream needs `url`, and `models`, a list of their names");
        }
        let url = self.member(&mut rule, "url", parse_url);
        let kind = self.member(&mut rule, "kind", parse_kind).unwrap_or(UpstreamKind::OpenAi);
        let models = rule.remove("models").map_or_else(Vec::new, |words| {
            self.parse(&words, |model| match model {
                "" => Err("a model has a name".to_owned()),
                ECHO => Err(format!("the model {ECHO:?} is the hub's own")),
                model => Ok(model.to_owned()),
            })
        });
        let key = self.member(&mut rule, "api-key-env", |variable| {
            std::env::var(variable)
                .ok()
                .filter(|key| !key.is_empty())
                .map(UpstreamKey)
                .ok_or_else(|| format!("the variable {variable:?} is not set"))
        });
        let version = rule.get("api-version").map(|words| words.place.clone());
        let api_version = self.member(&mut rule, "api-version", |text| Ok(text.to_owned()));
        match (kind, version) {
            (UpstreamKind::Azure, None) => {
                self.said.note(place, "an upstream of kind azure needs `api-version`");
            }
            (UpstreamKind::OpenAi | UpstreamKind::AzureV1, Some(place)) => {
                self.said.note(place, "api-version is for the kind azure");
            }
            _ => {}
        }
        self.refuse_others("an upstream", rule);
        Some(Upstream { name, url: url?, kind, key, api_version, models })
    }
}

fn parse_url(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no URL like https://api.openai.com/v1");
    let url: reqwest::Url = text.parse().map_err(|_| wrong())?;
    let is_plain = url.query().is_none() && url.fragment().is_none() && url.password().is_none();
    match matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err(wrong()),
    }
}

fn parse_kind(text: &str) -> Result<UpstreamKind, String> {
    let found = KINDS.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
    found.ok_or_else(|| {
        let names = KINDS.map(|(name, _)| name).join(", ");
        format!("{text:?} is none of {names}")
    })
}
