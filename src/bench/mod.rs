//! `fanfare bench`: measures the cost of deliveries and connections and the latency of events, and
//! checks that nothing is lost, for this hub or any other SSE server.
//!
//! Subscribers and publishers run on plain epoll in a few threads, so that the tool costs far less
//! than the measured server. Every event carries its publisher, its number and its send time; every
//! subscriber keeps a ledger of them.
//!
//! The module uses only `config`, for units, and accesses a hub only over its public interface.

pub mod child;
pub mod floor;
#[doc(hidden)]
pub mod probe;

#[cfg(feature = "cluster")]
mod cluster;
mod endpoint;
mod exchange;
mod http1;
mod layout;
mod ledger;
mod mark;
mod number;
mod plan;
mod process;
mod publisher;
mod publishers;
mod readers;
mod repeated;
mod report;
mod run;
mod scenario;
mod scrape;
mod search;
mod server;
mod slow;
mod sse;
mod subscriber;
mod tally;

#[cfg(feature = "cluster")]
pub use cluster::{ClusterPlan, ClusterReport, run_cluster};
pub use number::number;
pub use plan::{Plan, command};
pub use report::Report;
pub use run::run;
