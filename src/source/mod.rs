//! Sources of events inside the hub: system monitor, the hub's log, heartbeats, jobs, followed
//! files, chats.
//!
//! Promises: a source that fails is restarted with backoff; its events are published and refused
//! like all others; each source is shown in `/stats` and the metrics. Never: knows sessions, or
//! delays a publisher.

#[cfg(feature = "chat")]
mod chats;
mod error;
mod heartbeats;
mod hub_log;
#[cfg(feature = "system")]
mod hub_stats;
mod jobs;
mod last_values;
#[cfg(feature = "durable-streams")]
mod lifetimes;
#[cfg(any(feature = "cli", feature = "jobs", feature = "tail"))]
mod output;
mod own_streams;
mod publish_with_retry;
mod revocations;
#[cfg(feature = "mercure")]
mod subscriptions;
mod supervisor;
#[cfg(feature = "system")]
mod system;
#[cfg(feature = "tail")]
mod tail;

#[cfg(feature = "chat")]
pub use chats::{
    Chat, ChatSettings, Chats, CreateChat, CreateChatError, CreatedChat, ECHO,
    Kind as UpstreamKind, Progress as ChatProgress, Reader as ChatReader, StopBy,
    Timeouts as ChatTimeouts, Upstream, UpstreamKey,
};
pub use error::SourceError;
pub use heartbeats::{GracePeriods, monitor_heartbeats};
pub use hub_log::publish as publish_log;
pub use jobs::end_orphaned_runs;
#[cfg(feature = "jobs")]
pub use jobs::{JobSpec, JobView, Jobs, RunAs, RunView, StartRunError, StartedRun, check_job_name};
#[cfg(feature = "durable-streams")]
pub use lifetimes::Lifetimes;
#[cfg(any(feature = "cli", feature = "jobs", feature = "tail"))]
pub use output::{LogData, OUTPUT_WITHIN, Output, Unbuffered, log_data, shown_line};
pub use own_streams::{
    CHAT_STREAMS, CHATS_STREAM, HEARTBEATS_KEPT, HEARTBEATS_STREAM, JOB_STREAMS, JOBS_KEPT,
    LOG_STREAM, NodeName, OWN_STREAM_KEPT, REVOCATIONS_STREAM, STATS_STREAM, SYSTEM_STREAM,
    TAIL_KEPT_EVENTS, TAIL_STREAM,
};
pub use revocations::{follow_revocations, revocation_item};
#[cfg(feature = "mercure")]
pub use subscriptions::{ActiveSubscription, SubscriptionGuard, Subscriptions};
pub use supervisor::{SourceHandle, SourceView, Supervisor};
#[cfg(feature = "system")]
pub use system::watch as watch_system;
#[cfg(feature = "tail")]
pub use tail::{
    JoinRule, MAX_FILES as MAX_TAILED, StreamTemplate, TailSpec, follow as follow_files,
};
