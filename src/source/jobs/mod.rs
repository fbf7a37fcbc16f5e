//! Jobs: commands that are run by name. Each run has its own stream.
//!
//! Promises: the stream of a run has its `start`, every line of its output in order of arrival, its
//! `exit` and its end, in this order; a job has no more concurrent runs than `at-most` allows. A run
//! that a stop of the hub interrupted gets its end at the next start, also from a build without
//! jobs. Never: runs a command that a caller supplies.

mod exit;
mod orphans;
#[cfg(feature = "jobs")]
mod registry;
#[cfg(feature = "jobs")]
mod run;
#[cfg(feature = "jobs")]
mod spec;

pub use orphans::end_orphaned_runs;
#[cfg(feature = "jobs")]
pub use registry::{JobView, Jobs, RunView, StartRunError, StartedRun};
#[cfg(feature = "jobs")]
pub use spec::{JobSpec, RunAs, check_job_name};
