//! Reads of a stream from an offset: the data that it has, and the response with it.

use super::offset::Offset;
use super::response::{STREAM_CURSOR, StreamResponse, content_type_of};
use crate::access::Caller;
use crate::event::{Body, Entry, Interest, Position, Selector, StreamName};
use crate::http::error::{Code, Problem};
use crate::http::extract::query;
use crate::http::history::read_history;
use crate::http::state::AppState;
use crate::journal::{History, JournalError, StreamState};
use crate::wire::{self, MessageForm};
use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes of data from which on a response is full.
const FULL_BYTES: usize = 1024 * 1024;

/// A read that is granted.
pub(super) struct Read {
    pub(super) name: StreamName,
    pub(super) caller: Arc<Caller>,
    /// State of the stream when the read began.
    pub(super) found: StreamState,
    /// Offset in the request; `None` without one.
    pub(super) offset: Option<Offset>,
    /// Cursor in the request.
    pub(super) cursor: Option<u64>,
}

/// Fails if a caller may not read a stream. Chats and updates have protocols of their own.
pub(super) fn check_readable(caller: &Caller, name: &StreamName) -> Result<(), Problem> {
    if caller.grants.may_read(name) && !name.is_reached_by_name_only() {
        return Ok(());
    }
    let why = format!("permission denied: you cannot read stream {name:?}");
    Err(Problem::new(Code::Forbidden, why).field("stream"))
}

impl Read {
    /// Returns the position after which the data begins.
    pub(super) fn position(&self, state: &AppState) -> Result<Position, Problem> {
        let position = match self.offset.unwrap_or(Offset::Start) {
            Offset::Start => return Ok(Position::ZERO),
            Offset::Now => return Ok(self.found.last),
            offset => offset.id().and_then(|id| state.history.resolve(id)),
        };
        let gone = |why: &str| Problem::new(Code::Gone, why).field("offset");
        let position = position.ok_or_else(|| {
            gone("the hub does not know the offset: its data was lost, or it is another hub's")
        })?;
        if position < self.found.removed_to {
            return Err(removed());
        }
        let source = self.found.record.as_ref().and_then(|record| record.source());
        let is_inherited = source.is_some_and(|source| position <= source.until);
        if position < self.found.created && !is_inherited {
            return Err(gone("the offset is one of an earlier stream of this name"));
        }
        Ok(position)
    }

    pub(super) fn form(&self) -> MessageForm {
        MessageForm::of(&content_type_of(&self.found))
    }

    pub(super) fn interest(&self) -> Result<Interest, Problem> {
        Interest::new(vec![Selector::Exact(self.name.clone())], None).map_err(Problem::query)
    }
}

fn removed() -> Problem {
    let why = "data after the offset was removed; begin with the offset -1";
    Problem::new(Code::Gone, why).field("offset")
}

/// Data of a stream after a position.
pub(super) struct Chunk {
    pub(super) body: Vec<u8>,
    pub(super) has_messages: bool,
    pub(super) next: Position,
    pub(super) is_up_to_date: bool,
    pub(super) is_closed: bool,
}

/// Reads the stored data of a stream after a position, or as much as fits into a response.
pub(super) async fn read_chunk(
    state: &Data<AppState>,
    read: &Read,
    after: Position,
) -> Result<Chunk, Problem> {
    let (interest, form) = (read.interest()?, read.form());
    let (last, is_ended) = (read.found.last, read.found.is_ended);
    let mut collected = Collected::new(form, after);
    if !collected.read_recent(&state.history, &interest, last) {
        let collect = move |history: &History| {
            let mut collected = Collected::new(form, after);
            collected.read(history, &interest, last).map(|()| collected)
        };
        collected = read_history(state, collect).await?;
    }
    // Retention may have removed data during the read, or while a long-poll waited.
    let now = state.history.stream_state(&read.name);
    if after > Position::ZERO && now.is_some_and(|now| after < now.removed_to) {
        return Err(removed());
    }
    let is_up_to_date = collected.after >= last;
    let next = if is_up_to_date { last.max(after) } else { collected.after };
    Ok(Chunk {
        has_messages: collected.has_messages,
        body: collected.finish(),
        next,
        is_up_to_date,
        is_closed: is_up_to_date && is_ended,
    })
}

