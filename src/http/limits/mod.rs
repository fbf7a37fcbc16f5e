//! Limits of connections, downloads, request bodies, selectors, and the time for a request's head.

mod bodies;
mod connections;
mod downloads;
pub(crate) mod head_clock;
mod per_client;
mod selectors;

pub use bodies::BodyBudget;
pub use connections::ConnectionLimiter;
pub(crate) use connections::ConnectionPermit;
pub(crate) use downloads::Download;
pub use downloads::Downloads;
pub use selectors::SelectorUsage;
