//! The hub's own log as `log` events on the stream `hub.logs`, which admins read.
//!
//! Lines that this module logs are not captured, and it logs nothing about a line, which prevents
//! a feedback loop.

use super::own_streams::LOG_STREAM;
use super::supervisor::SourceHandle;
use crate::event::{Draft, EventType, MAX_ENTRIES_PER_BATCH};
use crate::source::error::SourceError;
use crate::telemetry::{LogLine, lost_log_lines};
use serde::Serialize;
use serde_json::value::to_raw_value;
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::sync::mpsc::Receiver;

/// Maximum number of lines in one commit.
const MAX_LINES_PER_COMMIT: usize = 256;
const _: () = assert!(MAX_LINES_PER_COMMIT <= MAX_ENTRIES_PER_BATCH);

#[derive(Serialize)]
struct Log<'a> {
    level: &'a str,
    message: &'a str,
    module: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    fields: &'a Map<String, Value>,
}

/// Publishes log lines as they arrive. Lines that are refused, for example on a full disk, are
/// lost; standard error has them.
pub async fn publish(
    feed: SourceHandle,
    lines: Arc<Mutex<Receiver<LogLine>>>,
) -> Result<(), SourceError> {
    let mut lines = lines.lock().await;
    let stream = feed.own_stream(LOG_STREAM)?;
    let kind = EventType::parse("log")?;
    let mut waiting = Vec::new();
    loop {
        if lines.recv_many(&mut waiting, MAX_LINES_PER_COMMIT).await == 0 {
            return Err(SourceError::Ended);
        }
        let lost = lost_log_lines();
        if lost > 0 {
            feed.lost(lost);
        }
        let drafts = waiting.drain(..).filter_map(|line| {
            let log = Log {
                level: line.level,
                message: &line.message,
                module: line.module,
                line: line.line,
                fields: &line.fields,
            };
            let data = to_raw_value(&log).ok()?;
            Draft::from_json(vec![stream.clone()], kind.clone(), &data, feed.now()).ok()
        });
        let drafts: Vec<Draft> = drafts.collect();
        let _ = feed.publish(drafts).await;
    }
}
