//! Formats of chats: requests to a model, responses of upstreams, the events that result, and the
//! formats in which these are read.
//!
//! Promises: whatever an upstream sends is decoded, or becomes an error that describes it; all
//! response formats are converted from the same events of the journal, when they are read.
//! Never: does I/O, or uses actix.

mod completion;
mod completions;
mod event;
mod extra;
mod native;
mod request;
mod surrogates;
mod transcript;
mod upstream_error;

pub use completion::{Decoder, Delta, ToolPart, UpstreamEvent};
pub use completions::{Completions, chunk_id, completion_object, error_object};
pub use event::{ChatEvent, FailureCause, State, Usage};
pub use extra::Extra;
pub use native::Native;
pub use request::{ChatRequest, StreamUsage};
pub use transcript::{Redaction, Transcript};
pub use upstream_error::UpstreamFailure;

use super::record::records;

/// Maximum size of the text of a frame, in bytes, if a late reader is sent many events in one.
const MAX_JOINED_BYTES: usize = 16 * 1024;

/// Converter of a session's records to the format of a reader.
#[derive(Debug)]
pub enum ResponseFormat {
    /// Events of the hub.
    Native(Native),
    /// Chunks of OpenAI's API.
    Completions(Completions),
}

impl ResponseFormat {
    /// Converts whole records, the output of a session with [`Format::Records`](super::Format), and
    /// appends the result to `out`, except a last text that more may be joined to.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for record in records(bytes) {
            match self {
                Self::Native(native) => native.take(record, out),
                Self::Completions(completions) => completions.take(record, out),
            }
        }
    }

    /// Writes buffered output, because nothing more is available now.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Native(native) => native.flush(out),
            Self::Completions(completions) => completions.flush(out),
        }
    }

    /// Ends the output. If the chat has not ended, readers that take the end of the body for the
    /// end of the answer get an error.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        self.flush(out);
        match self {
            Self::Native(native) => native.end_early(out),
            Self::Completions(completions) => completions.disconnect(out),
        }
    }

    /// Returns true once the reader was sent the end of the chat.
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Native(native) => native.has_ended(),
            Self::Completions(completions) => completions.has_ended(),
        }
    }
}
