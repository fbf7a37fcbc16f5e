//! A cluster of hubs: its replicated log, one stream of NATS JetStream, and what the hubs tell and ask each
//! other.
//!
//! Promises: the messages that are read come in the order of the log, each once, and none is missing: a
//! gap is an error; an append is repeated, with the same id, until the log has it.
//! Never: knows what a message contains, or when it is applied.

mod chain;
#[cfg(feature = "cluster")]
mod connection;
#[cfg(feature = "cluster")]
mod error;
#[cfg(feature = "cluster")]
mod log;
#[cfg(feature = "cluster")]
mod peers;
#[cfg(feature = "cluster")]
mod recover;
#[cfg(feature = "cluster")]
mod report;
mod settings;
#[cfg(feature = "cluster")]
mod shared_key;
#[cfg(feature = "cluster")]
mod snapshot;
mod status;
#[cfg(feature = "cluster")]
mod tail;

pub use chain::{ChainLink, Checkpoint};
#[cfg(feature = "cluster")]
pub use error::LogError;
#[cfg(feature = "cluster")]
pub use log::{Log, LogMessage};
#[cfg(feature = "cluster")]
pub use peers::{AskError, HubRequest, PeerRequest, Peers};
#[cfg(feature = "cluster")]
pub use recover::{FoundLog, LogRecovery};
#[cfg(feature = "cluster")]
pub use report::{HubReport, KnownHub};
pub use settings::{ClusterSettings, LogCredentials, LogTls};
#[cfg(feature = "cluster")]
pub use snapshot::{SNAPSHOT_CHUNK_BYTES, SnapshotError, receive_snapshot};
pub use status::{LogState, LogStatus};
