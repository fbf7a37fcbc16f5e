//! Chats: `/chats…`, `/chat`, and the same for OpenAI's clients at `/v1/…`.
//!
//! Promises: a chat of another subject and a chat that does not exist have the same answer; every
//! refusal is counted with a reason; a reader that leaves stops no chat, except one that was created
//! by an OpenAI client and has had no reader for a minute.

pub(crate) mod authorization;
pub(crate) mod chat_body;
pub(crate) mod completions;
pub(crate) mod create;
pub(crate) mod models;
pub(crate) mod native;
pub(crate) mod read;
mod shapes;
pub(crate) mod ticket;

#[cfg(feature = "dashboard")]
use crate::http::api::pages;
use crate::http::error::openai::SHOULD_RETRY;
use crate::http::resource::Routes;
use actix_web::http::header::HeaderName;
use actix_web::{Route, web};

/// Methods of `/chat`, which is a page as well.
#[cfg(feature = "dashboard")]
const CHAT_METHODS: &[&str] = &["GET", "POST"];
#[cfg(not(feature = "dashboard"))]
const CHAT_METHODS: &[&str] = &["POST"];

/// Paths of chats.
pub(crate) const ROUTES: Routes = &[
    ("/chats", &["POST"]),
    ("/chats/{id}", &["GET", "DELETE"]),
    ("/chats/{id}/events", &["GET"]),
    ("/chats/{id}/stop", &["POST"]),
    ("/chats/{id}/tickets", &["POST"]),
    ("/chat", CHAT_METHODS),
    ("/v1/chat/completions", &["POST"]),
    ("/v1/chat/completions/{id}", &["GET"]),
    ("/v1/chat/completions/{id}/cancel", &["POST"]),
    ("/v1/models", &["GET"]),
    ("/v1/models/{id}", &["GET"]),
];

/// Returns the handler of a path of chats.
pub(crate) fn handler(path: &str, method: &str) -> Option<Route> {
    Some(match (method, path) {
        ("POST", "/chats") => web::post().to(native::create),
        ("GET", "/chats/{id}") => web::get().to(native::get),
        ("DELETE", "/chats/{id}") => web::delete().to(native::delete),
        ("GET", "/chats/{id}/events") => web::get().to(native::events),
        ("POST", "/chats/{id}/stop") => web::post().to(native::stop),
        ("POST", "/chats/{id}/tickets") => web::post().to(ticket::tickets),
        #[cfg(feature = "dashboard")]
        ("GET", "/chat") => web::get().to(pages::chat),
        ("POST", "/chat") => web::post().to(native::chat),
        ("POST", "/v1/chat/completions") => web::post().to(completions::create),
        ("GET", "/v1/chat/completions/{id}") => web::get().to(completions::get),
        ("POST", "/v1/chat/completions/{id}/cancel") => web::post().to(completions::cancel),
        ("GET", "/v1/models/{id}") => web::get().to(models::model),
        ("GET", "/v1/models") => web::get().to(models::models),
        _ => return None,
    })
}

/// Headers that OpenAI's SDKs send from a browser.
pub(crate) const REQUEST_HEADERS: [&str; 14] = [
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

/// Headers of responses that pages of other origins may read.
pub(crate) const RESPONSE_HEADERS: [HeaderName; 3] =
    [completions::CHAT_ID, completions::REPLAYED, SHOULD_RETRY];
