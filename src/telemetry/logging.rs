//! Logs by `tracing`, to standard error.

use std::io::{IsTerminal, Write};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Libraries that tell at `info` what only their authors want to know, or, for each request that
/// makes no sense, that there was one; a filter that names them
/// comes later and wins.
const QUIET: &str =
    "fjall=warn,lsm_tree=warn,actix_server=warn,actix_http::h1=off,h2=error,rustls=error";

/// Starts logging for the process; `filter` as in `RUST_LOG`. A second call changes nothing.
pub fn start(filter: &str, format: LogFormat) {
    let filter =
        EnvFilter::try_new(format!("{QUIET},{filter}")).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(NeverFails)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // Already started, as in tests: the first settings stay.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

/// Standard error, whatever becomes of it. A log that cannot be written, as on a full disk, must
/// not take the hub down: the library would print that to standard error, and panic.
struct NeverFails;

impl<'a> MakeWriter<'a> for NeverFails {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for NeverFails {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let _ = std::io::stderr().write_all(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let _ = std::io::stderr().flush();
        Ok(())
    }
}
