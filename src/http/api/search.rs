//! `GET /search` and `GET /streams/{stream}/search`: stored events that match a filter.
//!
//! Promises: a search examines a bounded number of events, ends when its client disconnects, and
//! runs on a thread of low priority, so that it delays neither subscribers nor publishes.

use crate::access::Caller;
use crate::event::{
    Body, Entry, EventId, Filter, Interest, Invalid, Position, StreamName, Timestamp,
};
use crate::http::api::subscribe::{check_selectors, narrow_to_grants};
use crate::http::error::{Code, Problem};
use crate::http::extract::identity::require_caller;
use crate::http::extract::query;
use crate::http::history::read_history;
use crate::http::openapi::errors::SearchErrors;
use crate::http::openapi::examples;
use crate::http::resource::Routes;
use crate::http::state::AppState;
use crate::journal::{History, JournalError, Start, now};
use crate::platform;
use crate::telemetry::{RequestRefused, SearchOutcome, Telemetry};
use crate::wire::{self, Format, View};
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, Route, web};
use bytes::Bytes;
use serde::Serialize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use utoipa::IntoParams;

/// Maximum number of events that one search examines.
const MAX_EXAMINED: u64 = 2_000_000;
/// Maximum number of reads of the journal; each examines at most 8,192 entries, of which not all may
/// be of the searched streams.
const MAX_READS: u64 = 1_000;
/// Default and maximum number of matches of one search.
const DEFAULT_MATCHES: u64 = 1_000;
const MAX_MATCHES: u64 = 10_000;
/// Interval of progress lines.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Size of a part of the response, and maximum number of parts that wait for the client.
const PART_BYTES: usize = 64 * 1024;
const MAX_WAITING_PARTS: usize = 2;
/// Niceness of a search: the operating system prefers the threads of the hub.
const NICENESS: i32 = 15;

/// Paths of searches.
pub(crate) const ROUTES: Routes = &[("/search", &["GET"]), ("/streams/{stream}/search", &["GET"])];

/// Returns the handler of a path of [`ROUTES`].
pub(crate) fn handler(path: &str, method: &str) -> Option<Route> {
    match (method, path) {
        ("GET", "/search") => Some(web::get().to(search)),
        ("GET", "/streams/{stream}/search") => Some(web::get().to(search_stream)),
        _ => None,
    }
}

/// Query of a search.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `read_request` reads")]
pub(crate) struct SearchParameters {
    /// Terms that must all match: a word, `"a text"`, `/a pattern/` or `/a pattern/i`, `name=value`
    /// with `!=`, `<`, `<=`, `>` or `>=`, `type=…`, `stream=…`; `-` before a term negates it. Without it, all events match.
    #[param(nullable = false)]
    q: Option<String>,
    /// Start: a time, a date, or a duration before now; by default the oldest event.
    #[param(nullable = false)]
    from: Option<String>,
    /// Id of the event to continue after.
    #[param(nullable = false)]
    last_event_id: Option<String>,
    /// Types of events, separated by commas.
    #[param(nullable = false)]
    types: Option<String>,
    /// Maximum number of matches, 1,000 by default.
    #[param(minimum = 1, maximum = 10000, nullable = false)]
    limit: Option<u64>,
}

/// `GET /search?stream=SELECTOR&q=FILTER`
#[utoipa::path(get, path = "/search", tag = "subscribe",
    summary = "Search events",
    description = "Sends the stored events of the selected streams that match a filter, oldest \
        first, as a line of JSON each, with lines of progress between them and `hub-done` at the \
        end. Requires the grant `subscribe`; what is not granted is not searched. Examines at most \
        2,000,000 events; if `complete` is false, continue with `last_event_id` set to `next`, the \
        id up to which was searched. A disconnect ends the search.",
    params(
        ("stream" = Vec<String>, Query, description = "Streams, or patterns of their names"),
        SearchParameters,
    ),
    responses(
        (status = 200, description = "Matches, progress and the end", body = String,
         content_type = "application/x-ndjson", example = examples::search),
        SearchErrors,
    )
)]
pub(crate) async fn search(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    start(&state, &request, None).await
}

