//! Paths and methods.

use crate::http::api::chats::{completions, native, ticket};
use crate::http::api::{
    files, jobs, journal, log_filter, login, ops, pages, publish, revocations, sessions, stats,
    streams, subscribe, tickets,
};
use crate::http::error::openai::{SHOULD_RETRY, as_error as as_openai};
use crate::http::error::{Code, Problem};
use crate::http::extract::last_event_id::LAST_EVENT_ID;
use crate::http::middleware::access_log::{self, REQUEST_ID};
use crate::http::middleware::auth;
use crate::http::openapi::document;
use crate::http::resource::resource;
use crate::http::state::AppState;
use actix_cors::Cors;
use actix_service::ServiceFactory;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self};
use actix_web::middleware::{Condition, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, HttpRequest, HttpResponse, Resource, ResponseError, Route};

/// The whole hub, or what is on a listener of its own.
pub(crate) fn app(
    state: Data<AppState>,
    is_apart: bool,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let origins = &state.settings.cors_origins;
    let cors = Condition::new(!origins.is_empty() && !is_apart, cors(origins));
    let guarded = Condition::new(!is_apart, from_fn(auth::authenticate));
    let guarded_apart = Condition::new(is_apart, from_fn(auth::check_admin_host));
    let routes = if is_apart { admin_routes } else { routes };
    App::new()
        .app_data(state)
        .wrap(guarded)
        .wrap(guarded_apart)
        .wrap(cors)
        .wrap(from_fn(access_log::log_requests))
        .configure(routes)
}

/// Path of downloads; the last parameter may have slashes.
const FILES: &str = "/files/{folder}/{path}";
const FILES_PATTERN: &str = "/files/{folder}/{path:.*}";

/// Every path of the hub but its pages, and the methods that it takes.
pub(crate) const ROUTES: &[(&str, &[&str])] = &[
    ("/publish", &["POST"]),
    ("/log-message", &["POST"]),
    ("/events", &["GET", "POST"]),
    ("/streams", &["GET"]),
    ("/streams/{stream}", &["GET", "DELETE"]),
    ("/streams/{stream}/events", &["GET", "POST"]),
    ("/streams/{stream}/end", &["POST"]),
    ("/revocations", &["GET", "POST", "DELETE"]),
    ("/tickets", &["POST"]),
    ("/session", &["GET", "POST", "DELETE"]),
    ("/stats", &["GET"]),
    ("/sessions", &["GET"]),
    ("/sessions/{id}", &["DELETE"]),
    ("/presence/{stream}", &["GET"]),
    (FILES, &["GET"]),
    ("/jobs", &["GET"]),
    ("/jobs/{name}/runs", &["POST"]),
    ("/jobs/{name}/runs/{run}", &["DELETE"]),
    ("/chats", &["POST"]),
    ("/chats/{id}", &["GET", "DELETE"]),
    ("/chats/{id}/events", &["GET"]),
    ("/chats/{id}/stop", &["POST"]),
    ("/chats/{id}/tickets", &["POST"]),
    ("/chat", &["GET", "POST"]),
    ("/v1/chat/completions", &["POST"]),
    ("/v1/chat/completions/{id}", &["GET"]),
    ("/v1/chat/completions/{id}/cancel", &["POST"]),
    ("/v1/models", &["GET"]),
    ("/v1/models/{id}", &["GET"]),
    ("/journal/losses", &["GET", "DELETE"]),
    ("/journal/backup", &["GET"]),
    ("/log-filter", &["GET", "PUT"]),
    ("/version", &["GET"]),
    ("/healthz", &["GET"]),
    ("/readyz", &["GET"]),
    ("/metrics", &["GET"]),
    ("/openapi.json", &["GET"]),
];

fn routes(config: &mut ServiceConfig) {
    for (path, methods) in ROUTES {
        let pattern = if *path == FILES { FILES_PATTERN } else { path };
        let mut resource = resource(pattern, methods);
        for method in *methods {
            resource = resource.route(handler(path, method));
        }
        config.service(with_head(resource, path));
    }
    pages::serve(config);
    config.default_service(web::to(not_found));
}

