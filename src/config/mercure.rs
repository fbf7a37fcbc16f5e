//! Settings of the Mercure protocol.

use super::InvalidValue;
use super::resolve::{Resolver, parse_positive_duration, parse_switch};
use crate::access::{Access, Dialect, JwtSettings, MercureVerifier, Verifier};
use std::time::Duration;
use url::Url;

/// Path of a hub (Mercure protocol, "Hub Discovery").
pub(crate) const WELL_KNOWN_PATH: &str = "/.well-known/mercure";
/// URL of a hub that has only the dialect 0.x, if none is configured. It is the base of relative topics.
const DEFAULT_URL: &str = "http://localhost/.well-known/mercure";

/// Settings of the Mercure protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MercureSettings {
    /// Dialects that are served.
    pub dialects: Vec<Dialect>,
    /// URL of the hub for its clients.
    pub url: Url,
    /// Name of the cookie with a token, if it is not the usual one of the dialect.
    pub cookie: Option<String>,
    /// True if subscriptions are published and listed.
    pub subscriptions: bool,
    /// True if exact matchers also select the streams of that name.
    pub selects_streams: bool,
    /// True if admins may read updates as a stream.
    pub is_readable_as_stream: bool,
}

impl MercureSettings {
    /// Returns the name of the cookie with a token.
    pub fn cookie_name(&self, dialect: Dialect) -> &str {
        let usual = match dialect {
            Dialect::One => "__Secure-mercure_access_token",
            Dialect::Zero => "mercureAuthorization",
        };
        self.cookie.as_deref().unwrap_or(usual)
    }

    /// Returns the header `Link` that leads to the hub (Mercure protocol, "Hub Discovery").
    pub fn link(&self) -> String {
        format!("<{}>; rel=\"mercure\"", self.url)
    }

    /// Returns true if a dialect is served.
    pub fn speaks(&self, dialect: Dialect) -> bool {
        self.dialects.contains(&dialect)
    }
}

impl Resolver {
    /// Returns the settings of the Mercure protocol, if it is on, and access with its keys.
    pub(super) fn with_mercure(&mut self, access: Access) -> (Option<MercureSettings>, Access) {
        match self.mercure(&access) {
            Some((settings, verifier)) => (Some(settings), access.with_mercure(verifier)),
            None => (None, access),
        }
    }

    fn mercure(&mut self, access: &Access) -> Option<(MercureSettings, MercureVerifier)> {
        let dialects = self.value("mercure", parse_dialects).unwrap_or_default();
        let url = self.value("mercure-url", parse_url);
        let settings = MercureSettings {
            cookie: self.value("mercure-cookie", parse_cookie_name),
            subscriptions: self.value("mercure-subscriptions", parse_switch).unwrap_or_default(),
            selects_streams: self.value("mercure-streams", parse_switch).unwrap_or_default(),
            is_readable_as_stream: self.value("mercure-updates", parse_switch).unwrap_or_default(),
            url: url.clone().or_else(|| parse_url(DEFAULT_URL).ok())?,
            dialects,
        };
        let publisher = self.mercure_key("mercure-publisher-key");
        let subscriber = self.mercure_key("mercure-subscriber-key");
        if settings.dialects.is_empty() {
            return None;
        }
        if settings.speaks(Dialect::One) {
            if url.is_none() {
                let why =
                    "the dialect 1.0 needs --mercure-url, which is the audience of its tokens";
                self.raw.add_error("--mercure", why);
            }
            if access.verifier().is_some() && self.raw.of("jwt-issuer").is_none() {
                let why = "the dialect 1.0 needs --jwt-issuer, which its tokens must name";
                self.raw.add_error("--mercure", why);
            }
        }
        // Tokens of publishers often have no expiry, or a very late one.
        let max_lifetime: Option<Duration> = match self.raw.of("jwt-max-lifetime") {
            Some(_) => self.value("jwt-max-lifetime", parse_positive_duration),
            None => None,
        };
        let common = access.verifier().cloned();
        let verifier = MercureVerifier::new(settings.url.clone(), common, max_lifetime)
            .with_keys(publisher, subscriber);
        Some((settings, verifier))
    }

    /// Returns the key of a setting: a secret, or a public key as PEM.
    fn mercure_key(&mut self, name: &'static str) -> Option<Verifier> {
        let value = self.value(name, |text| Ok::<_, InvalidValue>(text.to_owned()))?;
        let is_pem = value.trim_start().starts_with("-----BEGIN");
        let settings = if is_pem {
            JwtSettings { public_key: Some(value.into_bytes()), ..JwtSettings::default() }
        } else {
            JwtSettings { secret: Some(value), ..JwtSettings::default() }
        };
        Verifier::new(settings).unwrap_or_else(|(_, why)| {
            let location = self.raw.of(name).map(|value| value.location).unwrap_or_default();
            self.raw.add_error(location, why.to_string());
            None
        })
    }
}

fn parse_dialects(text: &str) -> Result<Vec<Dialect>, InvalidValue> {
    match text {
        "off" => Ok(Vec::new()),
        "1.0" => Ok(vec![Dialect::One]),
        "0.x" => Ok(vec![Dialect::Zero]),
        "both" => Ok(vec![Dialect::One, Dialect::Zero]),
        _ => Err(InvalidValue::word(text, "off, 1.0, 0.x or both")),
    }
}

/// Parses the URL of the hub. One without a path has the usual one.
fn parse_url(text: &str) -> Result<Url, InvalidValue> {
    let invalid = || InvalidValue::form(text, "a URL like https://example.com/.well-known/mercure");
    let mut url = Url::parse(text).map_err(|_| invalid())?;
    let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !matches!(url.scheme(), "http" | "https") || !is_plain {
        return Err(invalid());
    }
    if url.path() == "/" {
        url.set_path(WELL_KNOWN_PATH);
    }
    // Paths below the hub are its own.
    if url.path().ends_with('/') {
        return Err(invalid());
    }
    Ok(url)
}

fn parse_cookie_name(text: &str) -> Result<String, InvalidValue> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.is_empty() || !text.chars().all(is_valid) {
        return Err(InvalidValue::word(text, "a name of a cookie, such as mercureAuthorization"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_hub_is_absolute_and_has_a_path() {
        let path = |text| parse_url(text).map(|url| url.path().to_owned()).ok();
        assert_eq!(path("https://example.com").as_deref(), Some(WELL_KNOWN_PATH));
        assert_eq!(path("http://localhost:8080/hub").as_deref(), Some("/hub"));
        for bad in ["", "/x", "ftp://a/b", "https://a/b?c", "https://a/b#c", "https://a/b/", "x"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }
}
