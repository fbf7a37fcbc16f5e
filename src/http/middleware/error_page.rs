//! Problem documents as pages, for browsers that open a URL of the hub: Firefox shows a page of its
//! own instead of `application/problem+json`.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

const POLICY: &str = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'";

/// Members of a problem document that a page shows.
#[derive(Deserialize)]
struct Problem {
    title: String,
    status: u16,
    detail: String,
}

/// Returns true for a request by which a browser opens a page.
pub(super) fn is_wanted(request: &HttpRequest) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    request.method() == Method::GET && accept.is_some_and(|accept| accept.contains("text/html"))
}

/// Replaces a problem document by a page. Other responses stay as they are.
pub(super) fn page(response: HttpResponse) -> HttpResponse {
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/problem+json");
    if !is_problem {
        return response;
    }
    let (mut response, body) = response.into_parts();
    let bytes = match body.try_into_bytes() {
        Ok(bytes) => bytes,
        Err(body) => return response.set_body(body),
    };
    let Ok(problem) = serde_json::from_slice::<Problem>(&bytes) else {
        return response.set_body(BoxBody::new(bytes));
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    let (title, detail) = (escaped(&problem.title), escaped(&problem.detail));
    let status = problem.status;
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<h1>{status} {title}</h1>\n<p>{detail}</p>\n\
         <p><a href=\"/\">Fanfare</a></p>\n</html>\n"
    );
    response.set_body(BoxBody::new(page))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
