//! Settings of a cluster.

use super::InvalidValue;
use super::resolve::{Resolver, parse_count, parse_positive_bytes, parse_positive_duration};
use crate::cluster::ClusterSettings;
use crate::journal::Durability;

/// Maximum length of a name of a cluster or a node.
const MAX_NAME_BYTES: usize = 64;

impl Resolver {
    /// Returns the settings of the cluster; `None` if this hub belongs to none.
    pub(super) fn cluster(&mut self, durability: Durability) -> Option<ClusterSettings> {
        let urls = self.list("cluster-nats", parse_url);
        let settings = ClusterSettings {
            name: self.value("cluster-name", parse_name).unwrap_or_default(),
            node: self.value("node", parse_name).unwrap_or_else(host_name),
            replicas: self.value("cluster-replicas", parse_replicas).unwrap_or_default(),
            log_max_age: self
                .value("cluster-log-max-age", parse_positive_duration)
                .unwrap_or_default(),
            log_max_bytes: self
                .value("cluster-log-max-bytes", parse_positive_bytes)
                .unwrap_or_default(),
            urls,
        };
        if settings.urls.is_empty() {
            return None;
        }
        if durability != Durability::Sync {
            self.raw.add_error("--durability", "a member of a cluster needs `sync`");
        }
        Some(settings)
    }
}

/// Returns the name of the host, without its domain.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let first = name.split('.').next().unwrap_or_default();
    parse_name(first).unwrap_or_else(|_| "hub".to_owned())
}

/// Parses the address of a NATS server.
fn parse_url(text: &str) -> Result<String, InvalidValue> {
    let is_url = ["nats://", "tls://"].iter().any(|scheme| {
        text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.contains(' '))
    });
    if is_url { Ok(text.to_owned()) } else { Err(InvalidValue::form(text, "nats://HOST:PORT")) }
}

/// Parses the name of a cluster or a node, which is part of subjects of NATS.
fn parse_name(text: &str) -> Result<String, InvalidValue> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > MAX_NAME_BYTES || !text.chars().all(is_valid) {
        return Err(InvalidValue::word(text, "1 to 64 letters, digits, `-` and `_`"));
    }
    Ok(text.to_owned())
}

fn parse_replicas(text: &str) -> Result<usize, InvalidValue> {
    match parse_count(text)? {
        replicas @ (1 | 3 | 5) => Ok(replicas as usize),
        _ => Err(InvalidValue::word(text, "1, 3 or 5")),
    }
}
