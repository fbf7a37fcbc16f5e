//! Chats: `/chats…`, `/chat`, and the same for OpenAI's clients at `/v1/…`.
//!
//! Promises: what is another's and what is not there are one answer; whatever is refused has a reason
//! on a counter; a reader who goes stops no chat but one that was begun by a client of OpenAI's and is
//! read by nobody for a minute.

mod begin;
mod body;
pub(crate) mod completions;
pub(crate) mod native;
mod openai;
mod read;
pub(crate) mod ticket;
mod who;

pub(crate) use openai::{SHOULD_RETRY, as_error as as_openai};
pub(crate) use who::{is_redacted, may_read_stream, refuse_gone};
