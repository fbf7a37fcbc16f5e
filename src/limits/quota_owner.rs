//! The client and subject that sessions and publishes are counted for.

use super::Client;
use std::sync::Arc;

/// The client and subject that a session or a publish is counted for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuotaOwner {
    /// Client, by its address.
    pub client: Client,
    /// Name of the key or `sub` of the token, if the client sent a credential.
    pub subject: Option<Arc<str>>,
}
