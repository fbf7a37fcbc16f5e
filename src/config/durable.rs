//! Settings of the Durable Streams protocol.

use super::InvalidValue;
use super::resolve::{Resolver, parse_heartbeat, parse_switch};
use std::time::Duration;

/// Settings of the Durable Streams protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DurableSettings {
    /// Path below which the streams are, without a slash at its end.
    pub path: String,
    /// Time for which a long-poll waits.
    pub poll: Duration,
    /// Maximum time of a stream of Server-Sent Events.
    pub sse: Duration,
}

impl Resolver {
    /// Returns the settings of the Durable Streams protocol, if it is on.
    pub(super) fn durable(&mut self) -> Option<DurableSettings> {
        let is_on = self.value("durable-streams", parse_switch).unwrap_or_default();
        let path = self.value("durable-streams-path", parse_path);
        let poll = self.value("durable-streams-poll", parse_heartbeat);
        let sse = self.value("durable-streams-sse", parse_heartbeat);
        is_on.then_some(DurableSettings { path: path?, poll: poll?, sse: sse? })
    }
}

fn parse_path(text: &str) -> Result<String, InvalidValue> {
    let path = text.strip_suffix('/').unwrap_or(text);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    if path.len() < 2
        || !path.starts_with('/')
        || path.contains("//")
        || !path.chars().all(is_plain)
    {
        return Err(InvalidValue::form(text, "a path like /v1/stream"));
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_plain() {
        assert_eq!(parse_path("/v1/stream/").ok().as_deref(), Some("/v1/stream"));
        for bad in ["", "/", "v1", "/a b", "/{x}", "/a//b", "/a?b"] {
            assert!(parse_path(bad).is_err(), "{bad}");
        }
    }
}
