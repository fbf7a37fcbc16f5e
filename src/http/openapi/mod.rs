//! The description of the API, served at `/openapi.json`.

pub(crate) mod document;
pub(crate) mod responses;
pub(crate) mod shapes;
