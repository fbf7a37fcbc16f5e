//! `POST /publish` and `POST /streams/{stream}/events`.

use crate::access::{Caller, Scope};
use crate::event::{Draft, EventType, Key, Receipt, StreamName};
use crate::http::error::{Code, Problem};
use crate::http::extract::body::read_body;
use crate::http::extract::idempotency_key::{IDEMPOTENCY_KEY, idempotency_key};
use crate::http::extract::identity::{quota_owner, require_caller};
use crate::http::extract::query;
use crate::http::ingest::{PublishSource, ingest};
use crate::http::openapi::errors::PublishErrors;
use crate::http::openapi::examples;
use crate::http::openapi::shapes::{Events, LogMessage, Receipt as ReceiptShape, Receipts};
use crate::http::outcome::{self, RequestOutcome};
use crate::http::state::AppState;
use crate::journal::now;
use crate::telemetry::{BoundHit, Protocol, PublishRefused};
use crate::wire::{self, Publish};
use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use rustc_hash::FxHashSet;
use std::time::Instant;

/// Stream of `POST /log-message`.
const LOGS: &str = "logs";

/// `POST /publish`
#[utoipa::path(post, path = "/publish", tag = "publish",
    summary = "Publish events",
    description = "Publishes one event, or a batch of up to 4,096 events as a whole or not at \
        all, and responds once they are as durable as `--durability` promises. Requires the grant \
        `publish` for every stream. For ten minutes a repeated event with the same key, data and \
        streams publishes nothing, and its receipt has the id of the first one. A full queue \
        refuses at once: retry after `Retry-After`.",
    request_body(
        description = "One event, an array of events, or `application/x-ndjson` with one event per \
                       line",
        content(
            (Events = "application/json", examples(
                ("event" = (summary = "One event", value = json!(examples::event()))),
                ("events" = (summary = "A batch", value = json!(examples::events()))),
            )),
            (String = "application/x-ndjson"),
        )
    ),
    params(("Idempotency-Key" = Option<String>, Header,
            description = "Idempotency key of a single event")),
    responses(
        (status = 200, description = "All events were published", body = Receipts, examples(
            ("event" = (summary = "One event", value = json!(examples::receipt()))),
            ("events" = (summary = "A batch", value = json!(examples::receipts()))),
            ("lines" = (summary = "`application/x-ndjson`",
                        value = json!(examples::receipt_summary()))),
        )),
        PublishErrors,
    )
)]
pub(crate) async fn publish(
    state: Data<AppState>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    count_refusal(&state, publish_body(&state, &request, body).await)
}

/// `POST /streams/{stream}/events?type=TYPE`
#[utoipa::path(post, path = "/streams/{stream}/events", tag = "publish",
    summary = "Publish a text event",
    description = "Publishes the body as one event; the first event creates the stream. Requires \
        the grant `publish` for the stream. `Content-Type` is ignored, so JSON stays text: use \
        `POST /publish` for JSON. With an idempotency key a repeated request publishes nothing \
        and returns the id of the first one.",
    params(
        ("stream" = String, Path, pattern = r"^[^\s*\x00-\x1f\x7f-\x9f]{1,255}$",
         description = "Stream to publish to"),
        ("type" = Option<String>, Query, description = "Type of the event, `message` by default"),
        ("Idempotency-Key" = Option<String>, Header, description = "Idempotency key of the event"),
    ),
    request_body(content = String, content_type = "text/plain",
                 description = "Data of the event, as text", example = json!("order 17 placed")),
    responses(
        (status = 200, description = "The event was published", body = ReceiptShape,
         example = examples::receipt),
        PublishErrors,
    )
)]
pub(crate) async fn publish_text(
    state: Data<AppState>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    count_refusal(&state, publish_one_text(&state, &request, body).await)
}

