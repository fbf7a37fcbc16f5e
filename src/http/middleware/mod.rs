//! What happens before and after every handler: authentication and the access log.

pub(crate) mod access_log;
pub(crate) mod auth;
