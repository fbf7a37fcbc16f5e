//! End-to-end tests of the real binary.
//!
//! `hub.rs` starts and stops it, `reader.rs` and `follower.rs` are its clients, `credentials.rs`
//! has their credentials. A test asserts order, counts, bounds and that something happens at all;
//! it never asserts a time or relies on a sleep. `TEST_EXTENT=full` makes the long tests long.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod certificate;
#[cfg(feature = "chat")]
mod chat;
mod credentials;
#[cfg(feature = "files")]
mod files;
mod follower;
mod hub;
mod imports;
#[cfg(feature = "jobs")]
mod jobs;
mod journal;
mod reader;
#[cfg(feature = "chat")]
mod upstream;

mod access;
mod api_description;
mod architecture;
#[cfg(feature = "bench")]
mod bench;
#[cfg(feature = "chat")]
mod chat_access;
#[cfg(feature = "chat")]
mod chat_connections;
#[cfg(feature = "chat")]
mod chat_departures;
#[cfg(feature = "chat")]
mod chat_ends;
#[cfg(feature = "chat")]
mod chat_errors;
#[cfg(feature = "chat")]
mod chat_passthrough;
#[cfg(feature = "chat")]
mod chat_upstream_settings;
#[cfg(feature = "chat")]
mod chat_upstreams;
#[cfg(feature = "chat")]
mod chat_usage;
#[cfg(feature = "chat")]
mod chats;
mod churn;
#[cfg(feature = "cli")]
mod cli;
mod clock;
#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "chat")]
mod completion_errors;
#[cfg(feature = "chat")]
mod completions;
mod configuration;
mod crash;
mod disk;
mod drain;
#[cfg(feature = "durable-streams")]
mod durable;
mod first_start;
mod formats;
mod hostile;
mod http2;
mod limits;
mod logs;
#[cfg(feature = "mercure")]
mod mercure;
#[cfg(any(feature = "cluster", feature = "durable-streams"))]
mod nginx;
mod operations;
mod properties;
mod publish;
mod refusal;
mod reload;
#[cfg(feature = "remote-keys")]
mod remote_keys;
mod restore;
mod resume;
mod retention;
#[cfg(feature = "search")]
mod search;
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
#[cfg(feature = "tail")]
mod tail;
mod tickets;
mod tokens;
