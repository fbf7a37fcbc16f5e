//! Keys that verify tokens: a secret, a public key, a key set (RFC 7517).

use super::RevocationMark;
use super::error::KeyError;
use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Header};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A key and the algorithms that it verifies.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) key: DecodingKey,
    pub(super) algorithms: Vec<Algorithm>,
    /// True if the key names its algorithm itself.
    is_named: bool,
    pub(super) mark: RevocationMark,
}

impl Key {
    /// Creates a key without a name or algorithm; `source` is the text it was read from.
    fn of(key: DecodingKey, algorithms: Vec<Algorithm>, source: &[u8]) -> Self {
        Self { id: None, key, algorithms, is_named: false, mark: RevocationMark::of(source) }
    }

    /// Returns true for secrets that are short enough to be guessed.
    fn is_short(&self) -> bool {
        self.key.family() == AlgorithmFamily::Hmac
            && self.key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() < MIN_SECRET_BYTES)
    }

    /// Returns true if a token with this header may be signed with the key.
    pub(super) fn matches_header(&self, header: &Header) -> bool {
        match (&self.id, &header.kid) {
            (Some(id), Some(kid)) => id == kid,
            _ => true,
        }
    }
}

/// Restricts `keys` to the `pinned` algorithms; removes keys that are left without one.
pub(super) fn pin(keys: &mut Vec<Key>, pinned: Option<&[Algorithm]>) {
    let Some(pinned) = pinned else { return };
    for key in keys.iter_mut() {
        if !key.is_named {
            key.algorithms = key.key.family().algorithms().to_vec();
        }
        key.algorithms.retain(|algorithm| pinned.contains(algorithm));
    }
    keys.retain(|key| !key.algorithms.is_empty());
}

/// A key set of another server, as it was last fetched.
#[derive(Default)]
pub struct RemoteKeys {
    keys: ArcSwap<Vec<Key>>,
    /// Number of fetches that brought other keys than before.
    fetched: AtomicUsize,
    pinned: Option<Vec<Algorithm>>,
}

impl std::fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RemoteKeys with {} keys", self.keys.load().len())
    }
}

impl RemoteKeys {
    pub(super) fn new(pinned: Option<Vec<Algorithm>>) -> Self {
        Self { pinned, ..Self::default() }
    }

    /// Replaces the keys with a key set (JSON); returns the number of usable keys in it.
    pub fn replace(&self, json: &[u8]) -> Result<usize, KeyError> {
        let set = read_set(json)?;
        // Secrets that are too short are skipped: the owner may have other uses for them.
        let mut keys: Vec<Key> = set.into_iter().filter(|key| !key.is_short()).collect();
        pin(&mut keys, self.pinned.as_deref());
        let count = keys.len();
        if count == 0 {
            return Err(KeyError::NoUsableKey);
        }
        let marks = |keys: &[Key]| keys.iter().map(|key| key.mark).collect::<Vec<_>>();
        let is_new = self.fetched() == 0 || marks(&self.keys.load()) != marks(&keys);
        self.keys.store(Arc::new(keys));
        if is_new {
            self.fetched.fetch_add(1, Ordering::Release);
        }
        Ok(count)
    }

    /// Takes over the keys of `previous`, until the next fetch.
    pub(super) fn inherit_from(&self, previous: &Self) {
        let mut keys = previous.keys().to_vec();
        pin(&mut keys, self.pinned.as_deref());
        self.keys.store(Arc::new(keys));
        self.fetched.store(previous.fetched(), Ordering::Release);
    }

    /// Returns how many times the keys have changed; 0 before the first fetch.
    pub fn fetched(&self) -> usize {
        self.fetched.load(Ordering::Acquire)
    }

    pub(super) fn keys(&self) -> Arc<Vec<Key>> {
        self.keys.load_full()
    }
}

pub(super) fn pinned(names: &[String]) -> Result<Option<Vec<Algorithm>>, KeyError> {
    let parse = |name: &String| name.parse().map_err(|_| KeyError::UnknownAlgorithm(name.clone()));
    let algorithms = names.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    Ok((!algorithms.is_empty()).then_some(algorithms))
}

/// Minimum length of a secret, in bytes, against brute force (RFC 7518 §3.2).
pub(super) const MIN_SECRET_BYTES: usize = 32;

pub(super) fn secret_key(secret: &str) -> Result<Key, KeyError> {
    if secret.len() < MIN_SECRET_BYTES {
        return Err(KeyError::ShortSecret);
    }
    let key = DecodingKey::from_secret(secret.as_bytes());
    Ok(Key::of(key, vec![Algorithm::HS256], secret.as_bytes()))
}

/// Reads a public key from PEM. The label does not name the kind of key, so that all kinds are
/// tried.
pub(super) fn public_key(pem: &[u8]) -> Result<Key, KeyError> {
    use Algorithm::{ES256, ES384, EdDSA, RS256};
    if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
        return Ok(Key::of(key, vec![RS256], pem));
    }
    if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        return Ok(Key::of(key, vec![EdDSA], pem));
    }
    match DecodingKey::from_ec_pem(pem) {
        // The key is on one curve and verifies no signature of the other.
        Ok(key) => Ok(Key::of(key, vec![ES256, ES384], pem)),
        Err(_) => Err(KeyError::Pem("public")),
    }
}

pub(super) fn key_set(json: &[u8]) -> Result<Vec<Key>, KeyError> {
    let keys = read_set(json)?;
    if let Some(short) = keys.iter().find(|key| key.is_short()) {
        let name = short.id.as_deref().unwrap_or("(no kid)");
        return Err(KeyError::ShortSecretInSet(name.to_owned()));
    }
    if keys.is_empty() { Err(KeyError::NoUsableKey) } else { Ok(keys) }
}

fn read_set(json: &[u8]) -> Result<Vec<Key>, KeyError> {
    let set: JwkSet = serde_json::from_slice(json).map_err(KeyError::KeySet)?;
    Ok(set.keys.iter().filter_map(key_of_set).collect())
}

/// Returns a key of a set; `None` if it is not for verifying tokens.
fn key_of_set(jwk: &Jwk) -> Option<Key> {
    let common = &jwk.common;
    let is_for_signatures =
        common.public_key_use.as_ref().is_none_or(|u| *u == PublicKeyUse::Signature);
    let mut operations = common.key_operations.iter().flatten();
    let can_verify = common.key_operations.is_none()
        || operations.any(|o| matches!(o, KeyOperations::Verify | KeyOperations::Sign));
    if !is_for_signatures || !can_verify {
        return None;
    }
    let default_algorithm = match &jwk.algorithm {
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
        None => default_algorithm,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    let is_same_family = key.family() == algorithm.family();
    let has_explicit_algorithm = common.key_algorithm.is_some();
    let id = common.key_id.clone();
    // The key material only, without its metadata.
    let mark = RevocationMark::of(&serde_json::to_vec(&jwk.algorithm).ok()?);
    is_same_family.then(|| Key {
        id,
        key,
        algorithms: vec![algorithm],
        is_named: has_explicit_algorithm,
        mark,
    })
}
