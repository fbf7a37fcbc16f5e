//! A resource with its methods; any other method is answered 405 with `Allow`.

use crate::http::error::{Code, Problem};
use actix_web::http::header::{self, HeaderValue};
use actix_web::web;
use actix_web::{HttpRequest, Resource, ResponseError};

/// Paths with their methods.
pub(crate) type Routes = &'static [(&'static str, &'static [&'static str])];

/// Returns a resource that answers any method other than `methods` with 405 (RFC 9110 §15.5.6).
pub(crate) fn resource(path: &str, methods: &'static [&'static str]) -> Resource {
    web::resource(path).default_service(web::to(move |request: HttpRequest| async move {
        let detail = format!("{} does not support {}", request.path(), request.method());
        let mut refused = Problem::new(Code::MethodNotAllowed, detail).error_response();
        if let Ok(allowed) = HeaderValue::from_str(&methods.join(", ")) {
            refused.headers_mut().insert(header::ALLOW, allowed);
        }
        refused
    }))
}
