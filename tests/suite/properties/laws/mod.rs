//! Laws that hold for every input of a parser. Each is a function that panics if it is violated.
//!
//! The property tests check them with mostly valid inputs, and the targets in `fuzz/` with the
//! inputs of a fuzzer.

pub mod bodies;
#[cfg(feature = "chat")]
pub mod chats;
pub mod clients;
pub mod credentials;
#[cfg(feature = "durable-streams")]
pub mod durable;
pub mod settings;
pub mod sse;
#[cfg(feature = "mercure")]
pub mod topics;
pub mod words;
