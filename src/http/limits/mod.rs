//! Limits of connections, downloads, request bodies, selectors, and the time for a request's head.

mod bodies;
mod connections;
#[cfg(feature = "files")]
mod downloads;
pub(crate) mod head_clock;
mod per_client;
#[cfg(feature = "search")]
mod searches;
mod selectors;

pub use bodies::BodyBudget;
pub use connections::ConnectionLimiter;
pub(crate) use connections::ConnectionPermit;
#[cfg(feature = "files")]
pub(crate) use downloads::Download;
#[cfg(feature = "files")]
pub use downloads::Downloads;
#[cfg(feature = "search")]
pub use searches::Searches;
pub use selectors::SelectorUsage;
