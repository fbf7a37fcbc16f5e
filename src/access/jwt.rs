//! Verification of JSON Web Tokens (RFC 7519) with configured keys.
//!
//! The accepted algorithms come from the configuration and the keys, never from a token
//! (RFC 8725 §3.1); a key verifies only algorithms of its family.

use super::error::KeyError;
use super::key_set::{Key, RemoteKeys, key_set, pin, pinned, public_key, secret_key};
use super::{Caller, Denied, GrantClaims, Grants, RevocationMark};
use crate::event::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::sync::Arc;
use std::time::Duration;

/// Settings of token verification.
#[derive(Clone, Debug, Default)]
pub struct JwtSettings {
    /// A secret shared with the issuer (HS256, HS384, HS512).
    pub secret: Option<String>,
    /// A public key as PEM.
    pub public_key: Option<Vec<u8>>,
    /// A key set (RFC 7517) as JSON.
    pub jwks: Option<Vec<u8>>,
    /// True if a key set will be fetched.
    pub has_remote_keys: bool,
    /// Accepted algorithms; if empty, those that the keys are usually used with.
    pub algorithms: Vec<String>,
    /// Required `iss`, if any.
    pub issuer: Option<String>,
    /// Required `aud`, if any.
    pub audience: Option<String>,
    /// Maximum time until `exp`.
    pub max_lifetime: Duration,
}

/// Verifies tokens with keys.
#[derive(Clone)]
pub struct Verifier {
    keys: Vec<Key>,
    remote: Option<Arc<RemoteKeys>>,
    issuer: Option<String>,
    audience: Option<String>,
    max_lifetime_ms: u64,
}

/// Claims that are evaluated; others are ignored.
#[derive(Deserialize)]
struct Claims {
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    iat: Option<f64>,
    #[serde(default)]
    jti: Option<String>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    fanfare: Option<GrantClaims>,
    /// Claims of tokens of the Mercure protocol.
    #[serde(default)]
    mercure: Option<IgnoredAny>,
    #[serde(default, rename = "https://mercure.rocks/")]
    namespaced: Option<IgnoredAny>,
    #[serde(default)]
    authorization_details: Option<IgnoredAny>,
}

impl Claims {
    /// Returns true for a token that is made for the Mercure protocol only.
    fn is_of_mercure(&self) -> bool {
        let own = [&self.mercure, &self.namespaced, &self.authorization_details];
        self.fanfare.is_none() && own.into_iter().any(Option::is_some)
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verifier with {} keys", self.keys.len())
    }
}

