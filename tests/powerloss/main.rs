//! Power loss, failed syncs, full disks and damage, on a file system in memory.
//!
//! `filesystem.rs` is mounted with FUSE; `medium.rs` separates the view of readers from the
//! contents of the medium. A scenario runs the real binary on it, stops it at a counted operation,
//! kills it, cuts the power and starts it again; `ledger.rs` checks what must hold then. A seed
//! determines all choices: `POWERLOSS_SEED=7 cargo test --test powerloss NAME` runs one
//! seed, and `TEST_EXTENT=full` runs many.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod attributes;
mod client;
mod disk;
mod faults;
mod filesystem;
mod hub;
mod ledger;
mod loss;
mod medium;
mod pages;
mod publishers;
mod scenario;

mod bit_flips;
mod chains;
mod creation;
mod credentials;
mod failed_syncs;
mod features;
mod full_disk;
mod model;
mod recovery;
mod rotation;
mod strict_entries;
