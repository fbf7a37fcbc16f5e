//! Paths and methods.

#[cfg(feature = "chat")]
use crate::http::api::chats;
#[cfg(feature = "cluster")]
use crate::http::api::cluster;
#[cfg(feature = "durable-streams")]
use crate::http::api::durable;
#[cfg(feature = "files")]
use crate::http::api::files;
#[cfg(feature = "jobs")]
use crate::http::api::jobs;
#[cfg(feature = "mercure")]
use crate::http::api::mercure;
#[cfg(feature = "dashboard")]
use crate::http::api::pages;
#[cfg(feature = "search")]
use crate::http::api::search;
use crate::http::api::{
    journal, log_filter, login, ops, publish, revocations, sessions, stats, streams, subscribe,
    tickets,
};
use crate::http::error::{Code, Problem, error_for};
use crate::http::extract::last_event_id::LAST_EVENT_ID;
use crate::http::middleware::access_log::{self, REQUEST_ID};
use crate::http::middleware::auth;
#[cfg(feature = "cluster")]
use crate::http::middleware::forward;
use crate::http::openapi::document;
use crate::http::resource::{Routes, resource};
use crate::http::state::AppState;
use actix_cors::Cors;
use actix_service::ServiceFactory;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self};
use actix_web::middleware::{Condition, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, HttpRequest, HttpResponse, Resource, Route};

/// Builds the app of the hub or, if `is_admin_listener`, of the admin listener.
pub(crate) fn app(
    state: Data<AppState>,
    is_admin_listener: bool,
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
    let cors = cors(origins);
    #[cfg(feature = "mercure")]
    let cors = match &state.settings.mercure {
        Some(_) => {
            cors.allowed_methods([mercure::query()]).expose_headers(mercure::RESPONSE_HEADERS)
        }
        None => cors,
    };
    #[cfg(feature = "durable-streams")]
    let cors = match &state.settings.durable {
        Some(_) => cors
            .allowed_methods(durable::CORS_METHODS)
            .allowed_headers(durable::REQUEST_HEADERS)
            .expose_headers(durable::RESPONSE_HEADERS),
        None => cors,
    };
    let cors = Condition::new(!origins.is_empty() && !is_admin_listener, cors);
    let guarded = Condition::new(!is_admin_listener, from_fn(auth::authenticate));
    let admin_host_check = Condition::new(is_admin_listener, from_fn(auth::check_admin_host));
    let routes = if is_admin_listener { admin_routes } else { routes };
    let app = App::new();
    #[cfg(feature = "mercure")]
    let app = {
        let settings = state.settings.mercure.clone().filter(|_| !is_admin_listener);
        app.configure(|config| settings.iter().for_each(|own| mercure::configure(config, own)))
    };
    #[cfg(feature = "durable-streams")]
    let app = {
        let settings = state.settings.durable.clone().filter(|_| !is_admin_listener);
        app.configure(|config| settings.iter().for_each(|own| durable::configure(config, own)))
    };
    #[cfg(feature = "cluster")]
    let app = app.wrap(Condition::new(
        !is_admin_listener && state.peers.is_some(),
        from_fn(forward::forward),
    ));
    app.app_data(state)
        .wrap(guarded)
        .wrap(admin_host_check)
        .wrap(cors)
        .wrap(from_fn(access_log::log_requests))
        .configure(routes)
}

/// Paths of the hub that every build has, except pages.
const CORE: Routes = &[
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
    ("/journal/losses", &["GET", "DELETE"]),
    ("/journal/backup", &["GET"]),
    ("/log-filter", &["GET", "PUT"]),
    ("/version", &["GET"]),
    ("/healthz", &["GET"]),
    ("/readyz", &["GET"]),
    ("/metrics", &["GET"]),
    ("/openapi.json", &["GET"]),
];

/// Returns every path of the hub except its pages, with its methods.
pub(crate) fn all_routes() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    let groups: &[Routes] = &[
        CORE,
        #[cfg(feature = "cluster")]
        cluster::ROUTES,
        #[cfg(feature = "files")]
        files::ROUTES,
        #[cfg(feature = "jobs")]
        jobs::ROUTES,
        #[cfg(feature = "search")]
        search::ROUTES,
        #[cfg(feature = "chat")]
        chats::ROUTES,
    ];
    groups.iter().flat_map(|routes| routes.iter().copied())
}

fn routes(config: &mut ServiceConfig) {
    for (path, methods) in all_routes() {
        let mut resource = resource(pattern(path), methods);
        for method in methods {
            resource = resource.route(handler(path, method));
        }
        config.service(with_head(resource, path));
    }
    #[cfg(feature = "dashboard")]
    pages::serve(config);
    config.default_service(web::to(not_found));
}

/// Returns the pattern that matches a path.
fn pattern(path: &'static str) -> &'static str {
    match path {
        #[cfg(feature = "files")]
        files::PATH => files::PATTERN,
        _ => path,
    }
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
        ("GET", "/session") => web::get().to(login::describe_caller),
        ("POST", "/session") => web::post().to(login::begin),
        ("DELETE", "/session") => web::delete().to(login::end),
        ("GET", "/stats") => web::get().to(stats::stats),
        ("GET", "/sessions") => web::get().to(sessions::list),
        ("DELETE", "/sessions/{id}") => web::delete().to(sessions::delete),
        ("GET", "/presence/{stream}") => web::get().to(sessions::presence),
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
        _ => optional_handler(path, method).unwrap_or_else(|| web::to(not_found)),
    }
}

/// Returns the handler of a path that only some builds have.
fn optional_handler(path: &str, method: &str) -> Option<Route> {
    let find: &[fn(&str, &str) -> Option<Route>] = &[
        #[cfg(feature = "cluster")]
        cluster::handler,
        #[cfg(feature = "files")]
        files::handler,
        #[cfg(feature = "jobs")]
        jobs::handler,
        #[cfg(feature = "search")]
        search::handler,
        #[cfg(feature = "chat")]
        chats::handler,
    ];
    find.iter().find_map(|find| find(path, method))
}

/// Adds HEAD for load balancers, which check health with it, and for the size of downloads.
fn with_head(resource: Resource, path: &str) -> Resource {
    match path {
        #[cfg(feature = "files")]
        files::PATH => resource.route(web::head().to(files::get)),
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
    let problem = Problem::new(Code::NotFound, format!("unknown path {}", request.path()));
    error_for(request.path(), problem).error_response()
}

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
        .expose_headers([LAST_EVENT_ID, header::RETRY_AFTER, REQUEST_ID])
        .expose_headers([header::CONTENT_LOCATION])
        .max_age(3600);
    #[cfg(feature = "chat")]
    let cors = cors.allowed_headers(chats::REQUEST_HEADERS).expose_headers(chats::RESPONSE_HEADERS);
    // Cookies are allowed only for origins that are listed, never for `*`.
    let cors =
        if origins.iter().any(|origin| origin == "*") { cors } else { cors.supports_credentials() };
    origins.iter().fold(cors, |cors, origin| match origin.as_str() {
        "*" => cors.allow_any_origin().send_wildcard(),
        origin => cors.allowed_origin(origin),
    })
}
