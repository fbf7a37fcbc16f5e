//! Tokens made here, by those who have no issuer of their own, and what a token says.

use super::error::KeyError;
use super::{Claimed, Grants};
use crate::event::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// Key that signs a token.
#[derive(Clone, Debug)]
pub enum SigningKey {
    /// A secret that the hub has, too.
    Secret(String),
    /// A private key in PEM, of which the hub has the public one.
    Pem(Vec<u8>),
}

/// Claims of a new token.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Subject.
    pub subject: Option<String>,
    /// Grants.
    pub grants: Claimed,
    /// Time until the expiry.
    pub lifetime: Duration,
    /// Issuer.
    pub issuer: Option<String>,
    /// Audience: the hub that the token is for.
    pub audience: Option<String>,
    /// Id of the key that signs it, in a key set.
    pub key_id: Option<String>,
    /// The algorithm; none for the one that the key is usually used with.
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
    fanfare: &'a Claimed,
}

impl NewToken {
    /// The token, signed at `now`. The error says what is wrong with it or the key.
    pub fn sign(&self, key: &SigningKey, now: Timestamp) -> Result<String, KeyError> {
        Grants::of(self.grants.clone())?;
        let (key, usual) = encoding(key)?;
        let algorithms = match &self.algorithm {
            Some(name) => vec![name.parse().map_err(|_| KeyError::UnknownAlgorithm(name.clone()))?],
            None => usual,
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
        let mut failed = KeyError::NoAlgorithm;
        for algorithm in algorithms {
            let header = Header { kid: self.key_id.clone(), ..Header::new(algorithm) };
            match jsonwebtoken::encode(&header, &claims, &key) {
                Ok(token) => return Ok(token),
                Err(source) => failed = KeyError::Sign { algorithm, source },
            }
        }
        Err(failed)
    }
}

/// The key, and the algorithms it may be used with unless one is named.
fn encoding(key: &SigningKey) -> Result<(EncodingKey, Vec<Algorithm>), KeyError> {
    use Algorithm::{ES256, ES384, EdDSA, HS256, RS256};
    let pem = match key {
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
        // Its curve decides which of the two it is.
        Ok(key) => Ok((key, vec![ES256, ES384])),
        Err(_) => Err(KeyError::Pem("private")),
    }
}

/// The header and the claims of a token, whoever signed it.
pub fn told(token: &str) -> Result<(Value, Value), KeyError> {
    let decoded = jsonwebtoken::dangerous::insecure_decode::<Value>(token)?;
    let header =
        serde_json::to_value(&decoded.header).map_err(jsonwebtoken::errors::Error::from)?;
    Ok((header, decoded.claims))
}
