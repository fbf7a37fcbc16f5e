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

/// Returns the id of the entry before an offset of the Durable Streams protocol: `None` if it is malformed, `Some(None)` for
/// one that has no such entry.
#[cfg(feature = "durable-streams")]
pub fn durable_offset(text: &str) -> Option<Option<crate::event::EventId>> {
    crate::http::api::durable::Offset::parse("offset", text).ok().map(|offset| offset.id())
}

/// Headers of a request of the Durable Streams protocol.
#[cfg(feature = "durable-streams")]
#[derive(Debug)]
pub struct DurableHeaders {
    /// Content type.
    pub content_type: Option<crate::event::durable::ContentType>,
    /// Lifetime of a new stream.
    pub lifetime: Option<crate::event::durable::Lifetime>,
    /// Producer of an append.
    pub producer: Option<crate::event::durable::ProducerWrite>,
}

/// Reads the headers of a request of the Durable Streams protocol; `None` if one of them is invalid.
#[cfg(feature = "durable-streams")]
pub fn durable_headers(headers: &[(&str, &str)]) -> Option<DurableHeaders> {
    use crate::http::api::durable::headers;
    use actix_web::http::header::{HeaderName, HeaderValue};
    let mut request = actix_web::test::TestRequest::default();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        request = request.append_header((name, HeaderValue::from_str(value).ok()?));
    }
    let request = request.to_http_request();
    headers::seq(&request).ok()?;
    headers::closes(&request).ok()?;
    Some(DurableHeaders {
        content_type: headers::content_type(&request).ok()?,
        lifetime: headers::lifetime(&request).ok()?,
        producer: headers::producer(&request).ok()?,
    })
}

/// Returns the messages of a body of the Durable Streams protocol; `None` if it is invalid.
#[cfg(feature = "durable-streams")]
pub fn durable_messages(
    content_type: &crate::event::durable::ContentType,
    body: &bytes::Bytes,
    max_bytes: usize,
) -> Option<Vec<crate::event::Draft>> {
    let stream = crate::event::StreamName::parse("s").ok()?;
    crate::http::api::durable::messages::read(&stream, content_type, body, max_bytes).ok()
}
