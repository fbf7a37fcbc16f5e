//! Sources of events inside the hub: system monitor, the hub's log, heartbeats, jobs, followed
//! files, chats.
//!
//! Promises: a source that fails is restarted with backoff; its events take the way of all others
//! and are refused where those are; each source is shown in `/stats` and the metrics. Never: knows
//! sessions, or delays a publisher.

mod chats;
mod error;
mod heartbeats;
mod hub_log;
mod job;
mod jobs;
mod last_values;
mod output;
mod publish_with_retry;
mod run;
mod supervisor;
mod system;
mod tail;

pub use chats::{
    Chat, ChatSettings, Chats, CreateChat as WantedChat, CreateChatError as NoChat,
    CreatedChat as BegunChat, ECHO, Kind as UpstreamKind, Progress as ChatProgress,
    Reader as ChatReader, SELECTOR as CHAT_STREAMS, STREAM as CHATS_STREAM, StopBy,
    Timeouts as ChatTimeouts, Upstream, UpstreamKey,
};
pub use error::SourceError;
pub use heartbeats::{
    FORGOTTEN_AFTER as HEARTBEATS_KEPT, GracePeriods, STREAM as HEARTBEATS_STREAM,
    watch as watch_heartbeats,
};
pub use hub_log::{STREAM as LOG_STREAM, publish as publish_log};
pub use job::{JobSpec, RunAs, check_job_name};
pub use jobs::{
    JobView, Jobs, KEPT as JOBS_KEPT, RunView, SELECTOR as JOB_STREAMS, StartRunError, StartedRun,
};
pub use output::{LogData, OUTPUT_WITHIN, Output, Unbuffered, log_data, shown_line};
pub use supervisor::{Feed, SourceView, Sources};
pub use system::{STREAM as SYSTEM_STREAM, watch as watch_system};
pub use tail::{
    JoinRule, KEPT_EVENTS as TAIL_KEPT_EVENTS, MAX_FILES as MAX_TAILED, STREAM as TAIL_STREAM,
    StreamTemplate, TailSpec, follow as follow_files,
};
