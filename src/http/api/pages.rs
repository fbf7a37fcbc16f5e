//! Pages in the binary, with their scripts and styles: the files of `static/`.
//!
//! Promises: files are served as they were in `static/` at build time (a debug build reads them
//! again); a browser that has the current version gets 304. Never: loads a script or a style from
//! elsewhere.

#[cfg(feature = "chat")]
use crate::http::openapi::errors::PublicErrors;
use crate::http::resource::resource;
use actix_web::http::header::{self, ETag, EntityTag, IfNoneMatch};
use actix_web::middleware::Compress;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use rust_embed::{Embed, EmbeddedFile};
use std::fmt::Write;

#[derive(Embed)]
#[folder = "static/"]
struct Static;

/// Paths of pages, and their files.
const PAGES: [(&str, &str); 3] = [("/", "index.html"), ("/docs", "docs.html"), (CHAT, "chat.html")];
/// Path of the chat page, which is registered with `POST /chat`.
const CHAT: &str = "/chat";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Adds `GET` for `/`, `/docs`, `/fanfare.js` and every other served file.
pub(crate) fn serve(config: &mut ServiceConfig) {
    let files = Static::iter().filter(|name| is_served(name));
    let files = files.map(|name| (format!("/{name}"), name.into_owned()));
    let pages = PAGES
        .iter()
        .filter(|(path, _)| *path != CHAT)
        .map(|(path, name)| (path.to_string(), name.to_string()));
    for (path, name) in pages.chain(files) {
        let get = web::get().to(move |request: HttpRequest| {
            let answer = answer(&request, &name);
            async move { answer }
        });
        config.service(resource(&path, &["GET"]).route(get).wrap(Compress::default()));
    }
}

/// `GET /chat`
#[cfg(feature = "chat")]
#[utoipa::path(get, path = "/chat", tag = "chats", operation_id = "chat_page",
    summary = "Get the chat page",
    description = "Returns a page to try models. Requires no credential; chatting does.",
    responses(
        (status = 200, description = "The chat page", content_type = "text/html"),
        PublicErrors,
    )
)]
pub(crate) async fn chat(request: HttpRequest) -> HttpResponse {
    answer(&request, "chat.html")
}

/// Returns true if a page or a part of one is at `path`.
pub(crate) fn is_page(path: &str) -> bool {
    let exists = |name: &str| is_served(name) && Static::get(name).is_some();
    let is_file = || path.strip_prefix('/').is_some_and(exists);
    PAGES.iter().any(|(page, _)| *page == path) || is_file()
}

/// Returns false for files that are for development only.
fn is_served(name: &str) -> bool {
    !name.ends_with(".md") && name != "package.json"
}

fn answer(request: &HttpRequest, name: &str) -> HttpResponse {
    let Some(file) = Static::get(name) else { return HttpResponse::NotFound().finish() };
    let tag = tag(&file);
    let is_current = match request.get_header::<IfNoneMatch>() {
        Some(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        Some(IfNoneMatch::Any) => true,
        None => false,
    };
    let mut answer = if is_current { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header(ETag(tag))
        .insert_header((header::VARY, "Accept-Encoding"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY));
    if is_current {
        answer.finish()
    } else {
        answer.content_type(kind_of(name)).body(file.data.into_owned())
    }
}

/// Returns the entity tag of a file; weak, because compressed responses differ in their bytes.
fn tag(file: &EmbeddedFile) -> EntityTag {
    let sum = file.metadata.sha256_hash();
    let text = sum[..16].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    EntityTag::new_weak(text)
}

fn kind_of(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        _ => "text/plain; charset=utf-8",
    }
}
