//! Settings of a cluster.

use super::InvalidValue;
use super::resolve::{Resolver, parse_count, parse_positive_bytes, parse_positive_duration, path};
use crate::cluster::{ClusterSettings, LogCredentials, LogTls};
use crate::journal::Durability;
use percent_encoding::percent_decode_str;

/// Maximum length of a name of a cluster or a node.
const MAX_NAME_BYTES: usize = 64;

impl Resolver {
    /// Returns the settings of the cluster; `None` if this hub belongs to none.
    pub(super) fn cluster(&mut self, durability: Durability) -> Option<ClusterSettings> {
        let addresses = self.list("cluster-nats", parse_address);
        let file = self.value("cluster-credentials", path);
        let settings = ClusterSettings {
            credentials: match (file, addresses.first()) {
                (Some(file), _) => LogCredentials::File(file),
                (None, Some(address)) => address.credentials.clone(),
                (None, None) => LogCredentials::None,
            },
            tls: LogTls {
                authorities: self.value("cluster-tls-ca", path),
                certificate: self.certificate("cluster-tls-cert", "cluster-tls-key"),
            },
            name: self.value("cluster-name", parse_name).unwrap_or_default(),
            node: self.value("node", parse_name).unwrap_or_else(host_name),
            replicas: self.value("cluster-replicas", parse_replicas).unwrap_or_default(),
            log_max_age: self
                .value("cluster-log-max-age", parse_positive_duration)
                .unwrap_or_default(),
            log_max_bytes: self
                .value("cluster-log-max-bytes", parse_positive_bytes)
                .unwrap_or_default(),
            isolation_timeout: self
                .value("cluster-isolation-timeout", parse_positive_duration)
                .unwrap_or_default(),
            urls: addresses.into_iter().map(|address| address.url).collect(),
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

/// The address of a NATS server and the credentials in it.
struct Address {
    url: String,
    credentials: LogCredentials,
}

/// Parses the address of a NATS server.
fn parse_address(text: &str) -> Result<Address, InvalidValue> {
    let invalid = || InvalidValue::form(without_credentials(text), "nats://HOST:PORT");
    let (scheme, rest) = text.split_once("://").ok_or_else(invalid)?;
    let (user, host) =
        rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
    if !["nats", "tls"].contains(&scheme) || host.is_empty() || host.contains(' ') {
        return Err(invalid());
    }
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8().map_err(|_| invalid())?;
        Ok::<_, InvalidValue>(decoded.into_owned())
    };
    let credentials = match user.map(|user| user.split_once(':').ok_or(user)) {
        None => LogCredentials::None,
        Some(Ok((name, password))) => {
            LogCredentials::User { name: decode(name)?, password: decode(password)? }
        }
        Some(Err(token)) => LogCredentials::Token(decode(token)?),
    };
    Ok(Address { url: format!("{scheme}://{host}"), credentials })
}

/// Returns an address without its credentials, for messages.
fn without_credentials(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, host)| host)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_from_their_credentials() {
        let parse =
            |text: &str| parse_address(text).map(|address| (address.url, address.credentials));
        let user = |name: &str, password: &str| LogCredentials::User {
            name: name.to_owned(),
            password: password.to_owned(),
        };
        let url = "nats://10.0.0.1:4222".to_owned();
        assert_eq!(parse("nats://10.0.0.1:4222").expect("ok"), (url.clone(), LogCredentials::None));
        assert_eq!(parse("nats://ann:s3%40@10.0.0.1:4222").expect("ok"), (url, user("ann", "s3@")));
        let (url, credentials) = parse("tls://secret@n1").expect("ok");
        assert_eq!(
            (url.as_str(), credentials),
            ("tls://n1", LogCredentials::Token("secret".into()))
        );
        for invalid in ["10.0.0.1", "http://ann:secret@n1", "nats://", "nats://ann:secret@"] {
            let error = parse(invalid).expect_err(invalid);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
