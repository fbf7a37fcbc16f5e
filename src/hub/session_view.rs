//! Sessions as operators see them: plain values without references to a session.

use crate::event::{EventId, Selector, StreamName};
use crate::telemetry::Protocol;
use std::net::IpAddr;
use std::sync::Arc;
use uuid::Uuid;

/// Filter of sessions; the default matches all.
#[derive(Clone, Default, Debug)]
pub struct SessionFilter {
    /// Only sessions that get the events of this stream.
    pub stream: Option<StreamName>,
    /// Only sessions of this subject.
    pub subject: Option<String>,
    /// Only sessions from this address.
    pub address: Option<IpAddr>,
    /// Only sessions after this id.
    pub after: Option<Uuid>,
    /// Maximum number of sessions.
    pub limit: usize,
}

/// A session as operators see it.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Id of the session.
    pub id: Uuid,
    /// The streams and patterns that it reads.
    pub streams: Vec<Selector>,
    /// Protocol of the session.
    pub protocol: Protocol,
    /// Topics that it selects, in the Mercure protocol.
    pub topics: Vec<String>,
    /// Subject that it is counted for.
    pub subject: Option<Arc<str>>,
    /// Address of the client.
    pub address: IpAddr,
    /// Time at which it began, in milliseconds since 1970.
    pub since_ms: u64,
    /// Result of its resume.
    pub resume: &'static str,
    /// Position up to which it has everything.
    pub position: EventId,
    /// True if it reads from history.
    pub is_catching_up: bool,
    /// Milliseconds since the commit of the oldest event that it has not taken: 0 if it has all,
    /// `None` while it reads from history.
    pub lag_ms: Option<u64>,
    /// Bytes in memory that it has not taken.
    pub queued_bytes: u64,
    /// Number of events sent to it.
    pub sent_events: u64,
}
