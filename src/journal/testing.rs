//! A journal for unit tests.

use super::{Durability, Journal, RetentionLimits, RetentionPolicy, Settings};
use crate::telemetry::Telemetry;
use std::sync::Arc;

/// Opens a journal in memory whose streams keep ten events; a task answers its publishers.
pub(crate) fn memory_journal(recent_bytes: usize) -> Journal {
    let (out, mut dispatched) = tokio::sync::mpsc::channel::<super::Dispatch>(16);
    tokio::spawn(async move {
        while let Some(dispatch) = dispatched.recv().await {
            dispatch.answer();
        }
    });
    let otherwise = RetentionLimits { max_events: Some(10), ..RetentionLimits::default() };
    let settings = Settings {
        data_dir: "none".into(),
        durability: Durability::Memory,
        retention: RetentionPolicy { rules: Vec::new(), otherwise, total_bytes: u64::MAX },
        limits: Arc::default(),
        min_free_bytes: 0,
        recent_bytes,
        cluster: None,
        holder: String::new(),
    };
    Journal::open(settings, Telemetry::new().expect("metrics"), out).expect("opens")
}
