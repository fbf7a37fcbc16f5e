//! Reads the output of commands while they run.

use crate::event::level_of;
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;
use tokio::time::timeout;

/// Environment variables that ask programs not to buffer output when it does not go to a terminal:
/// one for Python, and `stdbuf` of coreutils for programs that use C's standard output.
const PYTHON: (&str, &str) = ("PYTHONUNBUFFERED", "1");
const STDBUF_LIBRARIES: [&str; 2] =
    ["/usr/libexec/coreutils/libstdbuf.so", "/usr/lib/coreutils/libstdbuf.so"];

/// Extension of commands that disables output buffering.
pub trait Unbuffered {
    /// Sets the environment variables that disable buffering, unless they are set already.
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

/// Maximum time of waiting for output after the command has ended: a process that it started may
/// hold the pipe open.
pub const OUTPUT_WITHIN: Duration = Duration::from_secs(2);
const PART_BYTES: usize = 16 * 1024;
/// Maximum size of a pipe, unless root allows more (pipe(7)).
const MAX_PIPE_BYTES: usize = 1024 * 1024;

/// An output of a command. It ends when the pipe is closed. After the end of the command it also
/// ends after waiting for [`OUTPUT_WITHIN`] in total, or after more bytes than fit a pipe.
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

    /// Returns the next bytes; empty at the end. Only the time spent waiting counts towards
    /// [`OUTPUT_WITHIN`], not the time that the caller spends on the bytes.
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

/// Data of a `log` event for a line.
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

/// Returns the data of a `log` event for a line. The level is the one that the line names,
/// otherwise `info`.
pub fn log_data<'a>(line: &'a str, output: Option<&'a str>) -> LogData<'a> {
    let level = level_of(line).unwrap_or("info");
    LogData { level, message: line, fields: output.map(|output| Fields { output }) }
}

/// Returns the part of a line that a terminal shows in the end: text before a carriage return is
/// overwritten, as progress bars do.
pub fn shown_line(line: &str) -> &str {
    line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_line_returns_the_last_state_of_a_progress_bar() {
        assert_eq!(shown_line(" 10 %\r 50 %\r100 %"), "100 %");
        assert_eq!(shown_line("done\r"), "done");
        assert_eq!(shown_line("\r"), "");
        assert_eq!(shown_line("plain"), "plain");
    }
}
