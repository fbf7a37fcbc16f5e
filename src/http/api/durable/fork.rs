//! Forks: streams that begin with the data of another.

use super::chunk::check_readable;
use super::headers::{FORK_OFFSET, FORK_SUB_OFFSET, FORKED_FROM, malformed, number, text};
use super::offset::Offset;
use super::response::content_type_of;
use super::{root, stream_at};
use crate::access::Caller;
use crate::event::durable::ForkSource;
use crate::event::{Body, Draft, Interest, Payload, Position, Selector, StreamName};
use crate::http::error::{Code, Problem};
use crate::http::history::read_history;
use crate::http::state::AppState;
use crate::journal::{History, JournalError, MAX_FORK_DEPTH, StreamState};
use actix_web::HttpRequest;
use actix_web::web::Data;
use std::ops::ControlFlow;

/// Maximum number of reads of history, of thousands of messages each, that look for a sub-offset.
const MAX_READS: usize = 16;

/// Fork that a request asks for.
pub(super) struct RequestedFork {
    source: StreamName,
    /// Offset in the source; that of its end without one.
    offset: Option<Offset>,
    /// Messages, or bytes, after the offset.
    sub_offset: u64,
}

/// Place at which a source is cut.
pub(super) struct Cut {
    pub(super) source: ForkSource,
    /// Part of the message after it.
    pub(super) drafts: Vec<Draft>,
}

/// Returns the fork that a request asks for, if it asks for one.
pub(super) fn requested(
    state: &AppState,
    request: &HttpRequest,
) -> Result<Option<RequestedFork>, Problem> {
    let (offset, sub_offset) = (text(request, FORK_OFFSET)?, text(request, FORK_SUB_OFFSET)?);
    let Some(source) = text(request, FORKED_FROM)? else {
        return match offset.or(sub_offset) {
            None => Ok(None),
            Some(_) => Err(malformed(FORKED_FROM, format!("a fork needs {FORKED_FROM}"))),
        };
    };
    let source = stream_at(root(state), source).map_err(|problem| problem.field(FORKED_FROM))?;
    let offset = offset.map(|text| Offset::parse(FORK_OFFSET, text)).transpose()?;
    let sub_offset = sub_offset.map(|text| number(FORK_SUB_OFFSET, text)).transpose()?;
    Ok(Some(RequestedFork { source, offset, sub_offset: sub_offset.unwrap_or(0) }))
}

impl RequestedFork {
    /// Returns true if an existing fork has this source and was cut there.
    pub(super) fn matches(&self, source: &ForkSource) -> bool {
        let (position, sub_offset) = source.requested;
        let is_same_offset = match self.offset {
            None | Some(Offset::Now) => true,
            Some(Offset::Start) => position == Position::ZERO,
            Some(Offset::After { position: requested, .. }) => requested == position,
        };
        self.source == source.stream && is_same_offset && self.sub_offset == sub_offset
    }

    /// Returns the source and the place at which it is cut.
    pub(super) async fn resolve(
        &self,
        state: &Data<AppState>,
        caller: &Caller,
        fork: &StreamName,
    ) -> Result<(StreamState, Cut), Problem> {
        check_readable(caller, &self.source)?;
        let source = super::found(state, &self.source).await;
        let found = source.map_err(|problem| match problem.code {
            Code::Gone => Problem::new(Code::Conflict, problem.detail),
            _ => problem,
        })?;
        let offset = self.position(state, &found)?;
        if state.history.depth(&self.source) >= MAX_FORK_DEPTH {
            let why = format!("a stream consists of at most {MAX_FORK_DEPTH} forks");
            return Err(malformed(FORKED_FROM, why));
        }
        let (created, stream) = (found.created, self.source.clone());
        let (mut until, mut rest) = (offset, Vec::new());
        if self.sub_offset > 0 {
            let (is_json, sub_offset, last) =
                (content_type_of(&found).is_json(), self.sub_offset, found.last);
            let read = move |history: &History| {
                advance(history, stream, offset..last, sub_offset, is_json)
            };
            let beyond = || {
                malformed(
                    FORK_SUB_OFFSET,
                    "the sub-offset is beyond the end of the source, or too far from the offset",
                )
            };
            (until, rest) = read_history(state, read).await?.ok_or_else(beyond)?;
        }
        let is_text = content_type_of(&found).is_text();
        let piece = (!rest.is_empty()).then(|| Payload::bytes(rest.into(), is_text));
        let drafts = piece.map(|piece| Draft::message(fork.clone(), piece)).into_iter().collect();
        let requested = (offset, self.sub_offset);
        let source = ForkSource { stream: self.source.clone(), created, until, requested };
        Ok((found, Cut { source, drafts }))
    }

    /// Returns the position of the offset in the source.
    fn position(&self, state: &AppState, found: &StreamState) -> Result<Position, Problem> {
        let position = match self.offset {
            None | Some(Offset::Now) => return Ok(found.last),
            Some(Offset::Start) => return Ok(Position::ZERO),
            Some(offset) => offset.id().and_then(|id| state.history.resolve(id)),
        };
        let position = position.filter(|position| *position <= found.last);
        let position = position
            .ok_or_else(|| malformed(FORK_OFFSET, "the offset is not one of the source"))?;
        if position < found.removed_to {
            return Err(Problem::new(Code::Gone, "data before the offset was removed"));
        }
        Ok(position)
    }
}

/// Moves an offset by messages, or by bytes: returns the last whole message, and the begin of the next one up to
/// which it was moved; `None` if that is beyond the end.
fn advance(
    history: &History,
    stream: StreamName,
    std::ops::Range { start: mut after, end: last }: std::ops::Range<Position>,
    mut remaining: u64,
    is_json: bool,
) -> Result<Option<(Position, Vec<u8>)>, JournalError> {
    let Ok(interest) = Interest::new(vec![Selector::Exact(stream)], None) else { return Ok(None) };
    let (mut until, mut part) = (after, Vec::new());
    for _ in 0..MAX_READS {
        if remaining == 0 || after >= last {
            break;
        }
        after = history.read(&interest, after, last, &mut |entry| {
            let Body::Event { payload, .. } = &entry.body else { return ControlFlow::Continue(()) };
            let data = payload.as_bytes();
            let size = if is_json { 1 } else { data.len() as u64 };
            if size > remaining {
                part = data[..remaining as usize].to_vec();
                remaining = 0;
                return ControlFlow::Break(());
            }
            (until, remaining) = (entry.position, remaining - size);
            if remaining == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    Ok((remaining == 0).then_some((until, part)))
}
