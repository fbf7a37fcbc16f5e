//! `GET /openapi.json`: the whole API, as OpenAPI 3.1 describes one.
//!
//! What a route takes and answers stands above its handler; here is what they have in common.

use super::problem::Document;
use super::{
    log_filter, login, ops, publish, revocations, sessions, stats, streams, subscribe, tickets,
};
use actix_web::HttpResponse;
use actix_web::http::header;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use utoipa::openapi::schema::{Object, Schema, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Response as Described, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, Modify, OpenApi, ToSchema};

/// `GET /openapi.json`
#[utoipa::path(get, path = "/openapi.json", tag = "operators", responses(
    (status = 200, description = "This description", content_type = "application/json"),
    Refused,
))]
pub(super) async fn openapi() -> HttpResponse {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| Api::openapi().to_json().unwrap_or_default());
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
        login::begin,
        login::end,
        revocations::add,
        stats::stats,
        sessions::list,
        sessions::delete,
        sessions::presence,
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
        (name = "publish", description = "Getting events in"),
        (name = "subscribe", description = "Reading them"),
        (name = "streams", description = "What there is"),
        (name = "access", description = "Who may do what"),
        (name = "operators", description = "How the hub is"),
    )
)]
struct Api;

/// How a credential is shown.
struct Access;

impl Modify for Access {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key, or a JSON Web Token with a `fanfare` claim"));
        let cookie = ApiKey::Cookie(ApiKeyValue::with_description(
            "fanfare",
            "What `POST /session` has set, for pages of the hub's own",
        ));
        let ticket = ApiKey::Query(ApiKeyValue::with_description(
            "ticket",
            "What `POST /tickets` has made, for an EventSource",
        ));
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(cookie));
        components.add_security_scheme("ticket", SecurityScheme::ApiKey(ticket));
    }
}

fn problem(why: &str) -> RefOr<Described> {
    let schema = Ref::from_schema_name("Problem");
    let content = Content::new(Some(schema));
    ResponseBuilder::new()
        .description(why)
        .content("application/problem+json", content)
        .build()
        .into()
}

/// Refusals by their status.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident { $($status:literal = $why:literal,)* })*) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Described>> {
                let all = [$((stringify!($status), $why)),*];
                all.into_iter().map(|(status, why)| (status.to_owned(), problem(why))).collect()
            }
        }
    )*};
}

refusals! {
    /// By every route.
    Refused {
        400 = "The request cannot be read",
        401 = "No credential where one is needed, or one that is not good",
        403 = "It is not granted, or a page of another site asks",
        421 = "It is meant for another host",
    }
    /// By those that take a body.
    BodyRefused {
        408 = "The body stopped in the middle",
        413 = "The body, or the data of an event, is too large",
        422 = "A value fails its check",
        429 = "The client's own limit is reached",
        503 = "A limit of the hub is reached, its disk is full, or it is stopping",
    }
    /// By those that look into the journal.
    HistoryRefused {
        500 = "The journal cannot be read",
    }
}

/// What a subscriber is answered.
pub(super) struct Subscribed;

impl IntoResponses for Subscribed {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        let text = || Content::new(Some(Schema::from(Object::with_type(Type::String))));
        let events = ResponseBuilder::new()
            .description("Events, or, where an EventSource is turned away, why")
            // What an event is, the specification of Server-Sent Events says.
            .content("text/event-stream", Content::new(None::<Schema>))
            .content("application/x-ndjson", text())
            .content("text/plain", text());
        let finished = ResponseBuilder::new().description("Everything asked for has ended");
        BTreeMap::from([
            ("200".to_owned(), events.build().into()),
            ("204".to_owned(), finished.build().into()),
            ("422".to_owned(), problem("It names too many streams")),
            ("429".to_owned(), problem("The client's own limit is reached")),
            ("503".to_owned(), problem("A limit of the hub is reached, or it is stopping")),
        ])
    }
}

/// What a subscription by a body says: the parameters of one by a query.
#[derive(ToSchema, Serialize)]
pub(super) struct Subscription {
    /// Streams, or patterns of their names.
    stream: Vec<String>,
    #[schema(nullable = false)]
    last_event_id: Option<String>,
    #[schema(nullable = false, minimum = 0)]
    last: Option<u64>,
    #[schema(nullable = false)]
    from: Option<String>,
    #[schema(nullable = false)]
    types: Option<Vec<String>>,
    #[schema(nullable = false, inline)]
    format: Option<FormatShape>,
    #[schema(nullable = false)]
    follow: Option<bool>,
    #[schema(nullable = false)]
    envelope: Option<bool>,
    #[schema(nullable = false)]
    heartbeat: Option<String>,
}

/// An event to publish.
#[derive(ToSchema, Serialize)]
#[schema(as = Event)]
pub(super) struct EventShape {
    stream: Streams,
    /// `message` unless said otherwise; `log`, `metric` and `heartbeat` have a checked shape.
    #[schema(nullable = false, pattern = r"^(?!hub-|open$|error$)[^\x00-\x1f\x7f-\x9f]{1,64}$")]
    r#type: Option<String>,
    /// Any JSON; a string goes out as its text.
    data: Value,
    /// The same key within ten minutes publishes nothing and answers the first receipt.
    #[schema(nullable = false, min_length = 1, max_length = 128)]
    key: Option<String>,
}

