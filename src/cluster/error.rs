//! Failures of the log.

/// Reason why the log cannot be used, or why this hub must stop reading it.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No server can be reached, or none accepts the credentials.
    #[error("cannot connect to NATS at {urls}")]
    Connect {
        /// Configured addresses, without credentials.
        urls: String,
        /// Failure of the client.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The file with the credentials cannot be used.
    #[error("cannot read credentials for NATS from {}", path.display())]
    Credentials {
        /// Path of the file.
        path: std::path::PathBuf,
        /// Reason.
        #[source]
        source: std::io::Error,
    },
    /// The server accepts only messages that are too small for a batch.
    #[error("the NATS server has max_payload {found}; it must be {required} or more")]
    Payload {
        /// Size that the server accepts, in bytes.
        found: usize,
        /// Required size, in bytes.
        required: usize,
    },
    /// The stream cannot be created or read.
    #[error("cannot {action} stream {stream}: {reason}")]
    Stream {
        /// Attempted action.
        action: &'static str,
        /// Name of the stream.
        stream: String,
        /// Reason of the server.
        reason: String,
    },
    /// The servers did not answer a request about the stream.
    #[error("cannot {action} stream {stream}: {reason}")]
    Lost {
        /// Attempted action.
        action: &'static str,
        /// Name of the stream.
        stream: String,
        /// Reason of the client.
        reason: String,
    },
    /// The stream is configured in a way that may lose events.
    #[error("stream {stream} has {setting} {found}; it must be {required}")]
    Unfit {
        /// Name of the stream.
        stream: String,
        /// Setting that does not fit.
        setting: &'static str,
        /// Configured value.
        found: String,
        /// Required value.
        required: String,
    },
    /// Messages between two others are gone.
    #[error("the log continues with message {found} after {last}; what lies between is gone")]
    Gap {
        /// Last message that was read.
        last: u64,
        /// Next message of the log.
        found: u64,
    },
    /// The log has fewer messages than this hub has applied.
    #[error("the log ends at message {end}, but this hub has applied {applied}")]
    Behind {
        /// Last message of the log.
        end: u64,
        /// Last message that was applied here.
        applied: u64,
    },
    /// A message has another content than when it was applied.
    #[error(
        "message {sequence} of the log is not the one that this hub has applied: the log has lost messages \
         and used their numbers again"
    )]
    Diverged {
        /// Number of the message.
        sequence: u64,
    },
    /// The stream is not the one that this hub has joined.
    #[error("stream {stream} was deleted and created again")]
    Recreated {
        /// Name of the stream.
        stream: String,
    },
    /// A key that all hubs share cannot be stored or read.
    #[error("cannot read or create key {name} of bucket {bucket}: {reason}")]
    SharedKey {
        /// Name of the key.
        name: String,
        /// Bucket of JetStream's key-value store.
        bucket: String,
        /// Reason of the server.
        reason: String,
    },
    /// A hub that has applied messages finds no stream.
    #[error(
        "stream {stream} does not exist, but this hub has applied messages of it; start the servers that \
         store it"
    )]
    NoStream {
        /// Name of the stream.
        stream: String,
    },
    /// The thread of the log cannot be started.
    #[error("cannot start the thread of the log")]
    Thread(#[source] std::io::Error),
    /// The thread of the log has stopped.
    #[error("the thread of the log has stopped")]
    Stopped,
}
