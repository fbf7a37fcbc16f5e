//! `GET /openapi.json`: the description of the whole API in OpenAPI 3.1.
//!
//! Operations are described at their handlers, by the attributes `summary` and `description` of
//! `utoipa::path`; their errors are in `errors.rs`, their examples in `examples.rs`. This module
//! contains the common parts.

#[cfg(feature = "chat")]
use crate::http::api::chats::{completions, models, native, ticket};
#[cfg(feature = "cluster")]
use crate::http::api::cluster;
#[cfg(feature = "files")]
use crate::http::api::files;
#[cfg(feature = "jobs")]
use crate::http::api::jobs;
#[cfg(all(feature = "chat", feature = "dashboard"))]
use crate::http::api::pages;
#[cfg(feature = "search")]
use crate::http::api::search;
use crate::http::api::{
    journal, log_filter, login, ops, publish, revocations, sessions, stats, streams, subscribe,
    tickets,
};
use crate::http::error::Document;
#[cfg(feature = "chat")]
use crate::http::openapi::chat_errors::OpenAiError;
use crate::http::openapi::errors::PublicErrors;
use crate::http::openapi::examples;
use actix_web::HttpResponse;
use actix_web::http::header;
use std::sync::OnceLock;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// `GET /openapi.json`
#[utoipa::path(get, path = "/openapi.json", tag = "operators",
    summary = "Get the API description",
    description = "Returns this description of the API in OpenAPI 3.1, with the operations that \
        this build has. Requires no credential.",
    responses(
        (status = 200, description = "The description", body = Object,
         content_type = "application/json", example = examples::description),
        PublicErrors,
    )
)]
pub(crate) async fn openapi() -> HttpResponse {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| description().to_json().unwrap_or_default());
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .content_type("application/json")
        .body(text.as_str())
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Fanfare",
        description = "A self-hosted hub that broadcasts events over Server-Sent Events. Errors \
                       are problem documents (RFC 9457); every refusal has a `code`."
    ),
    paths(
        publish::publish,
        publish::publish_text,
        publish::log_message,
        subscribe::events,
        subscribe::events_by_body,
        subscribe::stream_events,
        streams::list,
        streams::get,
        streams::delete,
        streams::end,
        tickets::mint,
        login::describe_caller,
        login::begin,
        login::end,
        revocations::list,
        revocations::add,
        revocations::undo,
        stats::stats,
        sessions::list,
        sessions::delete,
        sessions::presence,
        journal::losses,
        journal::acknowledge_losses,
        journal::backup,
        log_filter::get,
        log_filter::put,
        ops::version,
        ops::healthz,
        ops::readyz,
        ops::metrics,
        openapi,
    ),
    components(schemas(Document)),
    modifiers(&Access),
    security((), ("bearer" = []), ("cookie" = [])),
    tags(
        (name = "publish", description = "Publish events"),
        (name = "subscribe", description = "Subscribe to events"),
        (name = "streams", description = "List, inspect, end and delete streams"),
        (name = "access", description = "Authentication, tickets and revocations"),
        (name = "operators", description = "Operate and monitor the hub"),
    )
)]
struct Api;

/// Paths of downloads.
#[cfg(feature = "files")]
#[derive(OpenApi)]
#[openapi(
    paths(files::get),
    tags((name = "files", description = "Download files"))
)]
struct FilesApi;

/// Paths of jobs.
#[cfg(feature = "jobs")]
#[derive(OpenApi)]
#[openapi(
    paths(jobs::list, jobs::begin, jobs::stop),
    tags((name = "jobs", description = "Run configured commands"))
)]
struct JobsApi;

/// Paths of a cluster.
#[cfg(feature = "cluster")]
#[derive(OpenApi)]
#[openapi(paths(cluster::get))]
struct ClusterApi;

/// Paths of searches.
#[cfg(feature = "search")]
#[derive(OpenApi)]
#[openapi(paths(search::search, search::search_stream))]
struct SearchApi;

/// Paths of chats.
#[cfg(feature = "chat")]
#[derive(OpenApi)]
#[openapi(
    paths(
        native::create,
        native::get,
        native::delete,
        native::events,
        native::stop,
        ticket::tickets,
        native::chat,
        completions::create,
        completions::get,
        completions::cancel,
        models::models,
        models::model,
    ),
    components(schemas(OpenAiError)),
    tags(
        (name = "chats", description = "Chat with models"),
        (name = "openai", description = "Chat with models by the clients of OpenAI"),
    )
)]
struct ChatApi;

/// The page of chats, which shares its path with a route of [`ChatApi`].
#[cfg(all(feature = "chat", feature = "dashboard"))]
#[derive(OpenApi)]
#[openapi(paths(pages::chat))]
struct ChatPage;

/// Returns the description of the paths that this build has.
fn description() -> utoipa::openapi::OpenApi {
    let parts = [
        Api::openapi(),
        #[cfg(feature = "cluster")]
        ClusterApi::openapi(),
        #[cfg(feature = "files")]
        FilesApi::openapi(),
        #[cfg(feature = "jobs")]
        JobsApi::openapi(),
        #[cfg(feature = "search")]
        SearchApi::openapi(),
        #[cfg(feature = "chat")]
        ChatApi::openapi(),
        #[cfg(all(feature = "chat", feature = "dashboard"))]
        ChatPage::openapi(),
    ];
    let whole = parts.into_iter().reduce(|merged, part| merged.merge_from(part));
    let mut whole = whole.unwrap_or_else(Api::openapi);
    for item in whole.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            operation.operation_id = operation.summary.as_deref().map(operation_id);
        }
    }
    whole
}

/// Returns the id of an operation, under which generated clients have it: `Publish events` is
/// `publish_events`.
fn operation_id(summary: &str) -> String {
    let words = summary.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_").to_lowercase()
}

/// Adds the security schemes.
struct Access;

impl Modify for Access {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key, or a JSON Web Token with a `fanfare` claim"));
        let cookie = ApiKey::Cookie(ApiKeyValue::with_description(
            "fanfare",
            "Cookie set by `POST /session`, for pages of the hub",
        ));
        let ticket = ApiKey::Query(ApiKeyValue::with_description(
            "ticket",
            "Ticket created by `POST /tickets`, for an EventSource",
        ));
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(cookie));
        components.add_security_scheme("ticket", SecurityScheme::ApiKey(ticket));
    }
}

/// Returns the methods that are described for a path, in capitals.
#[cfg(test)]
fn methods(item: &utoipa::openapi::PathItem) -> Vec<&'static str> {
    let operations = [
        ("GET", item.get.is_some()),
        ("POST", item.post.is_some()),
        ("DELETE", item.delete.is_some()),
        ("PUT", item.put.is_some()),
    ];
    operations.into_iter().filter(|(_, is_described)| *is_described).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::all_routes;

    #[test]
    fn exactly_the_existing_routes_are_described() {
        let api = description();
        let described: Vec<(&str, Vec<&str>)> =
            api.paths.paths.iter().map(|(path, item)| (path.as_str(), methods(item))).collect();
        for (path, allowed) in all_routes() {
            let item = described.iter().find(|(known, _)| *known == path);
            let (_, methods) = item.unwrap_or_else(|| panic!("{path} is not described"));
            assert_eq!(methods, &allowed.to_vec(), "{path}");
        }
        for (path, _) in described {
            assert!(all_routes().any(|(known, _)| known == path), "{path} is not a route");
        }
    }
}