/// `POST /log-message {"level": …, "message": …}`: publishes an event on the stream `logs`, for
/// services that only log.
#[utoipa::path(post, path = "/log-message", tag = "publish",
    summary = "Publish a log message",
    description = "Publishes the body as an event of the type `log` on the stream `logs`, for \
        services that only log. Requires the grant `publish` for `logs`. Other members are kept, \
        and a missing `timestamp` is added. With an idempotency key a repeated request publishes \
        nothing.",
    params(("Idempotency-Key" = Option<String>, Header,
            description = "Idempotency key of the event")),
    request_body(content = LogMessage, example = examples::log_message),
    responses(
        (status = 200, description = "The event was published", body = ReceiptShape,
         example = examples::log_receipt),
        PublishErrors,
    )
)]
pub(crate) async fn log_message(
    state: Data<AppState>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    count_refusal(&state, publish_log(&state, &request, body).await)
}

async fn publish_log(
    state: &AppState,
    request: &HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    let caller = require_caller(state, request)?;
    let stream = StreamName::parse(LOGS)?;
    check_publish(&caller, &stream)?;
    let body = read_body(state, request, body).await?;
    let started = Instant::now();
    let draft = wire::read_log(&body, stream, state.settings.max_event_bytes, now())?;
    let draft = draft.with_key(idempotency_key(request)?);
    let receipts =
        ingest_for_request(state, request, &caller, vec![draft], body.len(), started).await?;
    Ok(publish_response(state, one_receipt(&receipts), &receipts))
}

async fn publish_body(
    state: &AppState,
    request: &HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    let caller = require_caller(state, request)?;
    if caller.grants.publish == Scope::default() {
        // Fails before the body is read.
        return Err(Problem::new(
            Code::Forbidden,
            "permission denied: you cannot publish to any stream",
        ));
    }
    let body = read_body(state, request, body).await?;
    let started = Instant::now();
    let key = idempotency_key(request)?;
    let max = state.settings.max_event_bytes;
    type WriteReceipts = fn(&[Receipt]) -> Vec<u8>;
    let (drafts, write) = if is_ndjson(request) {
        reject_key(key)?;
        (wire::read_ndjson(&body, max, now())?, wire::summary as WriteReceipts)
    } else {
        match wire::read_json(&body, max, now())? {
            Publish::One(draft) => {
                let draft = match key {
                    Some(key) => draft.with_key(Some(key)),
                    None => draft,
                };
                (vec![draft], one_receipt as WriteReceipts)
            }
            Publish::Batch(drafts) => {
                reject_key(key)?;
                (drafts, wire::receipts as WriteReceipts)
            }
        }
    };
    let receipts = ingest_for_request(state, request, &caller, drafts, body.len(), started).await?;
    Ok(publish_response(state, write(&receipts), &receipts))
}

async fn publish_one_text(
    state: &AppState,
    request: &HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    let caller = require_caller(state, request)?;
    let stream = query::stream_of(request).map_err(Problem::query)?;
    check_publish(&caller, &stream)?;
    let pairs = query::pairs(request.query_string()).map_err(Problem::query)?;
    let kind = query::single(&pairs, &["type"]).map_err(Problem::query)?;
    let kind = kind.map_or(Ok(EventType::default()), EventType::parse).map_err(Problem::query)?;
    let body = read_body(state, request, body).await?;
    let started = Instant::now();
    let text = std::str::from_utf8(&body).map_err(|e| {
        Problem::new(Code::Malformed, format!("not UTF-8 after byte {}", e.valid_up_to()))
    })?;
    let max = state.settings.max_event_bytes;
    if text.len() > max {
        let detail = format!("the data has {} bytes, more than the maximum of {max}", text.len());
        return Err(Problem::new(Code::PayloadTooLarge, detail).field("data"));
    }
    let draft =
        Draft::from_text(vec![stream], kind, text, now())?.with_key(idempotency_key(request)?);
    let receipts =
        ingest_for_request(state, request, &caller, vec![draft], body.len(), started).await?;
    Ok(publish_response(state, one_receipt(&receipts), &receipts))
}

