//! The Mercure protocol: updates with topics, as a face of the journal.
//!
//! A request is authenticated by `src/http/middleware/mercure.rs`, which also decides its dialect.

mod form;
mod metadata;
mod publish;
mod subscribe;
mod subscriptions;

pub(crate) use form::read as read_form;

use crate::config::MercureSettings;
use crate::http::extract::mercure::{METADATA_PREFIX, hub_paths};
use crate::http::resource::resource;
use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use subscriptions::COLLECTION;

/// Methods of the hub.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "QUERY"];

/// Headers of responses that pages of other origins may read.
pub(crate) const RESPONSE_HEADERS: [&str; 2] = ["Link", "Mercure-Last-Event-ID"];

/// Adds the paths of the hub.
pub(crate) fn configure(config: &mut ServiceConfig, settings: &MercureSettings) {
    for path in hub_paths(settings) {
        config.service(
            resource(path, METHODS)
                .route(web::get().to(subscribe::get))
                .route(web::head().to(subscribe::head))
                .route(web::method(query()).to(subscribe::query))
                .route(web::post().to(publish::publish)),
        );
        config.service(
            resource(&format!("{path}{COLLECTION}{{rest:(/.*)?}}"), &["GET"])
                .route(web::get().to(subscriptions::get)),
        );
        config.service(
            resource(&format!("{METADATA_PREFIX}{path}"), &["GET"])
                .route(web::get().to(metadata::get)),
        );
    }
}

/// Returns the method QUERY (RFC 10008).
pub(crate) fn query() -> Method {
    Method::from_bytes(b"QUERY").unwrap_or(Method::POST)
}
