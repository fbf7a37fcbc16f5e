//! TLS: the certificate and its key, which can be reloaded.
//!
//! A connection keeps the certificate that it started with; only new connections use a new one.
//! Files that do not match, for example while only one of them has been replaced, are not used.

use arc_swap::ArcSwap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Protocols offered by ALPN (RFC 7301), HTTP/2 first.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
/// ALPN identifier of HTTP/2 (RFC 9113 §3.1).
pub(crate) const HTTP2: &[u8] = b"h2";

/// The certificate in use, and its files.
pub struct Tls {
    config: ArcSwap<ServerConfig>,
    files: TlsFiles,
    seen: Mutex<Vec<FileIdentity>>,
}

/// Paths of a certificate and its key, as PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// Path of the certificate chain: the certificate, then its intermediates.
    pub certificate: PathBuf,
    /// Path of the private key.
    pub key: PathBuf,
}

/// Modification time, size and inode, by which a changed file is recognised.
type FileIdentity = Option<(SystemTime, u64, u64)>;

impl Tls {
    /// Reads the files.
    pub fn open(files: TlsFiles) -> io::Result<Self> {
        let seen = Mutex::new(files.file_identities());
        Ok(Self { config: ArcSwap::new(Arc::new(files.read()?)), files, seen })
    }

    /// Reads the files again, for new connections.
    pub fn reload(&self) -> io::Result<()> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = self.files.file_identities();
        self.config.store(Arc::new(self.files.read()?));
        Ok(())
    }

    /// Returns true if the files have changed since they were read.
    pub fn has_changed(&self) -> bool {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) != self.files.file_identities()
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.config.load_full().into()
    }
}

impl TlsFiles {
    fn read(&self) -> io::Result<ServerConfig> {
        let invalid = |path: &Path, why: &dyn std::fmt::Display| {
            let text = format!("{}: {why}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let (certificate, key) = (&self.certificate, &self.key);
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| invalid(certificate, &e))?;
        if chain.is_empty() {
            return Err(invalid(certificate, &"no certificate found"));
        }
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| invalid(key, &e))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| invalid(certificate, &e))?
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(|e| invalid(certificate, &e))?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(config)
    }

    fn file_identities(&self) -> Vec<FileIdentity> {
        use std::os::unix::fs::MetadataExt as _;
        let identity = |path: &PathBuf| {
            let metadata = path.metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
        };
        [&self.certificate, &self.key].map(identity).to_vec()
    }
}
