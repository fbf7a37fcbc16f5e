//! Fanfare: a self-hosted hub that broadcasts events over Server-Sent Events.
//!
//! Every event gets one place in one hub-wide order when the journal commits it, and everything
//! else follows the journal: live delivery, resume, replay and a slow reader catching up are all a
//! cursor that reads forward.
//!
//! ```text
//! POST /publish ─> Draft ─> Publisher ─> Journal (one writer: order, apply, sync)
//!                                            │ committed batch, in order
//!                                            v
//!                               ConnectionManager (actor: sessions, limits, who wants what)
//!                                            │ one message per shard that has takers
//!                                            v
//!                               Shard (actor, one per HTTP worker thread)
//!                                            │
//!                                            v
//!                               Session  Live | CatchingUp ─> frame ─> client
//!                                            ^
//!                               History (recent events in memory, then the journal)
//! ```
//!
//! The modules below are the stages in the order of the flow; each uses only those named before it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod telemetry;

pub mod event;

pub mod wire;

pub mod limits;

pub mod access;

pub mod journal;

pub mod hub;

pub mod source;

pub mod config;

pub mod http;

pub mod app;

pub mod bench;

pub mod cli;

mod backoff;

mod disk;

#[cfg(test)]
mod properties;
