//! Handlers: one file for each resource.

#[cfg(feature = "chat")]
pub(crate) mod chats;
#[cfg(feature = "files")]
pub(crate) mod download_progress;
pub(crate) mod event_body;
#[cfg(feature = "files")]
pub(crate) mod files;
#[cfg(feature = "jobs")]
pub(crate) mod jobs;
pub(crate) mod journal;
pub(crate) mod log_filter;
pub(crate) mod login;
pub(crate) mod ops;
#[cfg(feature = "dashboard")]
pub(crate) mod pages;
pub(crate) mod publish;
pub(crate) mod readiness;
pub(crate) mod rejection;
pub(crate) mod resume_point;
pub(crate) mod revocations;
pub(crate) mod sessions;
pub(crate) mod stats;
pub(crate) mod streams;
pub(crate) mod subscribe;
pub(crate) mod tickets;
