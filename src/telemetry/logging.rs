//! Logging by `tracing` to standard error; the filter can be changed while the process runs.

use super::log_capture::Capture;
use super::log_writer::{self, LogSink};
use std::io::IsTerminal;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, reload};

/// Format of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Text, for people.
    Text,
    /// A JSON object per line.
    Json,
}

/// Directives for libraries that are too verbose at `info`, or log each malformed request. A filter
/// that names them comes later and takes precedence.
const QUIET: &str =
    "fjall=warn,lsm_tree=warn,actix_server=warn,actix_http::h1=off,h2=error,rustls=error";

/// Log of the process.
struct Log {
    filter: RwLock<String>,
    replace: Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// An invalid filter.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{filter:?} is not a valid log filter, such as `warn` or `info,fanfare::hub=debug`: {reason}"
)]
pub struct InvalidFilter {
    filter: String,
    reason: String,
}

/// Fails unless `filter` is valid, in the syntax of `RUST_LOG`.
pub fn check_filter(filter: &str) -> Result<(), InvalidFilter> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, InvalidFilter> {
    let invalid = |reason: String| InvalidFilter { filter: filter.to_owned(), reason };
    if filter.trim().is_empty() {
        return Err(invalid("it is empty; use `off` to log nothing".into()));
    }
    EnvFilter::try_new(format!("{QUIET},{filter}")).map_err(|e| invalid(e.to_string()))
}

/// Starts logging for the process; `filter` as in `RUST_LOG`. A second call changes nothing.
pub fn start(filter: &str, format: LogFormat) {
    let Ok(parsed) = parse(filter) else { return };
    let (filter_layer, handle) = reload::Layer::new(parsed);
    let replace = move |new| handle.reload(new);
    let lines = fmt::layer()
        .with_writer(LogSink)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let registry = tracing_subscriber::registry().with(filter_layer).with(Capture);
    let is_first = match format {
        LogFormat::Text => registry.with(lines).try_init(),
        LogFormat::Json => {
            registry.with(lines.json().flatten_event(true).with_current_span(false)).try_init()
        }
    }
    .is_ok();
    // If logging has started already, as in tests, the first settings stay.
    if is_first {
        let filter = RwLock::new(filter.to_owned());
        let _ = LOG.set(Log { filter, replace: Box::new(replace) });
        log_writer::start();
    }
}

/// Maximum time that the end of the process waits for the last lines.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Waits for at most a second until everything that was logged is written.
pub fn end() {
    log_writer::flush(END_WITHIN);
}

/// Returns the current filter.
pub fn filter() -> String {
    LOG.get().map_or_else(String::new, |log| {
        log.filter.read().unwrap_or_else(PoisonError::into_inner).clone()
    })
}

/// Replaces the filter.
pub fn set_filter(filter: &str) -> Result<(), InvalidFilter> {
    let parsed = parse(filter)?;
    let Some(log) = LOG.get() else { return Ok(()) };
    let mut current = log.filter.write().unwrap_or_else(PoisonError::into_inner);
    (log.replace)(parsed)
        .map_err(|error| InvalidFilter { filter: filter.to_owned(), reason: error.to_string() })?;
    filter.clone_into(&mut current);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_filters_are_refused() {
        for good in ["info", "warn,fanfare::hub=debug", "off"] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for bad in ["", " ", "fanfare=loud", "a=b=c"] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
    }
}
