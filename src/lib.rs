//! Fanfare: a self-hosted hub that broadcasts events over Server-Sent Events.
//!
//! The journal assigns every event one position in one hub-wide order when it commits the event.
//! Live delivery, resume, replay and catching up are one mechanism: a cursor that reads the journal
//! forward from a position.
//!
//! ```text
//! POST /publish ─> Draft ─> Publisher ─> Journal (one writer: order, apply, sync)
//!                                            │ committed batch, in order
//!                                            v
//!                               ConnectionManager (actor: sessions, limits, interests)
//!                                            │ one message per shard with subscribers
//!                                            v
//!                               Shard (actor, one per HTTP worker thread)
//!                                            │
//!                                            v
//!                               Session  Live | CatchingUp ─> frame ─> client
//!                                            ^
//!                               History (recent events in memory, then the journal)
//! ```
//!
//! The modules are listed in the order of the data flow; each uses only those above it,
//! and the helpers `backoff`, `disk` and `platform`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod telemetry;

pub mod event;

pub mod wire;

pub mod limits;

pub mod access;

pub mod cluster;

pub mod journal;

pub mod hub;

pub mod source;

pub mod config;

pub mod http;

pub mod app;

#[cfg(feature = "bench")]
pub mod bench;

pub mod cli;

mod backoff;

mod disk;

mod platform;

#[cfg(test)]
mod properties;
