//! What is where.

use super::problem::{Code, Problem};
use super::server::Hub;
use super::stats;
use super::{guard, login, ops, pages, publish, revocations, streams, subscribe, tickets};
use actix_cors::Cors;
use actix_service::ServiceFactory;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, header};
use actix_web::middleware::{Condition, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, HttpRequest, HttpResponse, ResponseError};

/// The whole hub, or what is on a listener of its own.
pub(super) fn app(
    hub: Data<Hub>,
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
    let origins = &hub.settings.cors_origins;
    let cors = Condition::new(!origins.is_empty() && !is_apart, cors(origins));
    let guarded = Condition::new(!is_apart, from_fn(guard::guard));
    let routes = if is_apart { routes_apart } else { routes };
    App::new().app_data(hub).wrap(guarded).wrap(cors).configure(routes)
}

fn route(path: &str) -> actix_web::Resource {
    web::resource(path).default_service(web::to(wrong_method))
}

fn routes(config: &mut ServiceConfig) {
    config
        .service(route("/publish").route(web::post().to(publish::publish)))
        .service(route("/events").route(web::get().to(subscribe::events)))
        .service(route("/streams").route(web::get().to(streams::list)))
        .service(
            route("/streams/{stream}")
                .route(web::get().to(streams::get))
                .route(web::delete().to(streams::delete)),
        )
        .service(
            route("/streams/{stream}/events")
                .route(web::get().to(subscribe::stream_events))
                .route(web::post().to(publish::publish_text)),
        )
        .service(route("/streams/{stream}/end").route(web::post().to(streams::end)))
        .service(route("/revocations").route(web::post().to(revocations::add)))
        .service(route("/tickets").route(web::post().to(tickets::mint)))
        .service(
            route("/session")
                .route(web::post().to(login::begin))
                .route(web::delete().to(login::end)),
        )
        .service(route("/stats").route(web::get().to(stats::stats)))
        .service(route("/version").route(web::get().to(ops::version)))
        .service(route("/healthz").route(web::get().to(ops::healthz)))
        .service(route("/readyz").route(web::get().to(ops::readyz)))
        .service(route("/metrics").route(web::get().to(ops::metrics)))
        .service(route("/").route(web::get().to(pages::index)))
        .service(route("/watch.js").route(web::get().to(pages::script)))
        .service(route("/watch.css").route(web::get().to(pages::style)))
        .default_service(web::to(nothing_here));
}

/// For Prometheus and whatever restarts hubs, on an address that the public does not reach.
fn routes_apart(config: &mut ServiceConfig) {
    config
        .service(route("/metrics").route(web::get().to(ops::metrics_apart)))
        .service(route("/healthz").route(web::get().to(ops::healthz)))
        .service(route("/readyz").route(web::get().to(ops::readyz)))
        .default_service(web::to(nothing_here));
}

async fn nothing_here(request: HttpRequest) -> HttpResponse {
    Problem::new(Code::NotFound, format!("there is no {}", request.path())).error_response()
}

async fn wrong_method(request: HttpRequest) -> HttpResponse {
    let detail = format!("{} does not take {}", request.path(), request.method());
    Problem::new(Code::MethodNotAllowed, detail).error_response()
}

fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods([Method::GET, Method::POST, Method::DELETE])
        .allowed_headers([
            header::CONTENT_TYPE,
            header::ACCEPT,
            header::CACHE_CONTROL,
            header::AUTHORIZATION,
            subscribe::LAST_EVENT_ID,
        ])
        .allowed_header("Idempotency-Key")
        .expose_headers([subscribe::LAST_EVENT_ID, header::RETRY_AFTER])
        .max_age(3600);
    // Cookies go to origins that are named, and not to whoever asks.
    let cors = match origins.iter().any(|origin| origin == "*") {
        true => cors,
        false => cors.supports_credentials(),
    };
    origins.iter().fold(cors, |cors, origin| match origin.as_str() {
        "*" => cors.allow_any_origin().send_wildcard(),
        origin => cors.allowed_origin(origin),
    })
}
