//! HTTP: routes, handlers, authentication, errors, and the connections they are served on.
//!
//! A request passes these modules: `server` (accept, TLS, HTTP/1.1 or HTTP/2) → `routes` →
//! `middleware` → `api` → `extract` → `state` → `error`. A module uses only modules after it.
//!
//! Promises: every refusal states its cause, gets its status from the table in `error`, and is
//! counted with a reason; an `EventSource` is refused in a form after which it reconnects.
//! Never: decides order or matching; knows field names of events.

mod api;
mod error;
mod extract;
mod history;
mod ingest;
mod limits;
mod middleware;
mod openapi;
mod outcome;
mod peers;
#[doc(hidden)]
pub mod probe;
#[cfg(feature = "remote-keys")]
mod remote_keys;
mod resource;
mod routes;
mod server;
mod session_socket;
mod state;
mod tls;

#[cfg(feature = "cluster")]
pub use api::cluster::own_report;
#[cfg(feature = "files")]
pub use limits::Downloads;
#[cfg(feature = "search")]
pub use limits::Searches;
pub use limits::{BodyBudget, ConnectionLimiter, SelectorUsage};
#[cfg(feature = "remote-keys")]
pub use remote_keys::RemoteKeySet;
pub use server::{BoundSockets, SHUTDOWN_TIMEOUT, Server, bind, start, start_admin};
#[cfg(feature = "cluster")]
pub use server::{JoinProgress, answer_peers, start_joining};
#[cfg(feature = "files")]
pub use state::Folder;
pub use state::{AppState, DiskBounds, HttpSettings};
pub use tls::{Tls, TlsFiles};
