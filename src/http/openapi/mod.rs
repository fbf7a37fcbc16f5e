//! The description of the API, served at `/openapi.json`.

#[cfg(feature = "chat")]
pub(crate) mod chat_errors;
#[cfg(feature = "chat")]
pub(crate) mod chat_examples;
pub(crate) mod document;
pub(crate) mod errors;
pub(crate) mod examples;
pub(crate) mod responses;
pub(crate) mod shapes;
