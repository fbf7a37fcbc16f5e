//! `GET /streams`, and reading, ending and deleting one stream.

use crate::access::{Caller, Scope};
use crate::event::{Invalid, Receipt, StreamName};
use crate::http::api::publish::{check_end, count_refusal};
use crate::http::error::{Code, Problem};
use crate::http::extract::identity::{quota_owner, require_caller};
use crate::http::extract::query;
use crate::http::history::read_history;
use crate::http::ingest::{charge_rates, refuse_in_drain};
use crate::http::openapi::errors::{
    DeleteStreamErrors, EndErrors, ListStreamsErrors, StreamErrors,
};
use crate::http::openapi::examples;
use crate::http::openapi::shapes::EndReceipt;
use crate::http::state::AppState;
use crate::hub::{CountSubscribers, FindNames};
use crate::journal::{History, Item, JournalError, StreamView};
use crate::wire;
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

/// Default and maximum number of streams in one response.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;
/// Size of an end or a deletion in the publish queue, in bytes.
const ITEM_BYTES: usize = 128;

/// A page of streams.
#[derive(Serialize, ToSchema)]
#[schema(as = StreamList)]
pub(crate) struct List {
    streams: Vec<Stream>,
    /// Value of `after` for the next page, if there may be one.
    next: Option<String>,
}

/// A stream.
#[derive(Serialize, ToSchema)]
pub(crate) struct Stream {
    name: String,
    /// `open` or `ended`.
    state: &'static str,
    subscribers: u32,
    /// Number of events ever published, including those that are no longer stored.
    published: u64,
    /// Number of stored events.
    events: u64,
    bytes: u64,
    first_id: Option<String>,
    last_id: Option<String>,
    last_time: Option<String>,
}

/// `GET /streams?prefix=&limit=&after=`
#[utoipa::path(get, path = "/streams", tag = "streams",
    summary = "List streams",
    description = "Lists the streams with history and those that a subscriber names, sorted by \
        name. Returns only streams that the grant `subscribe` covers. `next` is the value of \
        `after` for the next page; a page can have fewer streams than `limit` and still have a \
        `next`.",
    params(
        ("prefix" = Option<String>, Query, description = "Prefix of the names"),
        ("after" = Option<String>, Query,
         description = "Name to continue after: `next` of the previous page"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000,
         description = "Maximum number of streams in the response, 100 by default"),
    ),
    responses(
        (status = 200, description = "A page of streams", body = List,
         example = examples::stream_list),
        ListStreamsErrors,
    )
)]
pub(crate) async fn list(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = require_caller(&state, &request)?;
    let pairs = query::pairs(request.query_string()).map_err(Problem::query)?;
    let value = |name| query::single(&pairs, &[name]).map_err(Problem::query);
    let prefix = value("prefix")?.unwrap_or_default().to_owned();
    let after = value("after")?.map(str::to_owned);
    let limit = value("limit")?.map_or(Ok(DEFAULT_LIMIT), |text| match text.parse() {
        Ok(limit @ 1..=MAX_LIMIT) => Ok(limit),
        _ => Err(Problem::query(Invalid::new("limit", format!("must be 1 to {MAX_LIMIT}")))),
    })?;
    let reads_nothing = caller.grants.subscribe == Scope::default();
    let (subscribed_names, end) = if reads_nothing {
        (Vec::new(), None)
    } else {
        find_names(&state, &caller, &prefix, after.clone(), limit + 1).await?
    };
    let (mut found, end) = read_history(&state, move |history| {
        if reads_nothing {
            return Ok::<_, JournalError>((Vec::new(), None));
        }
        let may_read = |name: &StreamName| caller.grants.may_read(name);
        let listed = history.list(&prefix, after.as_deref(), limit + 1, may_read)?;
        let listed_all = listed.streams.into_iter().map(|(name, view)| (name, Some(view)));
        let mut found: Vec<(StreamName, Option<StreamView>)> = listed_all.collect();
        for name in subscribed_names {
            if history.stream(&name)?.is_none() {
                found.push((name, None));
            }
        }
        // Either listing may be incomplete after the name where it stopped.
        let end = [end, listed.stopped_at].into_iter().flatten().min();
        found.retain(|(name, _)| end.as_ref().is_none_or(|end| name <= end));
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok((found, end))
    })
    .await?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| has_more).map(|(name, _)| name.to_string());
    let next = last.or(end.map(|end| end.to_string()));
    let names = found.iter().map(|(name, _)| name.clone()).collect();
    let counts = state.ask(CountSubscribers(names)).await?;
    let streams = found
        .into_iter()
        .zip(counts)
        .map(|((name, view), readers)| describe(&state.history, &name, view, readers.subscribers))
        .collect();
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(List { streams, next }))
}

