//! The Durable Streams protocol: streams with properties, as a face of the journal.
//!
//! | request | file |
//! |---|---|
//! | PUT: creates a stream | `create.rs`, forks in `fork.rs` |
//! | POST: appends to it, or closes it | `append.rs`, messages in `messages.rs` |
//! | GET, HEAD: reads it, once or as it grows | `read.rs`; `chunk.rs`, `follow.rs` |
//! | DELETE | `delete.rs` |

mod append;
mod chunk;
mod create;
mod delete;
mod follow;
mod fork;
pub(crate) mod headers;
pub(crate) mod messages;
mod offset;
mod read;
mod response;

pub(crate) use headers::REQUEST_HEADERS;
pub(crate) use offset::Offset;
pub(crate) use response::RESPONSE_HEADERS;

use crate::config::DurableSettings;
use crate::event::StreamName;
use crate::http::error::{Code, Problem};
use crate::http::history::wait_for_log;
use crate::http::resource::resource;
use crate::http::state::AppState;
use crate::journal::StreamState;
use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use percent_encoding::percent_decode_str;

/// Methods of a stream.
const METHODS: &[&str] = &["GET", "HEAD", "PUT", "POST", "DELETE"];
/// Methods beside those of the hub, for pages of other origins.
pub(crate) const CORS_METHODS: [Method; 2] = [Method::HEAD, Method::PUT];
/// First part of paths that the protocol reserves for its subscriptions.
const RESERVED: &str = "__ds";

/// Adds the paths of streams.
pub(crate) fn configure(config: &mut ServiceConfig, settings: &DurableSettings) {
    config.service(
        resource(&format!("{}/{{stream:.*}}", settings.path), METHODS)
            .route(web::get().to(read::get))
            .route(web::head().to(read::head))
            .route(web::put().to(create::put))
            .route(web::post().to(append::post))
            .route(web::delete().to(delete::delete)),
    );
}

/// Returns the path below which the streams are.
fn root(state: &AppState) -> &str {
    state.settings.durable.as_ref().map_or("", |settings| &settings.path)
}

/// Returns the stream of a request.
fn stream_of(state: &AppState, request: &HttpRequest) -> Result<StreamName, Problem> {
    stream_at(root(state), request.uri().path())
}

/// Returns the stream at a path.
fn stream_at(root: &str, path: &str) -> Result<StreamName, Problem> {
    let malformed = |why: &str| Problem::new(Code::Malformed, why).field("stream");
    let below = path.strip_prefix(root).and_then(|rest| rest.strip_prefix('/'));
    let below = below.ok_or_else(|| malformed("the path is not that of a stream"))?;
    let name = percent_decode_str(below).decode_utf8();
    let name = name.map_err(|_| malformed("the path is not UTF-8"))?;
    if name.split('/').next() == Some(RESERVED) {
        let why = "subscriptions of the Durable Streams protocol are not implemented";
        return Err(Problem::new(Code::NotImplemented, why));
    }
    StreamName::parse(&name).map_err(Problem::query)
}

/// Returns the state of a stream as [`existing`] does. Another hub of the cluster may have created it before this one
/// knows of it.
async fn found(state: &AppState, name: &StreamName) -> Result<StreamState, Problem> {
    if state.history.stream_state(name).is_none() {
        wait_for_log(state, async || state.history.stream_state(name).is_some()).await;
    }
    existing(state, name)
}

/// Returns the state of a stream, or why it cannot be used: it does not exist, its lifetime is over, or it was
/// deleted and only forks have its data.
fn existing(state: &AppState, name: &StreamName) -> Result<StreamState, Problem> {
    let unknown = || Problem::new(Code::NotFound, format!("stream {name:?} does not exist"));
    let found = state.history.stream_state(name).ok_or_else(unknown)?;
    if found.record.as_ref().is_some_and(|record| record.is_deleted) {
        let why = format!("stream {name:?} was deleted; forks still have its data");
        return Err(Problem::new(Code::Gone, why));
    }
    if state.lifetimes.is_over(name, &found) {
        state.lifetimes.expire(name, found.created);
        return Err(unknown());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_decoded_paths() {
        let name = |path: &str| stream_at("/v1/stream", path).map(|name| name.to_string());
        assert_eq!(name("/v1/stream/a/b%20c").map_err(|e| e.code), Err(Code::Malformed));
        assert_eq!(name("/v1/stream/a/b%2Fc").ok().as_deref(), Some("a/b/c"));
        assert_eq!(name("/v1/stream/%C3%A9").ok().as_deref(), Some("é"));
        for bad in ["/v1/stream/", "/v1/streams", "/v1/stream/%FF", "/v1/stream/a*"] {
            assert_eq!(name(bad).map_err(|e| e.code), Err(Code::Malformed), "{bad}");
        }
        for reserved in ["/v1/stream/__ds", "/v1/stream/__ds/subscriptions/x"] {
            assert_eq!(name(reserved).map_err(|e| e.code), Err(Code::NotImplemented));
        }
        assert!(name("/v1/stream/__dsx").is_ok());
    }
}
