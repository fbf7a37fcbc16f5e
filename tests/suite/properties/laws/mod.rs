//! What must be so of every input of a parser, each law a function that panics where it is not.
//!
//! Two drive them: the property tests here with inputs that are mostly right, and the targets in
//! `fuzz/` with whatever a fuzzer comes up with.

pub mod bodies;
pub mod chats;
pub mod clients;
pub mod credentials;
pub mod settings;
pub mod sse;
pub mod words;