/// Maximum number of names in one question, so that the manager is not blocked, and of questions.
const NAMES_PER_QUERY: usize = 1_000;
const MAX_QUERIES: usize = 20;

/// Returns stream names that readers name and `caller` may read: at least `limit` if there are that
/// many. The second value is the last examined name, if there may be more after it.
async fn find_names(
    state: &AppState,
    caller: &Caller,
    prefix: &str,
    mut after: Option<String>,
    limit: usize,
) -> Result<(Vec<StreamName>, Option<StreamName>), Problem> {
    let mut found = Vec::new();
    for _ in 0..MAX_QUERIES {
        let message = FindNames { prefix: prefix.to_owned(), after, limit: NAMES_PER_QUERY };
        let names = state.ask(message).await?;
        let last = names.last().filter(|_| names.len() == NAMES_PER_QUERY).cloned();
        found.extend(names.into_iter().filter(|name| caller.grants.may_read(name)));
        let Some(last) = last else { return Ok((found, None)) };
        if found.len() >= limit {
            return Ok((found, Some(last)));
        }
        after = Some(last.to_string());
    }
    Ok((found, after.and_then(|after| StreamName::parse(&after).ok())))
}

/// `GET /streams/{stream}`
#[utoipa::path(get, path = "/streams/{stream}", tag = "streams",
    summary = "Describe a stream",
    description = "Returns the state of a stream, its numbers of events and subscribers, and its \
        first and last id. Requires the grant `subscribe` for the stream. A stream without \
        history exists while a subscriber names it.",
    params(("stream" = String, Path, pattern = r"^[^\s*\x00-\x1f\x7f-\x9f]{1,255}$",
            description = "Name of the stream")),
    responses(
        (status = 200, description = "The stream", body = Stream, example = examples::stream),
        StreamErrors,
    )
)]
pub(crate) async fn get(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = require_caller(&state, &request)?;
    let name = query::stream_of(&request).map_err(Problem::query)?;
    if !caller.grants.may_read(&name) {
        let detail = format!("permission denied: you cannot read stream {name:?}");
        return Err(Problem::new(Code::Forbidden, detail).field("stream"));
    }
    let requested = name.clone();
    let view = read_history(&state, move |history| history.stream(&requested)).await?;
    let readers = state.ask(CountSubscribers(vec![name.clone()])).await?.first().copied();
    let subscribers = readers.map_or(0, |readers| readers.subscribers);
    if view.is_none() && !readers.is_some_and(|readers| readers.named) {
        let detail =
            format!("unknown stream {name:?}: it has no history, and no subscriber names it");
        return Err(Problem::new(Code::NotFound, detail));
    }
    let described = describe(&state.history, &name, view, subscribers);
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(described))
}

