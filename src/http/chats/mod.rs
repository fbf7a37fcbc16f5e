//! Chats: `/chats…`, `/chat`, and the same for OpenAI's clients at `/v1/…`.
//!
//! Promises: what is another's and what is not there are one answer; whatever is refused has a reason
//! on a counter; a reader who goes stops no chat but one that was begun by a client of OpenAI's and is
//! read by nobody for a minute.

mod begin;
mod body;
pub(super) mod completions;
pub(super) mod native;
mod openai;
mod read;
pub(super) mod ticket;
mod who;

pub(super) use openai::{SHOULD_RETRY, as_error as as_openai};
pub(super) use who::{is_redacted, may_read_stream, refuse_gone};