/// Returns true if a credential has the three parts of a token.
pub(super) fn looks_like_token(credential: &str) -> bool {
    credential.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl Verifier {
    /// Reads the keys; an error names the invalid setting. `None` if there is no key.
    pub fn new(settings: JwtSettings) -> Result<Option<Self>, (&'static str, KeyError)> {
        let pinned = pinned(&settings.algorithms).map_err(|error| ("jwt-algorithms", error))?;
        let mut keys = Vec::new();
        if let Some(secret) = &settings.secret {
            keys.push(secret_key(secret).map_err(|error| ("jwt-secret", error))?);
        }
        if let Some(pem) = &settings.public_key {
            keys.push(public_key(pem).map_err(|error| ("jwt-public-key", error))?);
        }
        if let Some(json) = &settings.jwks {
            keys.extend(key_set(json).map_err(|error| ("jwks", error))?);
        }
        if keys.is_empty() && !settings.has_remote_keys {
            // Settings of tokens without a key are an error: tokens are meant to be verified.
            let token_settings = [
                ("jwt-issuer", settings.issuer.is_some()),
                ("jwt-audience", settings.audience.is_some()),
                ("jwt-algorithms", pinned.is_some()),
            ];
            return match token_settings.into_iter().find(|(_, is_set)| *is_set) {
                None => Ok(None),
                Some((name, _)) => Err((name, KeyError::NoKey)),
            };
        }
        pin(&mut keys, pinned.as_deref());
        if keys.is_empty() && !settings.has_remote_keys {
            return Err(("jwt-algorithms", KeyError::NoKeyForAlgorithms));
        }
        let remote = settings.has_remote_keys.then(|| Arc::new(RemoteKeys::new(pinned)));
        Ok(Some(Self {
            keys,
            remote,
            issuer: settings.issuer,
            audience: settings.audience,
            max_lifetime_ms: settings.max_lifetime.as_millis() as u64,
        }))
    }

    /// Returns the caller of a token.
    pub(super) fn verify(&self, token: &str, now: Timestamp) -> Result<Caller, Denied> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Denied::Malformed)?;
        // No critical extension is supported (RFC 7515 §4.1.11).
        if header.crit.is_some() {
            return Err(Denied::Malformed);
        }
        let (claims, mark) =
            self.claims::<Claims>(token, &header, |algorithm| self.validation(algorithm))?;
        let ms = |seconds: f64| {
            if seconds.is_finite() && seconds >= 0.0 {
                Ok((seconds * 1e3) as u64)
            } else {
                Err(Denied::Claims)
            }
        };
        let (expires, now) = (ms(claims.exp)?, now.ms());
        // A token has expired at the very time of `exp` (RFC 7519 §4.1.4).
        if expires <= now {
            return Err(Denied::Expired);
        }
        // Counted from `iat`, too: otherwise a token of a year would pass in its last hours.
        let issued = claims.iat.map(ms).transpose()?;
        let valid_from = issued.map_or(now, |issued| issued.min(now));
        if expires - valid_from > self.max_lifetime_ms {
            return Err(Denied::Lifetime);
        }
        if claims.nbf.map(ms).transpose()?.is_some_and(|not_before| not_before > now) {
            return Err(Denied::Early);
        }
        if claims.is_of_mercure() {
            return Err(Denied::Claims);
        }
        let grants = Grants::of(claims.fanfare.unwrap_or_default()).map_err(|_| Denied::Claims)?;
        let expires = Some(Timestamp::from_ms(expires));
        let issued = issued.map(Timestamp::from_ms);
        let (subject, jti) = (claims.sub, claims.jti);
        Ok(Caller {
            subject,
            jti,
            issued,
            grants,
            expires,
            mark: Some(mark),
            ..Caller::anonymous_caller()
        })
    }

    /// Returns false for tokens that name another issuer or another audience than the configured ones. A token of
    /// Mercure 0.x usually names none.
    #[cfg(feature = "mercure")]
    pub(super) fn may_be_for(
        &self,
        issuer: &Option<String>,
        audience: &Option<serde_json::Value>,
        hub: &url::Url,
    ) -> bool {
        let is_issuer = match (&self.issuer, issuer) {
            (Some(own), Some(issuer)) => own == issuer,
            _ => true,
        };
        let is_own = |text: &str| Some(text) == self.audience.as_deref() || text == hub.as_str();
        let is_audience = match audience {
            None => true,
            Some(serde_json::Value::Array(all)) => {
                all.iter().filter_map(serde_json::Value::as_str).any(is_own)
            }
            Some(one) => one.as_str().is_some_and(is_own),
        };
        is_issuer && is_audience
    }

    /// Returns the claims of a token whose times are not checked, and the mark of the key that signed it. An
    /// access token for `audience` must be of the configured issuer.
    #[cfg(feature = "mercure")]
    pub(super) fn decode<C: DeserializeOwned>(
        &self,
        token: &str,
        header: &Header,
        audience: Option<&str>,
    ) -> Result<(C, RevocationMark), Denied> {
        self.claims(token, header, |algorithm| {
            let mut validation = Validation::new(algorithm);
            (validation.validate_exp, validation.validate_nbf) = (false, false);
            validation.validate_aud = audience.is_some();
            let mut required = Vec::new();
            if let Some(audience) = audience {
                validation.set_audience(&[audience]);
                validation.set_issuer(&[self.issuer.as_deref().unwrap_or_default()]);
                required.extend(["aud", "iss"]);
            }
            validation.set_required_spec_claims(&required);
            validation
        })
    }

    /// Returns the claims of a token and the mark of the key that signed it.
    fn claims<C: DeserializeOwned>(
        &self,
        token: &str,
        header: &Header,
        validation: impl Fn(Algorithm) -> Validation,
    ) -> Result<(C, RevocationMark), Denied> {
        let remote = self.remote.as_ref().map(|remote| remote.keys());
        let all_keys = || self.keys.iter().chain(remote.iter().flat_map(|keys| keys.iter()));
        let accepts = |key: &&Key| key.algorithms.contains(&header.alg);
        if all_keys().next().is_some() && !all_keys().any(|key| accepts(&key)) {
            return Err(Denied::Algorithm);
        }
        let mut denied = Denied::Unknown;
        for key in all_keys().filter(accepts).filter(|key| key.matches_header(header)) {
            match jsonwebtoken::decode(token, &key.key, &validation(header.alg)) {
                Ok(decoded) => return Ok((decoded.claims, key.mark)),
                Err(error) => denied = reason(error.kind()),
            }
            if denied != Denied::Signature {
                break;
            }
        }
        Err(denied)
    }

    /// Returns the key set that is fetched, if there is one.
    pub(super) fn remote(&self) -> Option<&Arc<RemoteKeys>> {
        self.remote.as_ref()
    }

    /// Returns true if a token may be signed with a key that was not fetched yet.
    pub(super) fn lacks_key_of(&self, token: &str) -> bool {
        let Some(remote) = &self.remote else { return false };
        let Ok(header) = jsonwebtoken::decode_header(token) else { return false };
        let keys = remote.keys();
        let is_known = |key: &Key| key.id.is_some() && key.id == header.kid;
        keys.is_empty() || header.kid.is_some() && !self.keys.iter().chain(&*keys).any(is_known)
    }

    /// Returns true if the key with this mark exists.
    pub(super) fn has(&self, mark: RevocationMark) -> bool {
        let remote = self.remote.as_ref().map(|remote| remote.keys());
        let mut all_keys = self.keys.iter().chain(remote.iter().flat_map(|keys| keys.iter()));
        all_keys.any(|key| key.mark == mark)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = 0;
        validation.validate_nbf = true;
        // If no audience is required, a token that names one is accepted: not every issuer can omit
        // it.
        validation.validate_aud = self.audience.is_some();
        let mut required = vec!["exp"];
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        validation
    }
}

fn reason(kind: &ErrorKind) -> Denied {
    match kind {
        ErrorKind::InvalidSignature => Denied::Signature,
        ErrorKind::ExpiredSignature => Denied::Expired,
        ErrorKind::ImmatureSignature => Denied::Early,
        ErrorKind::InvalidAudience => Denied::Audience,
        ErrorKind::InvalidIssuer => Denied::Issuer,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => Denied::Algorithm,
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "aud" => Denied::Audience,
            "iss" => Denied::Issuer,
            _ => Denied::Lifetime,
        },
        ErrorKind::InvalidClaimFormat(_) | ErrorKind::Json(_) => Denied::Claims,
        _ => Denied::Malformed,
    }
}
