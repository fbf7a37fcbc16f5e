//! The pages that come with the binary.

use actix_web::HttpResponse;
use actix_web::http::header;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn asset(kind: &'static str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(kind)
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .body(text)
}

/// Whether a page or a part of one is at `path`.
pub(super) fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/watch.js" | "/watch.css" | "/openapi.json")
}

/// `GET /`: watch streams and publish to them.
pub(super) async fn index() -> HttpResponse {
    asset("text/html; charset=utf-8", include_str!("../../static/index.html"))
}

/// `GET /watch.js`
pub(super) async fn script() -> HttpResponse {
    asset("text/javascript; charset=utf-8", include_str!("../../static/watch.js"))
}

/// `GET /watch.css`
pub(super) async fn style() -> HttpResponse {
    asset("text/css; charset=utf-8", include_str!("../../static/watch.css"))
}
