//! Certificates for tests, made by openssl, and a client that trusts them.

use crate::hub::own_loopback_address;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A self-signed certificate with its key, in a temporary directory.
pub struct Certificate {
    folder: TempDir,
}

impl Certificate {
    pub fn make(name: &str) -> Self {
        let certificate = Self { folder: tempfile::tempdir().unwrap() };
        certificate.renew(name);
        certificate
    }

    /// Replaces the certificate and its key.
    pub fn renew(&self, name: &str) {
        let new_file = |file: &str| self.folder.path().join(file).with_extension("new");
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}"), "-keyout"])
            .arg(new_file("key.pem"))
            .arg("-out")
            .arg(new_file("cert.pem"))
            .arg("-addext")
            .arg(format!("subjectAltName=DNS:localhost,IP:127.0.0.1,IP:{}", own_loopback_address()))
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for file in ["key.pem", "cert.pem"] {
            std::fs::rename(new_file(file), self.folder.path().join(file)).unwrap();
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn path(&self) -> PathBuf {
        self.file("cert.pem")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the hub's flags for this certificate.
    pub fn flags(&self) -> [&'static str; 4] {
        // Leaked, because the flags are used until the test ends.
        let leak = |path: PathBuf| -> &'static str { Box::leak(path.display().to_string().into()) };
        ["--tls-cert", leak(self.path()), "--tls-key", leak(self.file("key.pem"))]
    }

    /// Connects as a client that trusts only this certificate and offers only HTTP/2.
    pub async fn connect(&self, address: &str) -> TlsStream<TcpStream> {
        self.try_connect(address).await.unwrap()
    }

    pub async fn try_connect(&self, address: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path()).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}
