//! JSON Web Tokens (RFC 7519), held against configured keys.
//!
//! The algorithms that are taken come from the configuration and the keys, never from a token
//! (RFC 8725 §3.1); a key verifies only what its family signs.

use super::{Caller, Claimed, Denied, Grants};
use crate::event::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Header, Validation};
use serde::Deserialize;
use std::time::Duration;

/// What tokens are held against.
#[derive(Clone, Debug, Default)]
pub struct JwtSettings {
    /// A secret shared with whoever signs (HS256, HS384, HS512).
    pub secret: Option<String>,
    /// A public key as PEM.
    pub public_key: Option<Vec<u8>>,
    /// A key set (RFC 7517) as JSON.
    pub jwks: Option<Vec<u8>>,
    /// The algorithms that are taken; none for those the keys are usually used with.
    pub algorithms: Vec<String>,
    /// The `iss` that is asked for, where one is.
    pub issuer: Option<String>,
    /// The `aud` that is asked for, where one is.
    pub audience: Option<String>,
    /// How far away `exp` may be.
    pub max_lifetime: Duration,
}

/// Holds tokens against keys.
#[derive(Clone)]
pub struct Verifier {
    keys: Vec<Key>,
    issuer: Option<String>,
    audience: Option<String>,
    max_lifetime_ms: u64,
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
    /// Whether the key itself says which algorithm it is for.
    is_named: bool,
}

impl Key {
    /// One that says nothing of itself.
    fn of(key: DecodingKey, algorithms: Vec<Algorithm>) -> Self {
        Self { id: None, key, algorithms, is_named: false }
    }
}

/// The claims that count; what else a token says does not matter.
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
    fanfare: Claimed,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verifier with {} keys", self.keys.len())
    }
}

/// Whether it has the three parts of a token.
pub(super) fn looks_like_one(credential: &str) -> bool {
    credential.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl Verifier {
    /// Reads the keys; the error names the setting that is wrong. `None` where there is no key.
    pub fn new(settings: JwtSettings) -> Result<Option<Self>, (&'static str, String)> {
        let pinned = pinned(&settings.algorithms).map_err(|why| ("jwt-algorithms", why))?;
        let mut keys = Vec::new();
        if let Some(secret) = &settings.secret {
            keys.push(secret_key(secret).map_err(|why| ("jwt-secret", why))?);
        }
        if let Some(pem) = &settings.public_key {
            keys.push(public_key(pem).map_err(|why| ("jwt-public-key", why))?);
        }
        if let Some(json) = &settings.jwks {
            keys.extend(key_set(json).map_err(|why| ("jwks", why))?);
        }
        if keys.is_empty() {
            // Whoever says what tokens must be like means that they are asked for.
            let said = [
                ("jwt-issuer", settings.issuer.is_some()),
                ("jwt-audience", settings.audience.is_some()),
                ("jwt-algorithms", pinned.is_some()),
            ];
            return match said.into_iter().find(|(_, is_said)| *is_said) {
                None => Ok(None),
                Some((name, _)) => Err((
                    name,
                    "there is no key for tokens: --jwt-secret, --jwt-public-key or --jwks".into(),
                )),
            };
        }
        if let Some(pinned) = pinned {
            for key in &mut keys {
                if !key.is_named {
                    key.algorithms = key.key.family().algorithms().to_vec();
                }
                key.algorithms.retain(|algorithm| pinned.contains(algorithm));
            }
            keys.retain(|key| !key.algorithms.is_empty());
            if keys.is_empty() {
                return Err(("jwt-algorithms", "no key that is given is used with these".into()));
            }
        }
        Ok(Some(Self {
            keys,
            issuer: settings.issuer,
            audience: settings.audience,
            max_lifetime_ms: settings.max_lifetime.as_millis() as u64,
        }))
    }

    /// Whose token it is, and what it grants.
    pub(super) fn verify(&self, token: &str, now: Timestamp) -> Result<Caller, Denied> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Denied::Malformed)?;
        // What it calls critical is not understood here (RFC 7515 §4.1.11).
        if header.crit.is_some() {
            return Err(Denied::Malformed);
        }
        let claims = self.claims(token, &header)?;
        let ms = |seconds: f64| match seconds.is_finite() && seconds >= 0.0 {
            true => Ok((seconds * 1e3) as u64),
            false => Err(Denied::Claims),
        };
        let (expires, now) = (ms(claims.exp)?, now.ms());
        // On the moment of its end it has ended (RFC 7519 §4.1.4).
        if expires <= now {
            return Err(Denied::Expired);
        }
        if expires - now > self.max_lifetime_ms {
            return Err(Denied::Lifetime);
        }
        if claims.nbf.map(ms).transpose()?.is_some_and(|begins| begins > now) {
            return Err(Denied::Early);
        }
        let grants = Grants::of(claims.fanfare).map_err(|_| Denied::Claims)?;
        let expires = Some(Timestamp::from_ms(expires));
        let issued = claims.iat.map(ms).transpose()?.map(Timestamp::from_ms);
        let (subject, jti) = (claims.sub, claims.jti);
        Ok(Caller { subject, jti, issued, grants, expires, ..Caller::nobody() })
    }

    /// What a token says, if a key has signed it.
    fn claims(&self, token: &str, header: &Header) -> Result<Claims, Denied> {
        let takes = |key: &&Key| key.algorithms.contains(&header.alg);
        if !self.keys.iter().any(|key| takes(&key)) {
            return Err(Denied::Algorithm);
        }
        let is_meant = |key: &&Key| match (&key.id, &header.kid) {
            (Some(id), Some(meant)) => id == meant,
            _ => true,
        };
        let mut denied = Denied::Unknown;
        for key in self.keys.iter().filter(takes).filter(is_meant) {
            match jsonwebtoken::decode(token, &key.key, &self.validation(header.alg)) {
                Ok(decoded) => return Ok(decoded.claims),
                Err(error) => denied = reason(error.kind()),
            }
            if denied != Denied::Signature {
                break;
            }
        }
        Err(denied)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = 0;
        validation.validate_nbf = true;
        // A token that names an audience is taken where none is asked for: not every issuer can
        // leave it out.
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

fn pinned(names: &[String]) -> Result<Option<Vec<Algorithm>>, String> {
    let parse = |name: &String| {
        name.parse::<Algorithm>().map_err(|_| format!("{name:?} is no algorithm that is known"))
    };
    let all = names.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    Ok((!all.is_empty()).then_some(all))
}

/// Bytes of a secret that cannot be tried out (RFC 7518 §3.2).
const MIN_SECRET_BYTES: usize = 32;

fn secret_key(secret: &str) -> Result<Key, String> {
    if secret.len() < MIN_SECRET_BYTES {
        return Err(format!("a secret has at least {MIN_SECRET_BYTES} bytes"));
    }
    Ok(Key::of(DecodingKey::from_secret(secret.as_bytes()), vec![Algorithm::HS256]))
}

/// Which kind of key it is the PEM does not say outside, so that all are tried.
fn public_key(pem: &[u8]) -> Result<Key, String> {
    use Algorithm::{ES256, ES384, EdDSA, RS256};
    if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
        return Ok(Key::of(key, vec![RS256]));
    }
    if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        return Ok(Key::of(key, vec![EdDSA]));
    }
    match DecodingKey::from_ec_pem(pem) {
        // A key is on one curve, and verifies nothing of the other.
        Ok(key) => Ok(Key::of(key, vec![ES256, ES384])),
        Err(_) => Err("it is no public key of RSA, EC or Ed25519 in PEM".into()),
    }
}

