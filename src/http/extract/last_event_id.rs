//! `Last-Event-ID`: the id of the last event that a client has (WHATWG HTML §9.2.4).

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;

/// The header, in requests and responses.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Returns the id that a request resumes after: the header, or `in_query` if the header is missing
/// or empty. A header that is not UTF-8 counts as an unknown id.
pub(crate) fn requested_id(request: &HttpRequest, in_query: Option<&str>) -> Option<String> {
    let header = request.headers().get(LAST_EVENT_ID);
    let header = header.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    header.filter(|id| !id.is_empty()).or_else(|| in_query.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn empty_header_falls_back_to_the_query() {
        let plain = TestRequest::get().to_http_request();
        assert_eq!(requested_id(&plain, None), None);
        assert_eq!(requested_id(&plain, Some("q")).as_deref(), Some("q"));
        let empty = TestRequest::get().insert_header(("Last-Event-ID", "")).to_http_request();
        assert_eq!(requested_id(&empty, Some("q")).as_deref(), Some("q"));
        let both = TestRequest::get().insert_header(("Last-Event-ID", "h")).to_http_request();
        assert_eq!(requested_id(&both, Some("q")).as_deref(), Some("h"));
        let bytes = TestRequest::get().insert_header(("Last-Event-ID", &b"\xff"[..]));
        assert_eq!(requested_id(&bytes.to_http_request(), Some("q")).as_deref(), Some("\u{fffd}"));
    }
}
