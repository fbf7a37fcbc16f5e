//! Middleware of every route: authentication and the access log.

pub(crate) mod access_log;
pub(crate) mod auth;
