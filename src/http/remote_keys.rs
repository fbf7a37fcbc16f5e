//! A key set that an identity provider keeps (RFC 7517), fetched by its URL.
//!
//! Promises: the last one that could be read stays in use; however many tokens name a key that is
//! not known, it is fetched at a bounded rate.

use crate::access::RemoteKeys;
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
    client: Result<reqwest::Client, String>,
    tried: Mutex<FetchAttempts>,
}

/// The last fetch.
#[derive(Default)]
struct FetchAttempts {
    at: Option<Instant>,
    succeeded: bool,
}

impl RemoteKeySet {
    /// Creates a set that was not fetched yet.
    pub fn new(url: String, keys: Arc<RemoteKeys>) -> Self {
        let client = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .https_only(url.starts_with("https:"))
            .build()
            .map_err(|error| error.to_string());
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
    async fn text(&self) -> Result<Vec<u8>, String> {
        let client = self.client.as_ref().map_err(Clone::clone)?;
        // The URL, which an error would tell too, may have secrets in it.
        let told = |error: reqwest::Error| {
            let error = error.without_url();
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
        };
        let answer = client.get(&self.url).send().await.map_err(told)?;
        let mut answer = answer.error_for_status().map_err(told)?;
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(told)? {
            text.extend_from_slice(&chunk);
            if text.len() > MAX_BYTES {
                return Err(format!("it has more than {MAX_BYTES} bytes"));
            }
        }
        Ok(text)
    }

    async fn fetch(&self, tried: &mut FetchAttempts) {
        let read = self.text().await.and_then(|json| self.keys.replace(&json));
        tried.at = Some(Instant::now());
        tried.succeeded = read.is_ok();
        match read {
            Ok(count) => tracing::info!(keys = count, "the key set was fetched"),
            Err(error) => {
                // Whatever stands before the host, or in the query, may be a secret.
                let place = self.url.split('?').next().unwrap_or_default();
                let place = place.rsplit('@').next().unwrap_or_default();
                tracing::error!("the key set at {place} cannot be used: {error}");
            }
        }
    }
}