/// `GET /streams/{stream}/search?q=FILTER`
#[utoipa::path(get, path = "/streams/{stream}/search", tag = "subscribe",
    summary = "Search a stream",
    description = "Searches one stream, like `GET /search`.",
    params(
        ("stream" = String, Path, pattern = r"^[^\s*\x00-\x1f\x7f-\x9f]{1,255}$", description = "The stream"),
        SearchParameters,
    ),
    responses(
        (status = 200, description = "Matches, progress and the end", body = String,
         content_type = "application/x-ndjson", example = examples::search),
        SearchErrors,
    )
)]
pub(crate) async fn search_stream(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let stream = query::stream_of(&request).map_err(Problem::query)?;
    start(&state, &request, Some(stream)).await
}

/// A search as requested.
struct SearchRequest {
    interest: Interest,
    filter: Filter,
    after: Position,
    max_matches: u64,
}

async fn start(
    state: &Data<AppState>,
    request: &HttpRequest,
    stream: Option<StreamName>,
) -> Result<HttpResponse, Problem> {
    let caller = require_caller(state, request)?;
    let search_request = read_request(state, request, &caller, stream).await?;
    let permit = state
        .searches
        .begin()
        .inspect_err(|_| state.telemetry.request_refused(RequestRefused::Searches))?;
    let (sender, receiver) = mpsc::channel(MAX_WAITING_PARTS);
    let output = Output {
        sender,
        runtime: Handle::current(),
        timeout: state.settings.write_timeout,
        buffer: Vec::new(),
    };
    let search = Search {
        history: state.history.clone(),
        telemetry: state.telemetry.clone(),
        request: search_request,
        output,
        reads: 0,
        examined: 0,
        matched: 0,
        last_time: None,
    };
    // A thread of its own, because the niceness of a thread stays.
    let spawned = std::thread::Builder::new().name("search".into()).spawn(move || {
        platform::lower_thread_priority(NICENESS);
        search.run(permit);
    });
    spawned.map_err(|error| {
        Problem::new(Code::ServerError, format!("cannot start a thread for the search: {error}"))
    })?;
    let body = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|part: Result<Bytes, std::io::Error>| (part, receiver))
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-cache, no-transform"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header(("X-Accel-Buffering", "no"))
        .content_type(Format::Ndjson.content_type())
        .streaming(body))
}

/// Reads the query of a search, narrowed to the caller's grants.
async fn read_request(
    state: &Data<AppState>,
    request: &HttpRequest,
    caller: &Caller,
    stream: Option<StreamName>,
) -> Result<SearchRequest, Problem> {
    let pairs = query::pairs(request.query_string()).map_err(Problem::query)?;
    let value = |name: &'static str| query::single(&pairs, &[name]).map_err(Problem::query);
    let interest = query::interest(&pairs, stream).map_err(Problem::query)?;
    let filter = Filter::parse(value("q")?.unwrap_or_default()).map_err(Problem::query)?;
    let max_matches = value("limit")?.map_or(Ok(DEFAULT_MATCHES), parse_limit);
    let max_matches = max_matches.map_err(Problem::query)?;
    let from = value("from")?.map_or(Ok(Start::Oldest), |text| query::start(text, now()));
    let from = from.map_err(Problem::query)?;
    check_selectors(state, &interest)?;
    let interest = narrow_to_grants(state, caller, interest)?;
    let after = match query::last_event_id(&pairs).map_err(Problem::query)? {
        Some(id) => EventId::parse(id)
            .ok()
            .and_then(|id| state.history.resolve(id))
            .ok_or_else(|| Problem::query(Invalid::new("last_event_id", UNKNOWN_ID)))?,
        None => {
            let searched = interest.clone();
            read_history(state, move |history| history.start_position(&searched, from)).await?
        }
    };
    Ok(SearchRequest { interest, filter, after, max_matches })
}

/// Detail of the problem for an id of another journal.
const UNKNOWN_ID: &str = "is not an id of this hub";

fn parse_limit(text: &str) -> Result<u64, Invalid> {
    match text.parse() {
        Ok(count) if (1..=MAX_MATCHES).contains(&count) => Ok(count),
        _ => Err(Invalid::new("limit", format!("must be a number between 1 and {MAX_MATCHES}"))),
    }
}

/// A running search.
struct Search {
    history: Arc<History>,
    telemetry: Telemetry,
    request: SearchRequest,
    output: Output,
    reads: u64,
    examined: u64,
    matched: u64,
    /// Time of the last examined event.
    last_time: Option<Timestamp>,
}

