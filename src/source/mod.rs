//! What publishes from inside: the system monitor, its own log, who is alive, jobs, chats, and whatever
//! else the hub reads by itself.
//!
//! Promises: a source that fails is started again, later each time; what it publishes goes the way of
//! every other event, and is refused where that is; each is visible in `/stats` and the metrics.
//! Never: talks to sessions, or holds a publisher up.

mod chats;
mod heartbeats;
mod insist;
mod job;
mod jobs;
mod keeper;
mod output;
mod own_log;
mod remembered;
mod run;
mod system;
mod tail;

pub use chats::{
    Begun as BegunChat, Chat, ChatSettings, Chats, ECHO, Kind as UpstreamKind, NotBegun as NoChat,
    Progress as ChatProgress, Reader as ChatReader, SELECTOR as CHAT_STREAMS,
    STREAM as CHATS_STREAM, StopBy, Timeouts as ChatTimeouts, Upstream, UpstreamKey,
    Wanted as WantedChat,
};
pub use heartbeats::{
    FORGOTTEN_AFTER as HEARTBEATS_KEPT, Grace, STREAM as HEARTBEATS_STREAM,
    watch as watch_heartbeats,
};
pub use job::{JobSpec, RunAs, check_job_name};
pub use jobs::{
    Begun, JobView, Jobs, KEPT as JOBS_KEPT, NotBegun, RunView, SELECTOR as JOB_STREAMS,
};
pub use keeper::{Feed, SourceView, Sources};
pub use output::{LogData, OUTPUT_WITHIN, Output, Unbuffered, log_data, shown_line};
pub use own_log::{STREAM as LOG_STREAM, publish as publish_log};
pub use system::{STREAM as SYSTEM_STREAM, watch as watch_system};
pub use tail::{
    Joins, KEPT_EVENTS as TAIL_KEPT_EVENTS, MAX_FILES as MAX_TAILED, STREAM as TAIL_STREAM,
    StreamTemplate, TailSpec, follow as follow_files,
};