/// `POST /streams/{stream}/end`
#[utoipa::path(post, path = "/streams/{stream}/end", tag = "streams",
    summary = "End a stream",
    description = "Ends a stream: it accepts no more events, its subscribers get `hub-end`, and \
        its history stays readable. Requires the grant `end` for the stream. A second end returns \
        the id of the first, and an end of an unknown stream creates it as ended. Counts as one \
        event for the publish rates.",
    params(("stream" = String, Path, pattern = r"^[^\s*\x00-\x1f\x7f-\x9f]{1,255}$",
            description = "Name of the stream")),
    responses(
        (status = 200, description = "The stream has ended", body = EndReceipt,
         example = examples::end_receipt),
        EndErrors,
    )
)]
pub(crate) async fn end(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    count_refusal(&state, end_stream(&state, &request).await)
}

/// `DELETE /streams/{stream}`
#[utoipa::path(delete, path = "/streams/{stream}", tag = "streams",
    summary = "Delete a stream",
    description = "Deletes a stream with its history and its idempotency keys; its subscribers \
        get `hub-end` with the reason `deleted`. Requires the grant `delete` for the stream, or `admin`. Events that also \
        belong to other streams stay there, and the name can be used again.",
    params(("stream" = String, Path, pattern = r"^[^\s*\x00-\x1f\x7f-\x9f]{1,255}$",
            description = "Name of the stream")),
    responses(
        (status = 204, description = "The stream was deleted"),
        DeleteStreamErrors,
    )
)]
pub(crate) async fn delete(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    count_refusal(&state, delete_stream(&state, &request).await)
}

async fn end_stream(state: &AppState, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let caller = require_caller(state, request)?;
    let name = query::stream_of(request).map_err(Problem::query)?;
    check_end(&caller, &name)?;
    refuse_in_drain(state)?;
    // Every reader gets the end as an event, so it is metered as one.
    let owner = quota_owner(state, request, &caller);
    charge_rates(state, &owner, std::iter::once((std::slice::from_ref(&name), 0)))?;
    let receipt = ingest_item(state, Item::End(name.clone())).await?;
    let json = wire::end_receipt(receipt.id, name.as_str(), receipt.subscribers);
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "application/json")).body(json))
}

async fn delete_stream(state: &AppState, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let caller = require_caller(state, request)?;
    let name = query::stream_of(request).map_err(Problem::query)?;
    check_delete(&caller, &name)?;
    // A stream that only has readers has nothing to delete, but they must be notified.
    let readers = state.ask(CountSubscribers(vec![name.clone()])).await?;
    let has_readers = readers.iter().any(|readers| readers.named);
    ingest_item(state, Item::Delete { stream: name, has_readers }).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Refuses a caller who may not delete `stream`.
pub(crate) fn check_delete(caller: &Caller, stream: &StreamName) -> Result<(), Problem> {
    let is_own = stream.is_written_by_hub();
    if caller.grants.may_delete(stream) && (caller.grants.admin || !is_own) {
        return Ok(());
    }
    let why = format!("permission denied: you cannot delete {stream:?}");
    Err(Problem::new(Code::Forbidden, why).field("stream"))
}

/// Publishes an item; the caller has checked the grants.
pub(crate) async fn ingest_item(state: &AppState, item: Item) -> Result<Receipt, Problem> {
    refuse_in_drain(state)?;
    let receipts = state.publisher.publish(vec![item], ITEM_BYTES).await?;
    let missing = || Problem::new(Code::ServerError, "the journal returned no receipt");
    receipts.into_iter().next().ok_or_else(missing)
}

fn describe(
    history: &History,
    name: &StreamName,
    view: Option<StreamView>,
    subscribers: u32,
) -> Stream {
    let ended = view.is_some_and(|view| view.ended);
    Stream {
        name: name.to_string(),
        state: if ended { "ended" } else { "open" },
        subscribers,
        published: view.map_or(0, |view| view.published),
        events: view.map_or(0, |view| view.events),
        bytes: view.map_or(0, |view| view.bytes),
        first_id: view.and_then(|view| view.first).map(|first| history.id(first).to_string()),
        last_id: view.map(|view| history.id(view.last).to_string()),
        last_time: view.map(|view| view.last_time.to_string()),
    }
}
