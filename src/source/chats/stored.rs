//! Events of a chat, read from the journal.

use super::super::last_values::read_stream;
use crate::event::{Body, Entry, Position, StreamName};
use crate::journal::History;
use crate::source::error::SourceError;
use crate::wire::chat::{ChatEvent, Transcript};

/// Returns the chat event in an entry, if there is one.
pub(super) fn event_of(entry: &Entry) -> Option<ChatEvent> {
    match &entry.body {
        Body::Event { payload, .. } => serde_json::from_slice(payload.as_bytes()).ok(),
        Body::Created | Body::End(_) => None,
    }
}

/// Reads a chat up to a position, or all of it so far. May wait for the disk.
pub(super) fn transcript(
    history: &History,
    stream: &StreamName,
    until: Option<Position>,
) -> Result<Transcript, SourceError> {
    let mut transcript = Transcript::default();
    let is_wanted = |entry: &Entry| until.is_none_or(|until| entry.position <= until);
    read_stream(history, stream.as_str(), &mut |entry| {
        if let Some(event) = event_of(entry).filter(|_| is_wanted(entry)) {
            transcript.add(event);
        }
    })?;
    Ok(transcript)
}