fn key_set(json: &[u8]) -> Result<Vec<Key>, String> {
    let set: JwkSet = serde_json::from_slice(json).map_err(|e| format!("no key set: {e}"))?;
    let is_short = |key: &&Key| {
        key.key.family() == AlgorithmFamily::Hmac
            && key.key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() < MIN_SECRET_BYTES)
    };
    let keys: Vec<Key> = set.keys.iter().filter_map(key_of_set).collect();
    if let Some(short) = keys.iter().find(is_short) {
        let name = short.id.as_deref().unwrap_or("without a kid");
        return Err(format!("key {name:?}: a secret has at least {MIN_SECRET_BYTES} bytes"));
    }
    match keys.is_empty() {
        true => Err("the key set has no key that could verify a token".into()),
        false => Ok(keys),
    }
}

/// A key of a set; `None` where it is for something else.
fn key_of_set(jwk: &Jwk) -> Option<Key> {
    let common = &jwk.common;
    let signs = common.public_key_use.as_ref().is_none_or(|u| *u == PublicKeyUse::Signature);
    let mut operations = common.key_operations.iter().flatten();
    let verifies = common.key_operations.is_none()
        || operations.any(|o| matches!(o, KeyOperations::Verify | KeyOperations::Sign));
    if !signs || !verifies {
        return None;
    }
    let usual = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
        AlgorithmParameters::OctetKeyPair(_) => Algorithm::EdDSA,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => {
            Algorithm::ES384
        }
        AlgorithmParameters::EllipticCurve(_) => Algorithm::ES256,
        _ => return None,
    };
    let algorithm = match common.key_algorithm {
        Some(named) => Algorithm::try_from(named).ok()?,
        None => usual,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    let fits = key.family() == algorithm.family();
    let is_named = common.key_algorithm.is_some();
    let id = common.key_id.clone();
    fits.then(|| Key { id, key, algorithms: vec![algorithm], is_named })
}
