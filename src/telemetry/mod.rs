//! What the hub says of itself: the Prometheus registry with verbs on it, and logging.
//!
//! Promises: every family is there from the first scrape, known label values at 0; a verb costs a
//! few atomic additions and never fails.
//! Never: knows the hub.

mod captured;
mod lines;
mod log_writer;
mod logging;
mod metrics;
mod reasons;

pub use captured::{LogLine, log_lines, lost_log_lines};
pub use logging::{
    InvalidFilter, LogFormat, check_filter as check_log_filter, end as end_logging,
    filter as log_filter, set_filter as set_log_filter, start as start_logging,
};
pub use metrics::{
    Bucket, ChatFigures, Exposition, HeartbeatFigures, JobFigures, JournalHolds, Latency, LimitUse,
    PatternFigures, Published, Queues, Refusals, Sampled, ShardFigures, SourceFigures, Standing,
    TailFigures, Telemetry, Totals, markdown,
};
pub use reasons::{
    ChatRefused, Closed, ConnectionRefused, CredentialRefused, Full, Limit, PublishRefused,
    Replayed, RequestRefused, Served, Turned,
};
