//! Certificates and their keys.

use super::resolve::{Resolver, parse_switch, path};
use std::path::PathBuf;

impl Resolver {
    /// Returns the certificate of the hub and its key.
    pub(super) fn tls(&mut self) -> Option<(PathBuf, PathBuf)> {
        let certificate = self.certificate("tls-cert", "tls-key")?;
        if let Some(h2c) = self.raw.of("h2c")
            && h2c.values.iter().any(|value| matches!(parse_switch(value), Ok(true)))
        {
            self.raw.add_error(h2c.location, "h2c is HTTP/2 without TLS; remove it or --tls-cert");
        }
        Some(certificate)
    }

    /// Returns the files of a certificate and its key; an error if only one of them is set.
    pub(super) fn certificate(
        &mut self,
        certificate: &'static str,
        key: &'static str,
    ) -> Option<(PathBuf, PathBuf)> {
        let (has, lacks) = match (self.value(certificate, path), self.value(key, path)) {
            (Some(certificate), Some(key)) => return Some((certificate, key)),
            (None, None) => return None,
            (Some(_), None) => (certificate, key),
            (None, Some(_)) => (key, certificate),
        };
        let location = self.raw.of(has).map(|value| value.location).unwrap_or_default();
        self.raw.add_error(location, format!("requires --{lacks}"));
        None
    }
}
