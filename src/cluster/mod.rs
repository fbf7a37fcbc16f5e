//! The replicated log of a cluster of hubs: one stream of NATS JetStream.
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
mod settings;
mod status;
#[cfg(feature = "cluster")]
mod tail;

pub use chain::ChainLink;
#[cfg(feature = "cluster")]
pub use error::LogError;
#[cfg(feature = "cluster")]
pub use log::{Log, LogMessage};
pub use settings::{ClusterSettings, LogCredentials, LogTls};
pub use status::{LogState, LogStatus};
