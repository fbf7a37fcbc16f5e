//! work in progress
pub mod event;
pub mod journal;
pub mod telemetry;
pub mod wire;
