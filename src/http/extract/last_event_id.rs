//! `Last-Event-ID`: the id of the last event that a client has (WHATWG HTML §9.2.4).

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;

/// The header, in requests and responses.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Returns the id in the header, if that is not empty. A value that is not UTF-8 is an id as well: an
/// unknown one.
pub(crate) fn last_event_id(request: &HttpRequest) -> Option<String> {
    let value = request.headers().get(LAST_EVENT_ID)?;
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    (!text.is_empty()).then_some(text)
}
