//! Middleware: the access log, authentication, and requests for other hubs. The admin listener checks only the host.

pub(crate) mod access_log;
pub(crate) mod auth;
mod error_page;
#[cfg(feature = "cluster")]
pub(crate) mod forward;
#[cfg(feature = "mercure")]
mod mercure;
pub(crate) mod site;