/// A message; what else it has stays with it.
#[derive(ToSchema, Serialize)]
pub(super) struct LogMessage {
    level: Level,
    message: String,
    #[schema(nullable = false)]
    module: Option<String>,
    #[schema(nullable = false)]
    function: Option<String>,
    #[schema(nullable = false, value_type = Option<f64>)]
    line: Option<u64>,
    #[schema(nullable = false)]
    fields: Option<BTreeMap<String, Value>>,
}

#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what `event/shape.rs` takes")]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

/// The name of a stream: 1 to 255 bytes, neither `.` nor `..`.
#[derive(ToSchema, Serialize)]
#[schema(pattern = r"^[^\s*\x00-\x1f\x7f-\x9f]{1,255}$")]
struct Name(String);

/// One name, or 1 to 16 of them.
#[derive(ToSchema, Serialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what `wire/` spells")]
enum Streams {
    One(Name),
    Several(Vec<Name>),
}

/// One event, or 1 to 4,096 that are published all or none.
#[derive(ToSchema, Serialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what `wire/` spells")]
pub(super) enum Events {
    One(EventShape),
    Several(Vec<EventShape>),
}

/// What a publisher is answered once its event is as durable as the hub promises.
#[derive(ToSchema, Serialize)]
pub(super) struct Receipt {
    /// The event's id.
    id: String,
    stream: Streams,
    /// Sessions that it goes to.
    subscribers: u32,
    /// Its key was used before, and this is what was answered then.
    duplicate: bool,
}

/// A receipt for each event, or, for lines, what they came to.
#[derive(ToSchema, Serialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what `wire/` spells")]
pub(super) enum Receipts {
    One(Receipt),
    Several(Vec<Receipt>),
    Summary {
        /// Events that were new.
        published: usize,
        first: Option<String>,
        last: Option<String>,
    },
}

/// What an end is answered.
#[derive(ToSchema, Serialize)]
pub(super) struct EndReceipt {
    id: String,
    stream: String,
    /// Sessions that are told.
    subscribers: u32,
}

/// How to read.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `query.rs` reads")]
pub(super) struct Reading {
    /// Go on after this event, where the `Last-Event-ID` header cannot be sent.
    #[param(nullable = false)]
    last_event_id: Option<String>,
    /// Start with the newest so many.
    #[param(minimum = 0, nullable = false, format = "uint64")]
    last: Option<u64>,
    /// `start`, `now`, a time (RFC 3339), or so long ago (`10m`).
    #[param(nullable = false)]
    from: Option<String>,
    /// Only these types, separated by commas.
    #[param(nullable = false)]
    types: Option<String>,
    /// As what the events come; otherwise what `Accept` asks for.
    #[param(inline, nullable = false)]
    format: Option<FormatShape>,
    /// Data as `{"stream","type","time","data"}`.
    #[param(nullable = false)]
    envelope: Option<bool>,
    /// How often a quiet connection gets a sign of life, 1s to 1h.
    #[param(nullable = false)]
    heartbeat: Option<String>,
    /// `false`: end with the newest event, as an export does.
    #[param(nullable = false)]
    follow: Option<bool>,
    /// As `comment` or as `event`.
    #[param(inline, nullable = false)]
    heartbeat_as: Option<BeatAs>,
    /// `off`: without `hub-open`, `hub-gap`, `hub-end`, `hub-notice`, `hub-error`.
    #[param(inline, nullable = false)]
    control: Option<Control>,
    /// `status`: turn this client away with a status, and not with a stream that says so.
    #[param(inline, nullable = false)]
    refusal: Option<RefusalAs>,
    /// What `POST /tickets` has made.
    #[param(nullable = false)]
    ticket: Option<String>,
}

#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what `query.rs` reads")]
enum FormatShape {
    Sse,
    Ndjson,
    Text,
}

#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what `query.rs` reads")]
enum BeatAs {
    Comment,
    Event,
}

#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what `query.rs` reads")]
enum Control {
    On,
    Off,
}

#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what `query.rs` reads")]
enum RefusalAs {
    Event,
    Status,
}

/// The methods that are described for a path, in capitals.
#[cfg(test)]
fn methods(item: &utoipa::openapi::PathItem) -> Vec<&'static str> {
    let all = [
        ("GET", item.get.is_some()),
        ("POST", item.post.is_some()),
        ("DELETE", item.delete.is_some()),
        ("PUT", item.put.is_some()),
    ];
    all.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::ROUTES;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let api = Api::openapi();
        let described: Vec<(&str, Vec<&str>)> =
            api.paths.paths.iter().map(|(path, item)| (path.as_str(), methods(item))).collect();
        for (path, allowed) in ROUTES {
            let item = described.iter().find(|(known, _)| known == path);
            let is_page = crate::http::pages::is_page(path) && *path != "/openapi.json";
            match item {
                Some((_, methods)) => assert_eq!(methods, allowed, "{path}"),
                None => assert!(is_page, "{path} is not described"),
            }
        }
        for (path, _) in described {
            assert!(ROUTES.iter().any(|(known, _)| *known == path), "there is no {path}");
        }
    }
}
