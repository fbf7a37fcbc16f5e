//! Key set of an identity provider (RFC 7517), fetched from its URL.
//!
//! Promises: the last valid key set stays in use; the rate of fetches is bounded, however many
//! tokens name an unknown key.

use crate::access::KeyError;
use crate::access::RemoteKeys;
use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Interval of regular fetches.
const REFRESH_EVERY: Duration = Duration::from_secs(300);
/// Minimum time between two fetches after a failure, or for an unknown key.
const REFETCH_EVERY: Duration = Duration::from_secs(10);
/// Maximum time of a fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a key set, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// URL of a key set, and the keys fetched from it.
pub struct RemoteKeySet {
    url: String,
    keys: Arc<RemoteKeys>,
    client: Result<reqwest::Client, Arc<reqwest::Error>>,
    attempts: Mutex<FetchAttempts>,
}

/// Time and result of the last fetch.
#[derive(Default)]
struct FetchAttempts {
    at: Option<Instant>,
    succeeded: bool,
}

/// Failure to fetch a key set.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("cannot create an HTTP client: {0}")]
    Client(Arc<reqwest::Error>),
    #[error("{error}{}", .error.source().map(|cause| format!(": {cause}")).unwrap_or_default())]
    Request { error: reqwest::Error },
    #[error("the key set has more than {MAX_BYTES} bytes")]
    TooLarge,
    #[error(transparent)]
    Keys(KeyError),
}

impl From<reqwest::Error> for FetchError {
    /// Leaves out the URL, which may contain secrets.
    fn from(error: reqwest::Error) -> Self {
        Self::Request { error: error.without_url() }
    }
}

impl RemoteKeySet {
    /// Creates a key set without fetching it.
    pub fn new(url: String, keys: Arc<RemoteKeys>) -> Self {
        let mut client = reqwest::Client::builder();
        if url.starts_with("http:") {
            // No certificates of the system are needed, which minimal containers lack.
            client = client.tls_certs_only([]);
        }
        let client = client
            .timeout(FETCH_TIMEOUT)
            .https_only(url.starts_with("https:"))
            .build()
            .map_err(Arc::new);
        Self { url, keys, client, attempts: Mutex::default() }
    }

    /// Returns true if the key set is at `url`.
    pub fn is_at(&self, url: Option<&str>) -> bool {
        url == Some(self.url.as_str())
    }

    /// Fetches the key set now. On failure the last one stays in use.
    pub async fn fetch_now(&self) {
        let mut attempts = self.attempts.lock().await;
        self.fetch(&mut attempts).await;
    }

    /// Fetches the key set periodically until it is dropped.
    pub async fn refresh_periodically(this: std::sync::Weak<Self>) {
        while let Some(key_set) = this.upgrade() {
            let has_succeeded = key_set.attempts.lock().await.succeeded;
            drop(key_set);
            tokio::time::sleep(if has_succeeded { REFRESH_EVERY } else { REFETCH_EVERY }).await;
            if let Some(key_set) = this.upgrade() {
                key_set.fetch_now().await;
            }
        }
    }

    /// Fetches the key set because a token names an unknown key; returns true if the keys may have
    /// changed. Concurrent callers wait for a fetch in progress.
    pub(crate) async fn fetch_for_unknown(&self) -> bool {
        let called_at = Instant::now();
        let mut attempts = self.attempts.lock().await;
        match attempts.at {
            // Another caller has fetched it in the meantime.
            Some(at) if at >= called_at => attempts.succeeded,
            Some(at) if at.elapsed() < REFETCH_EVERY => false,
            _ => {
                self.fetch(&mut attempts).await;
                attempts.succeeded
            }
        }
    }

    /// Fetches the document.
    async fn download(&self) -> Result<Vec<u8>, FetchError> {
        let client = self.client.as_ref().map_err(|error| FetchError::Client(error.clone()))?;
        let answer = client.get(&self.url).send().await?;
        let mut answer = answer.error_for_status()?;
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            text.extend_from_slice(&chunk);
            if text.len() > MAX_BYTES {
                return Err(FetchError::TooLarge);
            }
        }
        Ok(text)
    }

    async fn fetch(&self, attempts: &mut FetchAttempts) {
        let json = self.download().await;
        let result = json.and_then(|json| self.keys.replace(&json).map_err(FetchError::Keys));
        attempts.at = Some(Instant::now());
        attempts.succeeded = result.is_ok();
        match result {
            Ok(count) => tracing::info!(keys = count, "fetched the key set"),
            Err(error) => {
                // The user information and the query of a URL may be secrets.
                let redacted_url = self.url.split('?').next().unwrap_or_default();
                let redacted_url = redacted_url.rsplit('@').next().unwrap_or_default();
                tracing::error!(
                    url = redacted_url,
                    %error,
                    "failed to fetch a key set; keys fetched before stay in use"
                );
            }
        }
    }
}