/// Data of a line of progress, and of the last line.
#[derive(Serialize)]
struct Progress {
    scanned: u64,
    matched: u64,
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Search {
    /// Runs the search; `_permit` is held until it ends.
    fn run(mut self, _permit: OwnedSemaphorePermit) {
        let outcome = match self.scan() {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::error!(%error, "failed to search the journal");
                self.output.fail(&error);
                SearchOutcome::Error
            }
        };
        self.telemetry.search_ended(outcome, self.examined);
    }

    fn scan(&mut self) -> Result<SearchOutcome, JournalError> {
        let (history, until) = (self.history.clone(), self.history.head());
        let interest = self.request.interest.clone();
        let mut after = self.request.after;
        let mut reported_at = Instant::now();
        while after < until && self.has_budget() && self.reads < MAX_READS {
            self.reads += 1;
            after = history.read(&interest, after, until, &mut |entry| self.examine(entry))?;
            if reported_at.elapsed() >= PROGRESS_INTERVAL {
                reported_at = Instant::now();
                let progress = self.progress(None, None);
                self.output.line("hub-progress", &progress);
                self.output.flush();
            }
            if self.output.is_closed() {
                return Ok(SearchOutcome::Cancelled);
            }
        }
        let is_complete = after >= until;
        let progress = self.progress(Some(is_complete), Some(history.id(after).to_string()));
        self.output.line("hub-done", &progress);
        self.output.flush();
        Ok(if is_complete { SearchOutcome::Complete } else { SearchOutcome::Bounded })
    }

    fn has_budget(&self) -> bool {
        self.examined < MAX_EXAMINED && self.matched < self.request.max_matches
    }

    fn examine(&mut self, entry: &Entry) -> ControlFlow<()> {
        let Body::Event { kind, payload } = &entry.body else { return ControlFlow::Continue(()) };
        let SearchRequest { interest, filter, .. } = &self.request;
        self.examined += 1;
        self.last_time = Some(entry.time);
        let streams: Vec<&StreamName> =
            entry.streams.iter().filter(|name| interest.selects(name)).collect();
        if filter.matches(&streams, kind, payload) {
            self.matched += 1;
            let view = View { format: Format::Ndjson, ..View::default() };
            let id = self.history.id(entry.position);
            wire::entry(&mut self.output.buffer, id, entry, &view, Some(interest));
            if self.output.buffer.len() >= PART_BYTES {
                self.output.flush();
            }
        }
        if self.has_budget() && !self.output.is_closed() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    fn progress(&self, complete: Option<bool>, next: Option<String>) -> Progress {
        let time = self.last_time.map(|time| time.to_string());
        Progress { scanned: self.examined, matched: self.matched, time, complete, next }
    }
}

/// Output of a search, which is closed if its client disconnects or takes nothing for the write
/// timeout.
struct Output {
    sender: mpsc::Sender<Result<Bytes, std::io::Error>>,
    runtime: Handle,
    timeout: Duration,
    buffer: Vec<u8>,
}

impl Output {
    fn line(&mut self, kind: &'static str, data: &Progress) {
        #[derive(Serialize)]
        struct Line<'a> {
            r#type: &'a str,
            data: &'a Progress,
        }
        if serde_json::to_writer(&mut self.buffer, &Line { r#type: kind, data }).is_ok() {
            self.buffer.push(b'\n');
        }
    }

    fn flush(&mut self) {
        if !self.buffer.is_empty() {
            let part = std::mem::take(&mut self.buffer);
            self.send(Ok(part.into()));
        }
    }

    /// Breaks the response off, so that its client knows that it is incomplete.
    fn fail(&mut self, error: &JournalError) {
        self.send(Err(std::io::Error::other(error.to_string())));
    }

    fn send(&mut self, part: Result<Bytes, std::io::Error>) {
        let sender = self.sender.clone();
        let (timeout, sent) = (self.timeout, async move { sender.send(part).await });
        let sent = self.runtime.block_on(async move { tokio::time::timeout(timeout, sent).await });
        if sent.is_err() {
            // A closed channel ends the search and the response.
            self.sender = mpsc::channel(1).0;
        }
    }

    fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}