async fn ingest_for_request(
    state: &AppState,
    request: &HttpRequest,
    caller: &Caller,
    drafts: Vec<Draft>,
    body_bytes: usize,
    started: Instant,
) -> Result<Vec<Receipt>, Problem> {
    for stream in drafts.iter().flat_map(Draft::streams) {
        check_publish(caller, stream)?;
    }
    let owner = quota_owner(state, request, caller);
    let protocol = Protocol::Native;
    ingest(state, PublishSource { owner: &owner, body_bytes, started, protocol }, drafts).await
}

/// Refuses a caller who may not publish to `stream`.
pub(crate) fn check_publish(caller: &Caller, stream: &StreamName) -> Result<(), Problem> {
    check_write(stream, "publish to", caller.grants.may_publish(stream))
}

/// Refuses a caller who may not end `stream`.
pub(crate) fn check_end(caller: &Caller, stream: &StreamName) -> Result<(), Problem> {
    check_write(stream, "end", caller.grants.may_end(stream))
}

fn check_write(stream: &StreamName, action: &str, is_granted: bool) -> Result<(), Problem> {
    let refuse = |why| Err(Problem::new(Code::Forbidden, why).field("stream"));
    if stream.is_written_by_hub() {
        return refuse(format!("permission denied: only the hub publishes to {stream:?}"));
    }
    if !is_granted {
        return refuse(format!("permission denied: you cannot {action} {stream:?}"));
    }
    Ok(())
}

fn one_receipt(receipts: &[Receipt]) -> Vec<u8> {
    receipts.first().map(wire::receipt).unwrap_or_default()
}

fn publish_response(state: &AppState, json: Vec<u8>, receipts: &[Receipt]) -> HttpResponse {
    let response =
        HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "application/json")).body(json);
    if !state.telemetry.would_log() {
        return response;
    }
    let streams: FxHashSet<_> = receipts.iter().flat_map(|receipt| &*receipt.streams).collect();
    let outcome = RequestOutcome::Published { events: receipts.len(), streams: streams.len() };
    outcome::with_outcome(response, outcome)
}

/// Counts a refusal by its reason.
pub(crate) fn count_refusal(
    state: &AppState,
    result: Result<HttpResponse, Problem>,
) -> Result<HttpResponse, Problem> {
    result.inspect_err(|problem| {
        let by_limit = problem.limit.and_then(PublishRefused::of_limit);
        let by_code = || match problem.code {
            Code::Unauthorized | Code::TokenExpired | Code::Forbidden => PublishRefused::Forbidden,
            Code::PayloadTooLarge => PublishRefused::TooLarge,
            Code::Conflict => PublishRefused::Conflict,
            Code::NotFound => PublishRefused::NotFound,
            Code::TooMany | Code::ResourceExhausted => match problem.bound {
                Some(BoundHit::RequestBodies) => PublishRefused::RequestBodies,
                _ => PublishRefused::QueueFull,
            },
            Code::DiskFull => PublishRefused::DiskFull,
            Code::JournalPoisoned => PublishRefused::Poisoned,
            Code::LogUnavailable => PublishRefused::LogUnavailable,
            Code::Unconfirmed => PublishRefused::Unconfirmed,
            Code::Draining => PublishRefused::Draining,
            Code::ClientDisconnected => PublishRefused::Client,
            Code::ConnectionTimeout => PublishRefused::Timeout,
            Code::ServerError | Code::Unresponsive => PublishRefused::Error,
            Code::Malformed
            | Code::Validation
            | Code::Misdirected
            | Code::MethodNotAllowed
            | Code::NotImplemented
            | Code::Gone => PublishRefused::Invalid,
        };
        state.telemetry.publish_refused(by_limit.unwrap_or_else(by_code));
    })
}

fn is_ndjson(request: &HttpRequest) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let kind = kind.map(|k| k.split(';').next().unwrap_or(k).trim().to_ascii_lowercase());
    matches!(
        kind.as_deref(),
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl")
    )
}

fn reject_key(key: Option<Key>) -> Result<(), Problem> {
    match key {
        None => Ok(()),
        Some(_) => Err(Problem::new(
            Code::Validation,
            "the header is for a single event; in a batch, set the `key` of each event",
        )
        .field(IDEMPOTENCY_KEY)),
    }
}
