//! Names and default retention of the streams that the hub publishes itself.
//!
//! Every build knows them, also one without the feature that publishes to them: a data directory
//! keeps its retention when the binary changes.

use crate::event::{Invalid, StreamName};
use std::sync::Arc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Name of this hub in its cluster; none for a single hub.
#[derive(Clone, Debug, Default)]
pub struct NodeName(Option<Arc<str>>);

impl NodeName {
    /// Creates the name of a hub of a cluster.
    pub fn new(name: &str) -> Self {
        Self(Some(name.into()))
    }

    /// Returns the name, if this hub belongs to a cluster.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Returns the stream of this hub for which `stream` is the name at a single hub. Each hub of a cluster
    /// has its own.
    pub fn stream(&self, stream: &str) -> Result<StreamName, Invalid> {
        match &self.0 {
            None => StreamName::parse(stream),
            Some(node) => StreamName::parse(&format!("{stream}.{node}")),
        }
    }

    /// Returns the name of a run of this hub that begins with `name`: a time, `-`, and an id.
    pub fn run(&self, name: String) -> String {
        match &self.0 {
            None => name,
            Some(node) => format!("{name}-{node}"),
        }
    }

    /// Returns true if `run` is the name of a run of this hub.
    pub fn has_run(&self, run: &str) -> bool {
        self.0.as_ref().is_none_or(|node| run.splitn(3, '-').nth(2) == Some(node))
    }
}

/// Stream of the hub's own log.
pub const LOG_STREAM: &str = "hub.logs";
/// Stream of the system monitor.
pub const SYSTEM_STREAM: &str = "system";
/// Stream of the hub's own figures, which the system monitor publishes.
pub const STATS_STREAM: &str = "hub.stats";
/// Default retention of the log and of the system monitor.
pub const OWN_STREAM_KEPT: Duration = HOUR;

/// Stream of changes of the status of services that send heartbeats.
pub const HEARTBEATS_STREAM: &str = "heartbeats";
/// Default retention of that stream. A service that is down is forgotten after this time.
pub const HEARTBEATS_KEPT: Duration = Duration::from_secs(24 * HOUR.as_secs());

/// Stream of the revocations of the hubs of a cluster. Its events are kept.
pub const REVOCATIONS_STREAM: &str = "hub.revocations";

/// Prefix of the streams of job runs.
pub const JOB_PREFIX: &str = "jobs.";
/// Selector of the streams of job runs.
pub const JOB_STREAMS: &str = "jobs.**";
/// Default retention of the streams of job runs.
pub const JOBS_KEPT: Duration = Duration::from_secs(7 * 24 * HOUR.as_secs());

/// Stream of the read positions of followed files.
pub const TAIL_STREAM: &str = "hub.tail";
/// Retention of that stream: more events than are published between two reports of all positions.
pub const TAIL_KEPT_EVENTS: u64 = 20_000;

/// Prefix of the streams of chats.
#[cfg(feature = "chat")]
pub const CHAT_PREFIX: &str = "chat.";
/// Selector of the streams of chats.
pub const CHAT_STREAMS: &str = "chat.**";
/// Stream of the records of chats.
pub const CHATS_STREAM: &str = "hub.chats";
