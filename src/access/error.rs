//! Errors of keys, key sets and tokens.

use super::key_set::MIN_SECRET_BYTES;
use crate::event::Invalid;
use jsonwebtoken::Algorithm;

/// Fault of a key, or failure to use it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The algorithm is not one of RFC 7518 §3.1 or RFC 8037.
    #[error("unknown algorithm {0:?}")]
    UnknownAlgorithm(String),
    /// A secret that short can be found by trying (RFC 7518 §3.2).
    #[error("a secret needs at least {MIN_SECRET_BYTES} bytes")]
    ShortSecret,
    /// The same, of a key in a set, by its `kid`.
    #[error("key {0:?}: a secret needs at least {MIN_SECRET_BYTES} bytes")]
    ShortSecretInSet(String),
    /// The PEM has another content.
    #[error("not a {0} key of RSA, EC or Ed25519 in PEM")]
    Pem(&'static str),
    /// The document is not a key set (RFC 7517 §5).
    #[error("not a key set: {0}")]
    KeySet(#[source] serde_json::Error),
    /// The key set has no key for the signatures of tokens.
    #[error("the key set has no key that can verify a token")]
    NoUsableKey,
    /// An API key has no name.
    #[error("a key needs a name")]
    NoName,
    /// The hash of an API key has another form.
    #[error("sha256 must have 64 hexadecimal digits, as `sha256sum` prints")]
    Hash,
    /// The grants are not valid.
    #[error("{}", .0.detail)]
    Grants(#[from] Invalid),
    /// The key signs by other algorithms.
    #[error("the key cannot sign with {algorithm:?}: {source}")]
    Sign {
        /// Algorithm that was tried last.
        algorithm: Algorithm,
        /// Fault of the key.
        source: jsonwebtoken::errors::Error,
    },
    /// The key has no algorithm to sign with.
    #[error("the key has no algorithm")]
    NoAlgorithm,
    /// The token cannot be read or made.
    #[error(transparent)]
    Token(#[from] jsonwebtoken::errors::Error),
    /// Settings of tokens are given, and no key to verify them with.
    #[error("no key for tokens is set: set --jwt-secret, --jwt-public-key or --jwks")]
    NoKey,
    /// None of the keys is used with the algorithms that are set.
    #[error("no key that is set is used with these")]
    NoKeyForAlgorithms,
    /// Tickets need a key of their own.
    #[error("this hub has no key for tickets")]
    NoTicketKey,
}
