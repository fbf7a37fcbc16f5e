//! Configuration of access.

use super::invalid_value::InvalidValue;
use super::raw::{RawValue, Table};
use super::resolve::{Resolver, parse_positive_duration};
use crate::access::{
    ALL, Access, ApiKey, GrantClaims, Grants, JwtSettings, Scope, Verifier, clash,
};
use std::net::SocketAddr;
use std::time::Duration;

impl Resolver {
    /// Returns keys, token settings, and the grants of requests without a credential.
    pub(super) fn access(&mut self) -> Access {
        let tables = self.raw.take_tables("key");
        let location = tables.last().map(|(location, _)| location.clone()).unwrap_or_default();
        let keys = tables.into_iter().filter_map(|(location, rule)| self.key(&location, rule));
        let keys: Vec<ApiKey> = keys.collect();
        if let Some(why) = clash(&keys) {
            self.raw.add_error(location, why.to_string());
        }
        let max_lifetime =
            self.value("jwt-max-lifetime", parse_positive_duration).unwrap_or_default();
        let verifier = self.verifier(max_lifetime);
        Access::new(keys, verifier, self.anonymous()).with_max_lifetime(max_lifetime)
    }

    /// Returns true if other machines may reach the hub. A host name may resolve to any address;
    /// only `localhost` is always local.
    pub(super) fn is_reachable(&self) -> bool {
        let is_local = |text: &String| match text.parse::<SocketAddr>() {
            Ok(address) => address.ip().is_loopback(),
            Err(_) => text.starts_with("localhost:"),
        };
        self.raw.of("listen").is_some_and(|listen| !listen.values.iter().all(is_local))
    }

    fn anonymous(&mut self) -> Option<Grants> {
        let known = |text: &str| match text {
            "subscribe" | "publish" | "end" | "delete" | "metrics" | "chat" => Ok(text.to_owned()),
            _ => Err(format!(
                "{text:?} is not one of subscribe, publish, end, delete, metrics, chat"
            )),
        };
        let names = self.list("anonymous", known);
        let all_streams = Scope::parse(&["**".to_owned()]).unwrap_or_default();
        let mut grants = Grants::none();
        for name in &names {
            match name.as_str() {
                "subscribe" => grants.subscribe = all_streams.clone(),
                "publish" => grants.publish = all_streams.clone(),
                "end" => grants.end = all_streams.clone(),
                "delete" => grants.delete = all_streams.clone(),
                "chat" => grants.chat = [ALL.to_owned()].into(),
                _ => grants.metrics = true,
            }
        }
        (!names.is_empty()).then_some(grants)
    }

    fn verifier(&mut self, max_lifetime: Duration) -> Option<Verifier> {
        let text = |text: &str| Ok::<_, InvalidValue>(text.to_owned());
        let read = |path: &str| std::fs::read(path).map_err(|e| format!("cannot read {path}: {e}"));
        let has_remote_keys = self.jwks_url().is_some();
        let settings = JwtSettings {
            secret: self.value("jwt-secret", text),
            public_key: self.value("jwt-public-key", read),
            jwks: self
                .value("jwks", |t| if is_url(t) { remote_keys() } else { read(t).map(Some) })
                .flatten(),
            has_remote_keys,
            algorithms: self.list("jwt-algorithms", text),
            issuer: self.value("jwt-issuer", text),
            audience: self.value("jwt-audience", text),
            max_lifetime,
        };
        Verifier::new(settings).unwrap_or_else(|(name, why)| {
            let location =
                self.raw.of(name).map_or_else(|| format!("--{name}"), |value| value.location);
            self.raw.add_error(location, why.to_string());
            None
        })
    }

    /// Returns the URL of the key set, if one is configured.
    pub(super) fn jwks_url(&self) -> Option<String> {
        let value = self.raw.of("jwks")?.values.into_iter().next()?;
        is_url(&value).then_some(value)
    }

    fn key(&mut self, location: &str, mut rule: Table) -> Option<ApiKey> {
        let mut take = |name: &str| rule.remove(name);
        let (name, hash, admin) = (take("name"), take("sha256"), take("admin"));
        let (publish, end, delete) = (take("publish"), take("end"), take("delete"));
        let subscribe = take("subscribe");
        let (run, files, chat) = (take("run"), take("files"), take("chat"));
        for (name, value) in rule {
            self.raw.add_error(value.location, format!("unknown member {name:?} in [[key]]"));
        }
        let texts = |value: Option<RawValue>| value.map(|value| value.values).unwrap_or_default();
        let claims = GrantClaims {
            publish: texts(publish),
            end: texts(end),
            delete: texts(delete),
            subscribe: texts(subscribe),
            run: texts(run),
            files: texts(files),
            chat: texts(chat),
            admin: admin.is_some_and(|value| self.parse(&value, parse_bool).pop() == Some(true)),
        };
        let grants = Grants::of(claims).unwrap_or_else(|invalid| {
            self.raw.add_error(location, invalid.detail);
            Grants::none()
        });
        let first =
            |value: Option<RawValue>| value.and_then(|value| value.values.into_iter().next());
        let (name, hash) = (first(name).unwrap_or_default(), first(hash).unwrap_or_default());
        match ApiKey::new(&name, &hash, grants) {
            Ok(key) => Some(key),
            Err(why) => {
                self.raw.add_error(location, why.to_string());
                None
            }
        }
    }
}

/// Refuses a key set at a URL in a build that cannot fetch it.
fn remote_keys() -> Result<Option<Vec<u8>>, String> {
    if cfg!(feature = "remote-keys") {
        Ok(None)
    } else {
        Err("a URL needs the feature \"remote-keys\", which this build lacks".to_owned())
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// Parses a host name or address, without a port.
pub(super) fn parse_host(text: &str) -> Result<String, InvalidValue> {
    let is_valid = |c: char| c.is_alphanumeric() || "-._:[]".contains(c);
    if text.is_empty() || !text.chars().all(is_valid) {
        return Err(InvalidValue::word(text, "a host name, such as hub.example.com"));
    }
    Ok(text.to_owned())
}

/// Parses the origin of a page, or `*`.
pub(super) fn parse_origin(text: &str) -> Result<String, InvalidValue> {
    let is_origin = text == "*"
        || text.split_once("://").is_some_and(|(scheme, host)| {
            matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('/')
        });
    if is_origin {
        Ok(text.to_owned())
    } else {
        Err(InvalidValue::form(text, "an origin like https://app.example, or *"))
    }
}

fn parse_bool(text: &str) -> Result<bool, InvalidValue> {
    text.parse().map_err(|_| InvalidValue::word(text, "true, false"))
}