struct Collected {
    form: MessageForm,
    body: Vec<u8>,
    has_messages: bool,
    after: Position,
}

impl Collected {
    fn new(form: MessageForm, after: Position) -> Self {
        Self { form, body: Vec::new(), has_messages: false, after }
    }

    /// Reads from memory up to `last`, or until it is full; returns false if memory does not have everything.
    fn read_recent(&mut self, history: &History, interest: &Interest, last: Position) -> bool {
        while self.after < last && !self.is_full() {
            let after = self.after;
            let mut visit = |entry: &Entry| self.add(entry);
            match history.read_recent(interest, after, last, &mut visit) {
                Some(through) => self.after = through,
                None => return false,
            }
        }
        true
    }

    fn read(
        &mut self,
        history: &History,
        interest: &Interest,
        last: Position,
    ) -> Result<(), JournalError> {
        while self.after < last && !self.is_full() {
            let after = self.after;
            self.after = history.read(interest, after, last, &mut |entry| self.add(entry))?;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.body.len() >= FULL_BYTES
    }

    fn add(&mut self, entry: &Entry) -> ControlFlow<()> {
        let Body::Event { payload, .. } = &entry.body else { return ControlFlow::Continue(()) };
        if self.form == MessageForm::Json {
            self.body.push(if self.has_messages { b',' } else { b'[' });
        }
        self.has_messages = true;
        self.body.extend_from_slice(&self.form.message(payload));
        if self.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.form == MessageForm::Json {
            if !self.has_messages {
                self.body.push(b'[');
            }
            self.body.push(b']');
        }
        self.body
    }
}

/// Returns the response with a chunk.
pub(super) fn respond(
    state: &AppState,
    request: &HttpRequest,
    read: &Read,
    chunk: Chunk,
    cursor: Option<u64>,
) -> HttpResponse {
    let is_now = read.offset == Some(Offset::Now);
    let etag = etag(state, request, &chunk);
    let is_known = !is_now && is_known(request, &etag);
    let status = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let mut response = StreamResponse::new(status)
        .content_type(&content_type_of(&read.found))
        .next_offset(state, chunk.next)
        .up_to_date(chunk.is_up_to_date)
        .closed(chunk.is_closed);
    response = if is_now {
        response.cache_control("no-store")
    } else {
        response.cache_control(cache_control(read)).header(header::ETAG.as_str(), &etag)
    };
    if let Some(cursor) = cursor {
        response = response.header(STREAM_CURSOR, &cursor.to_string());
    }
    if is_known { response.empty() } else { response.body(chunk.body) }
}

/// Returns how caches may store data: shared ones only what everybody may read.
fn cache_control(read: &Read) -> &'static str {
    if read.caller.is_anonymous() {
        "public, max-age=60, stale-while-revalidate=300"
    } else {
        "private, max-age=60, stale-while-revalidate=300"
    }
}

/// Returns the tag of a chunk: its offsets, and whether the stream is closed.
fn etag(state: &AppState, request: &HttpRequest, chunk: &Chunk) -> String {
    let pairs = query::pairs(request.query_string()).unwrap_or_default();
    let from = pairs.iter().find(|(name, _)| name == "offset").map_or("-1", |(_, value)| value);
    let next = wire::offset(state.history.id(chunk.next));
    let closed = if chunk.is_closed { ":closed" } else { "" };
    format!("\"{from}:{next}{closed}\"")
}

/// Returns true if a client has the response already (RFC 9110 §13.1.2).
fn is_known(request: &HttpRequest, etag: &str) -> bool {
    request.headers().get_all(header::IF_NONE_MATCH).any(|value| {
        let tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.into_iter().any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    })
}
