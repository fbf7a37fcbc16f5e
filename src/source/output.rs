//! The output of commands, as it is read while they run.

use crate::event::level_of;
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;
use tokio::time::timeout;

/// Variables that ask programs not to buffer output that goes to no terminal: one for Python, and
/// `stdbuf` of coreutils for programs that use C's standard output.
const PYTHON: (&str, &str) = ("PYTHONUNBUFFERED", "1");
const STDBUF_LIBRARIES: [&str; 2] =
    ["/usr/libexec/coreutils/libstdbuf.so", "/usr/lib/coreutils/libstdbuf.so"];

/// A command whose output is to come at once.
pub trait Unbuffered {
    /// Sets what asks for that in its environment, where nothing is set.
    fn unbuffered(&mut self) -> &mut Self;
}

impl Unbuffered for tokio::process::Command {
    fn unbuffered(&mut self) -> &mut Self {
        let is_free = |name: &str| std::env::var_os(name).is_none();
        if is_free(PYTHON.0) {
            self.env(PYTHON.0, PYTHON.1);
        }
        let library = STDBUF_LIBRARIES.iter().find(|path| std::path::Path::new(path).exists());
        if let Some(library) = library.filter(|_| is_free("LD_PRELOAD")) {
            self.env("LD_PRELOAD", library).env("_STDBUF_O", "L").env("_STDBUF_E", "L");
        }
        self
    }
}

/// Maximum time for reading quiet output after the end of its command: a process that it started
/// may hold the pipe open.
pub const OUTPUT_WITHIN: Duration = Duration::from_secs(2);
const PART_BYTES: usize = 16 * 1024;
/// Maximum size of a pipe, unless root allows more (pipe(7)).
const MAX_PIPE_BYTES: usize = 1024 * 1024;

/// An output of a command, read to its end: until it is closed, or, once the command is over, until it
/// has been quiet for long, or has brought more than there can have been.
pub struct Output<R> {
    from: R,
    is_over: watch::Receiver<bool>,
    part: Vec<u8>,
    quiet_for: Duration,
    rest: usize,
}

impl<R: AsyncRead + Unpin> Output<R> {
    /// Creates the output of a command that has ended once `is_over` is true.
    pub fn new(from: R, is_over: watch::Receiver<bool>) -> Self {
        let part = vec![0; PART_BYTES];
        Self { from, is_over, part, quiet_for: OUTPUT_WITHIN, rest: MAX_PIPE_BYTES }
    }

    /// The next of it; empty at its end. Only waiting for it counts, and not what is done with it.
    pub async fn next(&mut self) -> &[u8] {
        let count = loop {
            if *self.is_over.borrow() {
                let began = Instant::now();
                let read = timeout(self.quiet_for, self.from.read(&mut self.part)).await;
                self.quiet_for = self.quiet_for.saturating_sub(began.elapsed());
                let count = read.unwrap_or(Ok(0)).unwrap_or(0);
                let count = if self.rest == 0 { 0 } else { count };
                self.rest = self.rest.saturating_sub(count);
                break count;
            }
            tokio::select! {
                count = self.from.read(&mut self.part) => break count.unwrap_or(0),
                _ = self.is_over.wait_for(|is_over| *is_over) => {}
            }
        };
        &self.part[..count]
    }
}

/// A line as the data of a `log` event.
#[derive(Serialize)]
pub struct LogData<'a> {
    level: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Fields<'a>>,
}

#[derive(Serialize)]
struct Fields<'a> {
    output: &'a str,
}

/// A line of an output as the data of a `log` event: its level is the one that it says, and otherwise
/// `info`.
pub fn log_data<'a>(line: &'a str, output: Option<&'a str>) -> LogData<'a> {
    let level = level_of(line).unwrap_or("info");
    LogData { level, message: line, fields: output.map(|output| Fields { output }) }
}

/// Returns what a terminal shows of a line at its end: text before a carriage return is
/// overwritten, as by progress bars.
pub fn shown_line(line: &str) -> &str {
    line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_progress_bar_the_last_state_is_a_line() {
        assert_eq!(shown_line(" 10 %\r 50 %\r100 %"), "100 %");
        assert_eq!(shown_line("done\r"), "done");
        assert_eq!(shown_line("\r"), "");
        assert_eq!(shown_line("plain"), "plain");
    }
}
