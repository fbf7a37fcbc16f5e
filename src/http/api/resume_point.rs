//! Start position of a session, and the result of its resume.

use crate::event::{EventId, Interest, Position, StreamName};
use crate::http::error::Problem;
use crate::http::history::read_history;
use crate::http::state::AppState;
use crate::journal::{History, JournalError, Start};
use crate::wire::{Gap, Resume};
use actix_web::web::Data;
use std::sync::Arc;

/// Start position of a session, and the result of its resume.
pub(crate) struct ResumePoint {
    pub(crate) cursor: Position,
    pub(crate) resume: Resume,
    pub(crate) gap: Option<Gap>,
    pub(crate) seen_removals: u64,
    pub(crate) ended: Vec<StreamName>,
}

/// Returns true if every selected stream has ended and the client has all of its events.
pub(crate) async fn is_finished(
    state: &Data<AppState>,
    interest: &Arc<Interest>,
    requested: Option<&str>,
    start: Start,
) -> Result<bool, Problem> {
    let position = requested.and_then(|text| state.history.resolve(EventId::parse(text).ok()?));
    if !state.history.may_be_finished(interest, position.is_some()) {
        return Ok(false);
    }
    let (interest, unknown) = (interest.clone(), requested.is_some() && position.is_none());
    read_history(state, move |history| {
        let cursor = match position {
            Some(position) => position,
            None if unknown => Position::ZERO,
            None => history.start_position(&interest, start)?,
        };
        history.is_finished(&interest, cursor, position.is_some())
    })
    .await
}

/// Finds the start position of a session. Does no I/O for a live start, or for a resume after which
/// nothing was removed.
pub(crate) async fn find_resume_point(
    state: &Data<AppState>,
    interest: Arc<Interest>,
    requested: Option<String>,
    start: Start,
    through: Position,
) -> Result<ResumePoint, Problem> {
    let history = &state.history;
    let seen_removals = history.removals();
    let resume_point = move |cursor, resume| ResumePoint {
        cursor,
        resume,
        gap: None,
        seen_removals,
        ended: Vec::new(),
    };
    let Some(requested) = requested else {
        let cursor = match start {
            Start::Now => through,
            start => {
                read_history(state, move |history| history.start_position(&interest, start)).await?
            }
        };
        return Ok(resume_point(cursor, Resume::Live));
    };
    let known = EventId::parse(&requested).ok().and_then(|id| history.resolve(id));
    let all_there = || {
        let names = interest.exact_streams().unwrap_or_default();
        names.iter().all(|name| history.has_history(name))
    };
    if let Some(cursor) = known.filter(|known| !history.removed_after(*known) && all_there()) {
        return Ok(resume_point(cursor, Resume::Resumed));
    }
    read_history(state, move |history| match known {
        Some(cursor) => resume(history, &interest, cursor),
        None => {
            let first = history.first(&interest, Position::ZERO, through)?;
            Ok(resume_point(first.before(), Resume::Reset))
        }
    })
    .await
}

/// Maximum number of attempts to count missing events while more are removed. After that the number
/// is reported as unknown.
const MAX_COUNT_ATTEMPTS: usize = 4;

/// Resumes after a known position; the result is a gap if events after it were removed.
fn resume(
    history: &History,
    interest: &Interest,
    cursor: Position,
) -> Result<ResumePoint, JournalError> {
    let ended = history.deleted_by(interest, cursor)?;
    let mut attempts = 0;
    loop {
        let seen_removals = history.removals();
        let Some(mut gap) = history.gap(interest, cursor, 0)? else {
            return Ok(ResumePoint {
                cursor,
                resume: Resume::Resumed,
                gap: None,
                seen_removals,
                ended,
            });
        };
        let first = history.first(interest, cursor, history.head())?;
        gap.first = first.found().map(|first| history.id(first));
        attempts += 1;
        let is_exact = history.removals() == seen_removals;
        if is_exact || attempts == MAX_COUNT_ATTEMPTS {
            gap.missed = gap.missed.filter(|_| is_exact);
            let cursor = first.before();
            return Ok(ResumePoint {
                cursor,
                resume: Resume::Gap,
                gap: Some(gap),
                seen_removals,
                ended,
            });
        }
    }
}
