//! Telemetry: the Prometheus registry with the methods that change it, and logging.
//!
//! Promises: every family exists from the first scrape, known label values at 0; a method costs a
//! few atomic additions and never fails. Never: knows the hub.

mod log_capture;
mod log_sampling;
mod log_writer;
mod logging;
mod metrics;
mod reasons;

pub use log_capture::{LogLine, capture_log_lines, lost_log_lines};
pub use logging::{
    InvalidFilter, LogFormat, check_filter as check_log_filter, end as end_logging,
    filter as log_filter, set_filter as set_log_filter, start as start_logging,
};
pub use metrics::{
    Bucket, ChatMetrics, ClusterSample, Exposition, HeartbeatMetrics, JobMetrics, JournalSample,
    Latency, LimitUse, PatternMetrics, Published, Queues, ReadinessSample, Refusals, Sampled,
    ShardMetrics, SourceMetrics, TailMetrics, Telemetry, Totals, markdown,
};
pub use reasons::{
    BoundHit, ChatRefused, CloseReason, ConnectionRefused, CredentialRefused, FileOutcome, Limit,
    Protocol, PublishRefused, ReplaySource, RequestRefused, SearchOutcome, SubscribeRejectReason,
};
