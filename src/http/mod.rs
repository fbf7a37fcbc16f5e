//! HTTP: routes, problems, pages, health and metrics.
//!
//! Promises: every refusal says what is wrong, with the status table in `problem.rs` and a reason
//! on a counter; a subscriber with `EventSource` is turned away in a form that it survives.
//! Never: decides order or matching, and knows no field name of an event.

mod body;
mod chats;
mod connection;
mod files;
mod guard;
mod h2;
mod head_clock;
mod jobs;
mod journal;
mod key_set;
mod log_filter;
mod login;
mod openapi;
mod ops;
mod pages;
mod place;
#[doc(hidden)]
pub mod probe;
mod problem;
mod progress;
mod publish;
mod query;
mod readiness;
mod received;
mod refusal;
mod requests;
mod revocations;
mod routes;
mod server;
mod sessions;
mod shapes;
mod socket;
mod stats;
mod stream;
mod streams;
mod subscribe;
mod tickets;
mod tls;

pub use connection::ConnectionLimiter;
pub use files::{Downloads, Folder};
pub use key_set::RemoteKeySet;
pub use received::BodyBudget;
pub use server::{
    AppState, DiskBounds, HttpSettings, SHUTDOWN_TIMEOUT, Server, start, start_admin,
};
pub use stats::SelectorUsage;
pub use tls::{Tls, TlsFiles};
