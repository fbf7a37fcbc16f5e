//! End-to-end tests: sentences about the real binary.
//!
//! `hub.rs` starts and stops it, `reader.rs` and `follower.rs` are its clients, `credentials.rs` is
//! what they show. A test asserts order, counts, bounds and that a thing happens at all; it never
//! sleeps to hope and never asserts a time. `FANFARE_TESTS=full` makes the long ones long.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod certificate;
mod chat;
mod credentials;
mod files;
mod follower;
mod hub;
mod imports;
mod jobs;
mod journal;
mod reader;
mod upstream;

mod access;
mod architecture;
mod bench;
mod chat_access;
mod chat_connections;
mod chat_departures;
mod chat_ends;
mod chat_errors;
mod chat_passthrough;
mod chat_upstream_settings;
mod chat_upstreams;
mod chat_usage;
mod chats;
mod churn;
mod cli;
mod clock;
mod completion_errors;
mod completions;
mod configuration;
mod crash;
mod disk;
mod drain;
mod formats;
mod hostile;
mod http2;
mod limits;
mod logs;
mod operations;
mod properties;
mod publish;
mod refusal;
mod reload;
mod restore;
mod resume;
mod retention;
mod sessions;
mod shards;
mod slow;
mod slow_heads;
mod sources;
mod stopping;
mod stream_bytes;
mod streams;
mod stuck;
mod subscribe;
mod tail;
mod tickets;
mod tokens;
