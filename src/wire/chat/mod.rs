//! Chats: what is asked of a model, what an upstream says, the events that become of it, and the
//! faces under which those are read.
//!
//! Promises: whatever an upstream sends is understood, or is an error that says what it was; each
//! face is made of the same journalled events, at reading. Never: I/O, and nothing of actix.

mod blocks;
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
pub use completions::{Completions, chunk_id, error_object, whole};
pub use event::{ChatEvent, FailureCause, State, Usage};
pub use extra::Extra;
pub use native::Native;
pub use request::{ChatRequest, StreamUsage};
pub use transcript::{Redaction, Transcript};
pub use upstream_error::UpstreamFailure;

/// The text of one frame at most, in bytes, where a late reader is sent many events in one.
const MAX_JOINED_BYTES: usize = 16 * 1024;

/// Converter of a session's Server-Sent Events to the format of a reader.
#[derive(Debug)]
pub enum ResponseFormat {
    /// Events of the hub.
    Native(Native),
    /// Chunks of OpenAI's API.
    Completions(Completions),
}

impl ResponseFormat {
    /// Takes whole blocks; what becomes of them is in `out`, save a last text that more may be
    /// joined to.
    pub fn take(&mut self, blocks: &[u8], out: &mut Vec<u8>) {
        for block in blocks::of(blocks) {
            match self {
                Self::Native(face) => face.take(&block, out),
                Self::Completions(face) => face.take(&block, out),
            }
        }
    }

    /// Writes buffered output, as nothing more is available now.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Native(face) => face.flush(out),
            Self::Completions(face) => face.flush(out),
        }
    }

    /// Ends the output: readers that take the end of the body for the end of the answer are told if
    /// it is not.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        self.flush(out);
        match self {
            Self::Native(face) => face.break_off(out),
            Self::Completions(face) => face.break_off(out),
        }
    }

    /// Returns true once the reader was sent the end of the chat.
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Native(face) => face.has_ended(),
            Self::Completions(face) => face.has_ended(),
        }
    }
}
