//! Middleware: the access log and authentication. The admin listener checks only the host.

pub(crate) mod access_log;
pub(crate) mod auth;
mod error_page;
