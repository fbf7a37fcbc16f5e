//! Keys that all hubs of a cluster share, in a bucket of JetStream's key-value store.

use super::error::LogError;
use super::peers::Peers;
use async_nats::jetstream;
use async_nats::jetstream::kv::{Config, Store};
use async_nats::jetstream::stream::StorageType;
use std::time::{Duration, Instant};

/// Time for which a start waits for the key.
const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// Pause before another attempt.
const RETRY_AFTER: Duration = Duration::from_millis(250);

impl Peers {
    /// Returns the key `name` of the cluster, which becomes `own` if there is none yet. The servers may be
    /// electing a leader of the bucket.
    pub async fn shared_key(&self, name: &str, own: &[u8]) -> Result<Vec<u8>, LogError> {
        let began = Instant::now();
        loop {
            match self.read_or_create(name, own).await {
                Ok(key) => return Ok(key),
                Err(error) if began.elapsed() >= OPEN_WITHIN => {
                    let (name, bucket, reason) =
                        (name.to_owned(), self.bucket(), error.to_string());
                    return Err(LogError::SharedKey { name, bucket, reason });
                }
                Err(error) => tracing::debug!(%error, name, "waiting for a key of the cluster"),
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    async fn read_or_create(&self, name: &str, own: &[u8]) -> Result<Vec<u8>, async_nats::Error> {
        let bucket = self.open_bucket().await?;
        if let Some(key) = bucket.get(name).await? {
            return Ok(key.to_vec());
        }
        // Fails if another hub was faster, whose key is read then.
        bucket.create(name, own.to_vec().into()).await?;
        Ok(own.to_vec())
    }

    fn bucket(&self) -> String {
        format!("{}-keys", self.cluster())
    }

    /// Opens the bucket, and creates it if there is none. Another hub may be faster.
    async fn open_bucket(&self) -> Result<Store, async_nats::Error> {
        let context = jetstream::new(self.client().clone());
        let bucket = self.bucket();
        if let Ok(store) = context.get_key_value(&bucket).await {
            return Ok(store);
        }
        let config = Config {
            bucket: bucket.clone(),
            description: "keys that the hubs of a cluster of Fanfare share".to_owned(),
            history: 1,
            storage: StorageType::File,
            num_replicas: self.replicas(),
            ..Config::default()
        };
        match context.create_key_value(config).await {
            Ok(store) => Ok(store),
            Err(created) => match context.get_key_value(&bucket).await {
                Ok(store) => Ok(store),
                Err(_) => Err(created.into()),
            },
        }
    }
}
