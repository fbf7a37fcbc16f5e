//! Readers of requests by themselves, for the fuzz targets.
//!
//! Nothing of the hub uses it but tests.

use crate::event::{Invalid, Timestamp};
use crate::http::extract::query;
use crate::http::middleware::auth;
use std::time::Duration;

/// Parses the query of a subscription.
pub fn subscription(query: &str) -> Result<(), Invalid> {
    let (heartbeat, now) = (Duration::from_secs(15), Timestamp::from_ms(1_700_000_000_000));
    query::read(&query::pairs(query)?, None, heartbeat, now).map(drop)
}

/// The decoded pairs of any query.
pub fn pairs(query: &str) -> Result<Vec<(String, String)>, Invalid> {
    query::pairs(query)
}

/// The name in a `Host` header.
pub fn host_name(host: &str) -> Option<&str> {
    auth::host_name(host)
}
