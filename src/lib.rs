//! work in progress
pub mod config;
pub mod event;
pub mod hub;
pub mod journal;
pub mod telemetry;
pub mod wire;
