//! Request parsers, exposed for the fuzz targets.
//!
//! Only tests use this module.

use crate::event::{Invalid, Timestamp};
use crate::http::extract::query;
use crate::http::middleware::site;
use std::time::Duration;

/// Parses the query of a subscription.
pub fn subscription(query: &str) -> Result<(), Invalid> {
    let (heartbeat, now) = (Duration::from_secs(15), Timestamp::from_ms(1_700_000_000_000));
    query::read(&query::pairs(query)?, None, heartbeat, now).map(drop)
}

/// Returns the decoded pairs of a query.
pub fn pairs(query: &str) -> Result<Vec<(String, String)>, Invalid> {
    query::pairs(query)
}

/// Returns the name in a `Host` header.
pub fn host_name(host: &str) -> Option<&str> {
    site::host_name(host)
}

/// Reads the form of a publisher of the Mercure protocol; `None` if it is invalid.
#[cfg(feature = "mercure")]
pub fn mercure_form(body: &[u8]) -> Option<crate::event::topic::PublishedUpdate> {
    crate::http::api::mercure::read_form(body, usize::MAX).ok()
}
