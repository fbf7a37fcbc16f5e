//! Chats: `/chats…`, `/chat`, and the same for OpenAI's clients at `/v1/…`.
//!
//! Promises: a chat of another subject and a chat that does not exist have the same answer; every
//! refusal is counted with a reason; a reader that leaves stops no chat, except one that was created
//! by an OpenAI client and has had no reader for a minute.

pub(crate) mod authorization;
pub(crate) mod chat_body;
pub(crate) mod completions;
pub(crate) mod create;
pub(crate) mod native;
pub(crate) mod read;
pub(crate) mod ticket;
