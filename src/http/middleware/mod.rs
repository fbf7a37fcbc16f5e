//! Middleware: the access log, and authentication; on the admin listener the check of the host alone.

pub(crate) mod access_log;
pub(crate) mod auth;