fn handler(path: &str, method: &str) -> Route {
    match (method, path) {
        ("POST", "/publish") => web::post().to(publish::publish),
        ("POST", "/log-message") => web::post().to(publish::log_message),
        ("GET", "/events") => web::get().to(subscribe::events),
        ("POST", "/events") => web::post().to(subscribe::events_by_body),
        ("GET", "/streams") => web::get().to(streams::list),
        ("GET", "/streams/{stream}") => web::get().to(streams::get),
        ("DELETE", "/streams/{stream}") => web::delete().to(streams::delete),
        ("GET", "/streams/{stream}/events") => web::get().to(subscribe::stream_events),
        ("POST", "/streams/{stream}/events") => web::post().to(publish::publish_text),
        ("POST", "/streams/{stream}/end") => web::post().to(streams::end),
        ("GET", "/revocations") => web::get().to(revocations::list),
        ("DELETE", "/revocations") => web::delete().to(revocations::undo),
        ("POST", "/revocations") => web::post().to(revocations::add),
        ("POST", "/tickets") => web::post().to(tickets::mint),
        ("GET", "/session") => web::get().to(login::who),
        ("POST", "/session") => web::post().to(login::begin),
        ("DELETE", "/session") => web::delete().to(login::end),
        ("GET", "/stats") => web::get().to(stats::stats),
        ("GET", "/sessions") => web::get().to(sessions::list),
        ("DELETE", "/sessions/{id}") => web::delete().to(sessions::delete),
        ("GET", "/presence/{stream}") => web::get().to(sessions::presence),
        ("GET", FILES) => web::get().to(files::get),
        ("GET", "/jobs") => web::get().to(jobs::list),
        ("POST", "/jobs/{name}/runs") => web::post().to(jobs::begin),
        ("DELETE", "/jobs/{name}/runs/{run}") => web::delete().to(jobs::stop),
        ("POST", "/chats") => web::post().to(native::create),
        ("GET", "/chats/{id}") => web::get().to(native::get),
        ("DELETE", "/chats/{id}") => web::delete().to(native::delete),
        ("GET", "/chats/{id}/events") => web::get().to(native::events),
        ("POST", "/chats/{id}/stop") => web::post().to(native::stop),
        ("POST", "/chats/{id}/tickets") => web::post().to(ticket::tickets),
        ("GET", "/chat") => web::get().to(pages::chat),
        ("POST", "/chat") => web::post().to(native::chat),
        ("POST", "/v1/chat/completions") => web::post().to(completions::create),
        ("GET", "/v1/chat/completions/{id}") => web::get().to(completions::get),
        ("POST", "/v1/chat/completions/{id}/cancel") => web::post().to(completions::cancel),
        ("GET", "/v1/models/{id}") => web::get().to(completions::model),
        ("GET", "/v1/models") => web::get().to(completions::models),
        ("GET", "/journal/losses") => web::get().to(journal::losses),
        ("DELETE", "/journal/losses") => web::delete().to(journal::acknowledge_losses),
        ("GET", "/journal/backup") => web::get().to(journal::backup),
        ("GET", "/log-filter") => web::get().to(log_filter::get),
        ("PUT", "/log-filter") => web::put().to(log_filter::put),
        ("GET", "/version") => web::get().to(ops::version),
        ("GET", "/healthz") => web::get().to(ops::healthz),
        ("GET", "/readyz") => web::get().to(ops::readyz),
        ("GET", "/metrics") => web::get().to(ops::metrics),
        ("GET", "/openapi.json") => web::get().to(document::openapi),
        _ => web::to(not_found),
    }
}

/// Load balancers look at these by HEAD, and those who download at how large a file is.
fn with_head(resource: Resource, path: &str) -> Resource {
    match path {
        FILES => resource.route(web::head().to(files::get)),
        "/healthz" => resource.route(web::head().to(ops::healthz)),
        "/readyz" => resource.route(web::head().to(ops::readyz)),
        _ => resource,
    }
}

/// Routes of the admin listener, which is for Prometheus and health checks.
fn admin_routes(config: &mut ServiceConfig) {
    let probe = |path, get, head| resource(path, &["GET"]).route(get).route(head);
    config
        .service(resource("/metrics", &["GET"]).route(web::get().to(ops::metrics_admin)))
        .service(probe("/healthz", web::get().to(ops::healthz), web::head().to(ops::healthz)))
        .service(probe(
            "/readyz",
            web::get().to(ops::readyz_admin),
            web::head().to(ops::readyz_admin),
        ))
        .default_service(web::to(not_found));
}

async fn not_found(request: HttpRequest) -> HttpResponse {
    let nothing = Problem::new(Code::NotFound, format!("there is no {}", request.path()));
    if auth::is_openai_path(request.path()) {
        as_openai(nothing).error_response()
    } else {
        nothing.error_response()
    }
}

/// Headers that OpenAI's SDKs send from a browser.
const OF_SDKS: [&str; 14] = [
    "openai-beta",
    "openai-organization",
    "openai-project",
    "user-agent",
    "x-stainless-arch",
    "x-stainless-async",
    "x-stainless-helper-method",
    "x-stainless-lang",
    "x-stainless-os",
    "x-stainless-package-version",
    "x-stainless-retry-count",
    "x-stainless-runtime",
    "x-stainless-runtime-version",
    "x-stainless-timeout",
];

fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods([Method::GET, Method::POST, Method::DELETE])
        .allowed_headers([
            header::CONTENT_TYPE,
            header::ACCEPT,
            header::CACHE_CONTROL,
            header::AUTHORIZATION,
            LAST_EVENT_ID,
            REQUEST_ID,
        ])
        .allowed_headers(["Idempotency-Key", "Fanfare-On-Disconnect"])
        .allowed_headers(OF_SDKS)
        .expose_headers([LAST_EVENT_ID, header::RETRY_AFTER, REQUEST_ID])
        .expose_headers([header::CONTENT_LOCATION, completions::CHAT_ID])
        .expose_headers([completions::REPLAYED, SHOULD_RETRY])
        .max_age(3600);
    // Cookies go to origins that are named, and not to whoever asks.
    let cors =
        if origins.iter().any(|origin| origin == "*") { cors } else { cors.supports_credentials() };
    origins.iter().fold(cors, |cors, origin| match origin.as_str() {
        "*" => cors.allow_any_origin().send_wildcard(),
        origin => cors.allowed_origin(origin),
    })
}
