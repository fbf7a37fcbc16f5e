//! API keys: secrets of which the configuration holds only the SHA-256.

use super::error::KeyError;
use super::{Grants, RevocationMark};
use rand::Rng as _;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// An API key and its grants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKey {
    /// Name in logs.
    pub name: String,
    hash: [u8; 32],
    /// Grants of the key.
    pub grants: Grants,
}

impl ApiKey {
    /// Creates a key; `sha256` is the hash of its secret, in 64 hexadecimal digits.
    pub fn new(name: &str, sha256: &str, grants: Grants) -> Result<Self, KeyError> {
        if name.is_empty() {
            return Err(KeyError::NoName);
        }
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(KeyError::Hash);
        }
        let mut hash = [0; 32];
        for (index, byte) in hash.iter_mut().enumerate() {
            let digits = &sha256[2 * index..2 * index + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| KeyError::Hash)?;
        }
        Ok(Self { name: name.to_owned(), hash, grants })
    }

    /// Returns the mark that distinguishes it from another key of the same name.
    pub(super) fn mark(&self) -> RevocationMark {
        RevocationMark::of(&self.hash)
    }
}

/// Describes two keys with the same name or secret, if there are any.
pub fn clash(keys: &[ApiKey]) -> Option<String> {
    keys.iter().enumerate().find_map(|(index, key)| {
        let other = keys[..index].iter().find(|o| o.name == key.name || o.hash == key.hash)?;
        let property = if other.name == key.name { "name" } else { "sha256" };
        Some(format!("keys {:?} and {:?} have the same {property}", other.name, key.name))
    })
}

/// Returns a new secret: 24 random bytes, in hexadecimal digits.
pub fn new_secret() -> String {
    digits(&rand::rng().random::<[u8; 24]>())
}

/// Returns the hash of a secret, which is all that the configuration holds.
pub fn hash_of(secret: &str) -> String {
    digits(&Sha256::digest(secret.as_bytes()))
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the key with this secret. Takes the same time whichever key it is, or if there is none.
pub(super) fn find<'a>(
    keys: impl IntoIterator<Item = &'a ApiKey>,
    secret: &str,
) -> Option<&'a ApiKey> {
    let hash: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
    keys.into_iter()
        .fold(None, |found, key| if bool::from(key.hash.ct_eq(&hash)) { Some(key) } else { found })
}

#[cfg(test)]
mod tests {
    use super::*;

    // printf secret | sha256sum
    const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    #[test]
    fn key_is_found_only_by_its_secret() {
        let key = |name, hash: &str| ApiKey::new(name, hash, Grants::none()).expect("a key");
        let keys = [key("a", HASH), key("b", &"0".repeat(64))];
        assert_eq!(find(&keys, "secret").map(|key| key.name.as_str()), Some("a"));
        assert_eq!(hash_of("secret"), HASH);
        assert_ne!(new_secret(), new_secret());
        for other in ["Secret", "secret ", "", HASH] {
            assert_eq!(find(&keys, other), None, "{other:?}");
        }
    }

    #[test]
    fn malformed_hash_is_refused() {
        for bad in ["", "secret", &HASH[1..], &format!("{HASH}0"), &"g".repeat(64), &"é".repeat(32)]
        {
            assert!(ApiKey::new("a", bad, Grants::none()).is_err(), "{bad:?}");
        }
        assert!(ApiKey::new("", HASH, Grants::none()).is_err());
    }
}
