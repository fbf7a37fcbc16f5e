//! Captures the hub's own log lines, so that they can be published.
//!
//! Promises: captures the lines of this crate that pass the filter. A slow reader loses lines,
//! which are counted, and blocks nothing.
//! Never: captures a line that was caused by publishing a line. Lines of the module that publishes
//! them are skipped, and lines of the journal, which every publish uses, below `info`.

use serde_json::{Map, Value};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Maximum number of lines that wait for the reader.
const MAX_WAITING: usize = 1024;
/// Prefix of the targets that are captured.
const CRATE_TARGET: &str = "fanfare";
/// Target of the code that publishes lines; its own lines are left out.
const PUBLISHER_TARGET: &str = "fanfare::source";
/// Target of the code that every publish uses; its lines count from `info` on.
const JOURNAL_TARGET: &str = "fanfare::journal";

/// A captured log line.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// `trace` to `error`.
    pub level: &'static str,
    /// Message.
    pub message: String,
    /// Module that logged it.
    pub module: &'static str,
    /// Line number in the source file.
    pub line: Option<u32>,
    /// Other fields.
    pub fields: Map<String, Value>,
}

static READER: OnceLock<Sender<LogLine>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);

/// Starts the capture and returns the lines; `None` if they have a reader already.
pub fn capture_log_lines() -> Option<Receiver<LogLine>> {
    let (sender, lines) = channel(MAX_WAITING);
    READER.set(sender).is_ok().then_some(lines)
}

/// Returns the number of lines that were lost since the last call.
pub fn lost_log_lines() -> u64 {
    LOST.swap(0, Ordering::Relaxed)
}

/// Layer that captures lines.
pub(super) struct Capture;

fn is_captured(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let is_below = |prefix: &str| {
        target.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let is_quiet = is_below(JOURNAL_TARGET) && *metadata.level() > Level::INFO;
    is_below(CRATE_TARGET) && !is_below(PUBLISHER_TARGET) && !is_quiet
}

impl<S: Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let Some(reader) = READER.get().filter(|_| is_captured(metadata)) else { return };
        let Ok(permit) = reader.try_reserve() else {
            LOST.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut line = LogLine {
            level: level(*metadata.level()),
            message: String::new(),
            module: metadata.module_path().unwrap_or(CRATE_TARGET),
            line: metadata.line(),
            fields: Map::new(),
        };
        event.record(&mut line);
        permit.send(line);
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::TRACE => "trace",
        Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warn",
        Level::ERROR => "error",
    }
}

impl LogLine {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for LogLine {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}
