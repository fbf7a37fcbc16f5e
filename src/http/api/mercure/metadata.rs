//! `GET /.well-known/oauth-protected-resource/.well-known/mercure` (RFC 9728).

use crate::access::{DETAIL_TYPE, Dialect};
use crate::http::error::{Code, Problem};
use crate::http::state::AppState;
use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use serde::Serialize;

#[derive(Serialize)]
struct Metadata<'a> {
    resource: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authorization_servers: Vec<String>,
    authorization_details_types_supported: [&'a str; 1],
    bearer_methods_supported: [&'a str; 1],
    mercure_cookie: &'a str,
    mercure_matcher_types_supported: [&'a str; 2],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    mercure_subscriptions: bool,
}

/// Describes the hub as a protected resource. A hub of the dialect 0.x has no description.
pub(super) async fn get(state: Data<AppState>) -> Result<HttpResponse, Problem> {
    let settings = state.settings.mercure.as_ref();
    let Some(settings) = settings.filter(|settings| settings.speaks(Dialect::One)) else {
        return Err(Problem::new(Code::NotFound, "the hub has no metadata in the dialect 0.x"));
    };
    let metadata = Metadata {
        resource: settings.url.as_str(),
        authorization_servers: Vec::new(),
        authorization_details_types_supported: [DETAIL_TYPE],
        bearer_methods_supported: ["header"],
        mercure_cookie: settings.cookie_name(Dialect::One),
        mercure_matcher_types_supported: ["exact", "urlpattern"],
        mercure_subscriptions: settings.subscriptions,
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::LINK, settings.link()))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .json(metadata))
}
