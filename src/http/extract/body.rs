//! Bodies of requests, while they are being received.
//!
//! Promises: the bytes of all bodies are bounded, in total and per client; a body that arrives too
//! slowly is refused.

use crate::http::error::{Code, Problem};
use crate::http::extract::client::client;
use crate::http::state::AppState;
use crate::limits::Limit;
use crate::telemetry::BoundHit;
use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use std::time::{Duration, Instant};

/// Maximum time between two chunks of a body.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(20);
/// Minimum average speed of a body after that time: that of a slow line.
const MIN_BYTES_PER_SECOND: usize = 16 * 1024;

/// Reads the whole body, or fails as soon as it must be refused.
pub(crate) async fn read_body(
    state: &AppState,
    request: &HttpRequest,
    body: Payload,
) -> Result<Bytes, Problem> {
    read_body_up_to(state, request, body, state.settings.max_body_bytes).await
}

/// Reads the whole body of at most `max` bytes, or fails as soon as it must be refused.
pub(crate) async fn read_body_up_to(
    state: &AppState,
    request: &HttpRequest,
    mut body: Payload,
    max: usize,
) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            Code::PayloadTooLarge,
            format!("the body exceeds the maximum of {max} bytes (--max-body-bytes)"),
        )
        .field("body")
    };
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max) {
        return Err(too_large());
    }
    if !state.memory.has_room() {
        let why = "the hub has nearly used up its memory budget";
        return Err(Problem::limit_reached(Limit::MemoryBudget, why).retry_after(1));
    }
    let client = client(state, request);
    let (started, mut received) = (Instant::now(), BytesMut::new());
    let mut reservation = state.body_budget.reserve(&client, max);
    loop {
        let next = tokio::time::timeout(CHUNK_TIMEOUT, body.next()).await;
        let Some(chunk) = next.map_err(|_| stalled())? else { break };
        let chunk = chunk.map_err(|e| {
            Problem::new(Code::ClientDisconnected, format!("cannot read the body: {e}"))
        })?;
        if received.len() + chunk.len() > max {
            return Err(too_large());
        }
        if !reservation.grow(chunk.len()) {
            state.telemetry.bound_hit(BoundHit::RequestBodies);
            let detail = "too many bytes of request bodies are being received; retry later";
            return Err(Problem::bound_hit(BoundHit::RequestBodies, detail));
        }
        received.extend_from_slice(&chunk);
        let allowance = Duration::from_secs((received.len() / MIN_BYTES_PER_SECOND) as u64);
        if started.elapsed() > CHUNK_TIMEOUT + allowance {
            return Err(stalled());
        }
    }
    Ok(received.freeze())
}

/// Parses a body that must be a JSON object.
pub(crate) fn parse_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let malformed = |why: String| Problem::new(Code::Malformed, why).field("body");
    if body.trim_ascii_start().first() != Some(&b'{') {
        // serde would also read a struct from an array, by the order of its members.
        return Err(malformed("the body must be a JSON object".into()));
    }
    serde_json::from_slice(body).map_err(|e| malformed(e.to_string()))
}

fn stalled() -> Problem {
    let seconds = CHUNK_TIMEOUT.as_secs();
    let why = format!(
        "the body arrives too slowly: nothing for {seconds} s, or less than \
         {MIN_BYTES_PER_SECOND} bytes per second"
    );
    Problem::new(Code::ConnectionTimeout, why)
}
