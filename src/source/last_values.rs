//! Reads what sources have published before, from which they continue after a restart.

use crate::event::{Entry, Interest, Position, Selector};
use crate::journal::{History, Start};
use crate::source::error::SourceError;
use std::ops::ControlFlow;

/// Calls `visit` with every entry of one of the hub's own streams, the oldest first.
pub(super) fn read_stream(
    history: &History,
    stream: &str,
    visit: &mut dyn FnMut(&Entry),
) -> Result<(), SourceError> {
    let own = Selector::parse(stream).and_then(|own| Interest::new(vec![own], None));
    let own = own?;
    let until = history.head();
    let from = history.start_position(&own, Start::Oldest)?;
    read(history, &own, from, until, visit)
}

/// Calls `visit` with every entry in `(after, until]` that `interest` selects.
pub(super) fn read(
    history: &History,
    interest: &Interest,
    mut after: Position,
    until: Position,
    visit: &mut dyn FnMut(&Entry),
) -> Result<(), SourceError> {
    while after < until {
        let mut each = |entry: &Entry| {
            visit(entry);
            ControlFlow::Continue(())
        };
        after = history.read(interest, after, until, &mut each)?;
    }
    Ok(())
}

/// Runs work that may wait for a disk on a blocking thread.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work).await?
}
