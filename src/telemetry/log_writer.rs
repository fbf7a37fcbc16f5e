//! Writes log lines to standard error on a separate thread.
//!
//! Promises: a thread that logs never waits for the reader of the log; lines that do not fit into
//! the queue are dropped and counted.
//! Never: fails. A log that cannot be written, as on a full disk, must not take the hub down.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use tracing_subscriber::fmt::MakeWriter;

/// Maximum number of queued lines.
const MAX_WAITING_LINES: usize = 4_096;
/// Maximum bytes of queued lines.
const MAX_WAITING_BYTES: usize = 1024 * 1024;
/// Size of a queued line in addition to its text, in bytes.
const LINE_OVERHEAD: usize = 64;
/// Interval at which a flush checks that everything was written.
const FLUSH_POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Log writer of this process.
static LINES: OnceLock<LogWriter> = OnceLock::new();

/// Queue of lines for the thread.
struct LogWriter {
    lines: SyncSender<Box<[u8]>>,
    queued_bytes: AtomicUsize,
    lost: AtomicU64,
}

/// Writer that `tracing` uses.
pub(super) struct LogSink;

/// Starts the thread; if that fails, each thread writes its own lines.
pub(super) fn start() {
    let (lines, queued) = sync_channel::<Box<[u8]>>(MAX_WAITING_LINES);
    let writer = LogWriter { lines, queued_bytes: AtomicUsize::new(0), lost: AtomicU64::new(0) };
    let write = move || {
        for line in queued {
            let _ = std::io::stderr().write_all(&line);
            if let Some(writer) = LINES.get() {
                writer.queued_bytes.fetch_sub(cost(&line), Ordering::Release);
            }
        }
    };
    if thread::Builder::new().name("log".into()).spawn(write).is_ok() {
        let _ = LINES.set(writer);
    }
}

/// Waits until every line is written, for at most `timeout` because the log may not be read.
pub(super) fn flush(timeout: Duration) {
    let started_at = Instant::now();
    let has_queued = |writer: &&LogWriter| writer.queued_bytes.load(Ordering::Acquire) > 0;
    while LINES.get().filter(has_queued).is_some() && started_at.elapsed() < timeout {
        thread::sleep(FLUSH_POLL_INTERVAL);
    }
}

/// Returns the number of lines that were dropped since the last call.
pub(super) fn take_lost() -> u64 {
    LINES.get().map_or(0, |writer| writer.lost.swap(0, Ordering::Relaxed))
}

fn cost(line: &[u8]) -> usize {
    line.len() + LINE_OVERHEAD
}

impl LogWriter {
    fn enqueue(&self, line: &[u8]) {
        let cost = cost(line);
        if self.queued_bytes.fetch_add(cost, Ordering::Relaxed) + cost > MAX_WAITING_BYTES
            || self.lines.try_send(line.into()).is_err()
        {
            self.queued_bytes.fetch_sub(cost, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for LogSink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for LogSink {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        match LINES.get() {
            Some(writer) => writer.enqueue(line),
            None => drop(std::io::stderr().write_all(line)),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
