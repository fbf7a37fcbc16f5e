//! Settings of a cluster.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// Addresses of NATS servers, without credentials.
    pub urls: Vec<String>,
    /// Credentials for the servers.
    pub credentials: LogCredentials,
    /// Certificates for connections with TLS.
    pub tls: LogTls,
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
    /// Time without the log after which subscribers are disconnected.
    pub isolation_timeout: Duration,
}

/// Credentials for NATS servers.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum LogCredentials {
    /// None.
    #[default]
    None,
    /// A token.
    Token(String),
    /// A user with a password.
    User {
        /// Name of the user.
        name: String,
        /// Password.
        password: String,
    },
    /// File with an nkey seed, or with a JWT and its seed.
    File(PathBuf),
}

impl fmt::Debug for LogCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Token(_) => f.write_str("Token"),
            Self::User { name, .. } => write!(f, "User({name})"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// Certificates for connections to NATS servers with TLS, all in PEM.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogTls {
    /// Certificates of authorities, in addition to those of the system.
    pub authorities: Option<PathBuf>,
    /// Certificate of this hub and its private key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}
