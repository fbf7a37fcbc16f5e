//! Signing of tokens, for operators without an issuer, and decoding of tokens.

use super::error::KeyError;
use super::key_set::MIN_SECRET_BYTES;
use super::{GrantClaims, Grants};
use crate::event::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// Key that signs a token.
#[derive(Clone, Debug)]
pub enum SigningKey {
    /// A secret shared with the hub.
    Secret(String),
    /// A private key in PEM; the hub has the public key.
    Pem(Vec<u8>),
}

/// Claims of a new token.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Subject.
    pub subject: Option<String>,
    /// Grants.
    pub grants: GrantClaims,
    /// Time until the expiry.
    pub lifetime: Duration,
    /// Issuer.
    pub issuer: Option<String>,
    /// Audience: the hub that the token is for.
    pub audience: Option<String>,
    /// Id of the key that signs it, in a key set.
    pub key_id: Option<String>,
    /// Algorithm; `None` for the one that the key is usually used with.
    pub algorithm: Option<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    iat: u64,
    exp: u64,
    jti: Uuid,
    fanfare: &'a GrantClaims,
}

impl NewToken {
    /// Returns the token, signed at `now`. Fails if the grants, the algorithm or the key are
    /// invalid.
    pub fn sign(&self, key: &SigningKey, now: Timestamp) -> Result<String, KeyError> {
        Grants::of(self.grants.clone())?;
        let (key, default_algorithms) = encoding_key(key)?;
        let algorithms = match &self.algorithm {
            Some(name) => vec![name.parse().map_err(|_| KeyError::UnknownAlgorithm(name.clone()))?],
            None => default_algorithms,
        };
        let now_s = now.ms() / 1000;
        let claims = Claims {
            sub: self.subject.as_deref(),
            iss: self.issuer.as_deref(),
            aud: self.audience.as_deref(),
            iat: now_s,
            exp: now_s + self.lifetime.as_secs(),
            jti: Uuid::new_v4(),
            fanfare: &self.grants,
        };
        let mut error = KeyError::NoAlgorithm;
        for algorithm in algorithms {
            let header = Header { kid: self.key_id.clone(), ..Header::new(algorithm) };
            match jsonwebtoken::encode(&header, &claims, &key) {
                Ok(token) => return Ok(token),
                Err(source) => error = KeyError::Sign { algorithm, source },
            }
        }
        Err(error)
    }
}

/// Returns the key and the algorithms to try unless one is named.
fn encoding_key(key: &SigningKey) -> Result<(EncodingKey, Vec<Algorithm>), KeyError> {
    use Algorithm::{ES256, ES384, EdDSA, HS256, RS256};
    let pem = match key {
        // The hub would not start with it.
        SigningKey::Secret(secret) if secret.len() < MIN_SECRET_BYTES => {
            return Err(KeyError::ShortSecret);
        }
        SigningKey::Secret(secret) => {
            return Ok((EncodingKey::from_secret(secret.as_bytes()), vec![HS256]));
        }
        SigningKey::Pem(pem) => pem,
    };
    if let Ok(key) = EncodingKey::from_rsa_pem(pem) {
        return Ok((key, vec![RS256]));
    }
    if let Ok(key) = EncodingKey::from_ed_pem(pem) {
        return Ok((key, vec![EdDSA]));
    }
    match EncodingKey::from_ec_pem(pem) {
        // The curve of the key decides which of the two applies.
        Ok(key) => Ok((key, vec![ES256, ES384])),
        Err(_) => Err(KeyError::Pem("private")),
    }
}

/// Returns the header and the claims of a token, without verifying its signature.
pub fn decode_unverified(token: &str) -> Result<(Value, Value), KeyError> {
    let decoded = jsonwebtoken::dangerous::insecure_decode::<Value>(token)?;
    let header =
        serde_json::to_value(&decoded.header).map_err(jsonwebtoken::errors::Error::from)?;
    Ok((header, decoded.claims))
}
