//! Fanfare (work in progress map).
pub mod event;
pub mod wire;
