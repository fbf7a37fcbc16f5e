//! HTTP: routes, handlers, authentication, errors, and the connections they are served on.
//!
//! A request takes this way: `server` (accept, TLS, HTTP/1.1 or HTTP/2) → `routes` → `middleware` →
//! `api` → `extract` → `state` → `error`. A module uses only modules after it.
//!
//! Promises: every refusal names what is wrong, by the status table in `error`, and is counted with
//! a reason; an `EventSource` is refused in a form that it survives.
//! Never: decides order or matching, and knows no field name of an event.

mod api;
mod error;
mod extract;
mod history;
mod ingest;
mod limits;
mod middleware;
mod openapi;
mod outcome;
#[doc(hidden)]
pub mod probe;
mod remote_keys;
mod resource;
mod routes;
mod server;
mod session_socket;
mod state;
mod tls;

pub use limits::{BodyBudget, ConnectionLimiter, Downloads, SelectorUsage};
pub use remote_keys::RemoteKeySet;
pub use server::{SHUTDOWN_TIMEOUT, Server, start, start_admin};
pub use state::{AppState, DiskBounds, Folder, HttpSettings};
pub use tls::{Tls, TlsFiles};
