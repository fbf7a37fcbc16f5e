//! Settings of a cluster.

use std::time::Duration;

/// Settings of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// Addresses of NATS servers.
    pub urls: Vec<String>,
    /// Name of the cluster, which is that of the stream.
    pub name: String,
    /// Name of this hub.
    pub node: String,
    /// Number of servers that store the log.
    pub replicas: usize,
    /// Age at which messages leave the log.
    pub log_max_age: Duration,
    /// Size of the log in bytes, above which the oldest messages leave it.
    pub log_max_bytes: u64,
}
