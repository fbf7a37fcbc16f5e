//! Logs by `tracing`, to standard error.

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Libraries that tell at `info` what only their authors want to know; a filter that names them
/// comes later and wins.
const QUIET: &str = "fjall=warn,lsm_tree=warn,actix_server=warn";

/// Starts logging for the process; `filter` as in `RUST_LOG`. A second call changes nothing.
pub fn start(filter: &str, format: LogFormat) {
    let filter =
        EnvFilter::try_new(format!("{QUIET},{filter}")).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // Already started, as in tests: the first settings stay.
    let _ = match format {
        LogFormat::Text => {
            use std::io::IsTerminal;
            builder.with_ansi(std::io::stderr().is_terminal()).try_init()
        }
        LogFormat::Json => builder.json().try_init(),
    };
}
