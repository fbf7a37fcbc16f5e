//! Errors of keys, key sets and tokens.

use super::key_set::MIN_SECRET_BYTES;
use crate::event::Invalid;
use jsonwebtoken::Algorithm;

/// Error of a key, a key set or a token.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The algorithm is not one of RFC 7518 §3.1 or RFC 8037.
    #[error("unknown algorithm {0:?}")]
    UnknownAlgorithm(String),
    /// The secret is short enough to be found by brute force (RFC 7518 §3.2).
    #[error("a secret needs at least {MIN_SECRET_BYTES} bytes")]
    ShortSecret,
    /// A secret in a key set, named by its `kid`, is too short.
    #[error("key {0:?}: a secret needs at least {MIN_SECRET_BYTES} bytes")]
    ShortSecretInSet(String),
    /// The PEM contains no supported key.
    #[error("not a PEM-encoded RSA, EC or Ed25519 {0} key")]
    Pem(&'static str),
    /// The document is not a key set (RFC 7517 §5).
    #[error("not a JSON Web Key Set: {0}")]
    KeySet(#[source] serde_json::Error),
    /// The key set has no key that can verify tokens.
    #[error("the key set has no key that can verify a token")]
    NoUsableKey,
    /// An API key has no name.
    #[error("a key needs a name")]
    NoName,
    /// The hash of an API key is malformed.
    #[error("sha256 must have 64 hexadecimal digits, as `sha256sum` prints")]
    Hash,
    /// The grants are not valid.
    #[error("{}", .0.detail)]
    Grants(#[from] Invalid),
    /// The key cannot sign with the algorithm.
    #[error("the key cannot sign with {algorithm:?}: {source}")]
    Sign {
        /// Algorithm that was tried last.
        algorithm: Algorithm,
        /// Error of the last attempt.
        source: jsonwebtoken::errors::Error,
    },
    /// The key has no algorithm to sign with.
    #[error("the key has no algorithm")]
    NoAlgorithm,
    /// The token cannot be decoded or encoded.
    #[error(transparent)]
    Token(#[from] jsonwebtoken::errors::Error),
    /// Settings of tokens are given without a key that verifies them.
    #[error("no key to verify tokens; set --jwt-secret, --jwt-public-key or --jwks")]
    NoKey,
    /// No configured key can be used with the configured algorithms.
    #[error("no configured key can be used with these algorithms")]
    NoKeyForAlgorithms,
    /// The hub has no key for tickets.
    #[error("this hub has no ticket key")]
    NoTicketKey,
}
