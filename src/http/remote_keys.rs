//! A key set that an identity provider keeps (RFC 7517), fetched by its URL.
//!
//! Promises: the last one that could be read stays in use; however many tokens name a key that is
//! not known, it is fetched at a bounded rate.

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
/// Bytes of a key set at most.
const MAX_BYTES: usize = 1024 * 1024;

/// URL of a key set, and the keys that were fetched.
pub struct RemoteKeySet {
    url: String,
    keys: Arc<RemoteKeys>,
    client: Result<reqwest::Client, Arc<reqwest::Error>>,
    tried: Mutex<FetchAttempts>,
}

/// The last fetch.
#[derive(Default)]
struct FetchAttempts {
    at: Option<Instant>,
    succeeded: bool,
}

/// Failure to fetch a key set.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("cannot make an HTTP client: {0}")]
    Client(Arc<reqwest::Error>),
    #[error("{error}{}", .error.source().map(|cause| format!(": {cause}")).unwrap_or_default())]
    Request { error: reqwest::Error },
    #[error("it has more than {MAX_BYTES} bytes")]
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
    /// Creates a set that was not fetched yet.
    pub fn new(url: String, keys: Arc<RemoteKeys>) -> Self {
        let client = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .https_only(url.starts_with("https:"))
            .build()
            .map_err(Arc::new);
        Self { url, keys, client, tried: Mutex::default() }
    }

    /// Returns true if the key set is at `url`.
    pub fn is_at(&self, url: Option<&str>) -> bool {
        url == Some(self.url.as_str())
    }

    /// Fetches it now; the last one stays where that fails.
    pub async fn fetch_now(&self) {
        let mut tried = self.tried.lock().await;
        self.fetch(&mut tried).await;
    }

    /// Fetches it now and again, as long as somebody holds it.
    pub async fn keep_fresh(this: std::sync::Weak<Self>) {
        while let Some(key_set) = this.upgrade() {
            let has_succeeded = key_set.tried.lock().await.succeeded;
            drop(key_set);
            tokio::time::sleep(if has_succeeded { REFRESH_EVERY } else { REFETCH_EVERY }).await;
            if let Some(key_set) = this.upgrade() {
                key_set.fetch_now().await;
            }
        }
    }

    /// Fetches it because a token names a key that is not there; whether there may be other keys
    /// now. Those who ask while it is fetched wait for that.
    pub(crate) async fn fetch_for_unknown(&self) -> bool {
        let asked = Instant::now();
        let mut tried = self.tried.lock().await;
        match tried.at {
            // It was fetched while this one waited.
            Some(at) if at >= asked => tried.succeeded,
            Some(at) if at.elapsed() < REFETCH_EVERY => false,
            _ => {
                self.fetch(&mut tried).await;
                tried.succeeded
            }
        }
    }

    /// Fetches the document.
    async fn text(&self) -> Result<Vec<u8>, FetchError> {
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

    async fn fetch(&self, tried: &mut FetchAttempts) {
        let json = self.text().await;
        let read = json.and_then(|json| self.keys.replace(&json).map_err(FetchError::Keys));
        tried.at = Some(Instant::now());
        tried.succeeded = read.is_ok();
        match read {
            Ok(count) => tracing::info!(keys = count, "fetched the key set"),
            Err(error) => {
                // Whatever stands before the host, or in the query, may be a secret.
                let place = self.url.split('?').next().unwrap_or_default();
                let place = place.rsplit('@').next().unwrap_or_default();
                tracing::error!(place, %error, "failed to fetch a key set");
            }
        }
    }
}
