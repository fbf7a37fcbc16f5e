//! The client and subject that a session is counted for.

use crate::limits::Client;
use std::sync::Arc;

/// The client and subject that a session is counted for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuotaOwner {
    /// Client, by its address.
    pub client: Client,
    /// A key or the `sub` of a token, where it showed one.
    pub subject: Option<Arc<str>>,
}
