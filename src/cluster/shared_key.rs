//! Keys that all hubs of a cluster share, in a bucket of JetStream's key-value store.

use super::error::LogError;
use super::peers::Peers;
use async_nats::jetstream;
use async_nats::jetstream::kv::{Config, Store};
use async_nats::jetstream::stream::StorageType;
use std::time::Duration;

/// Number of times that a stored key is read; a server may lag behind the one that has stored it.
const MAX_READS: usize = 50;
/// Pause between two reads.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(100);

impl Peers {
    /// Returns the key `name` of the cluster, which becomes `own` if there is none yet.
    pub async fn shared_key(&self, name: &str, own: &[u8]) -> Result<Vec<u8>, LogError> {
        let failed = |error: &dyn std::fmt::Display| LogError::SharedKey {
            name: name.to_owned(),
            bucket: self.bucket(),
            reason: error.to_string(),
        };
        let bucket = self.open_bucket().await.map_err(|error| failed(&*error))?;
        let Err(error) = bucket.create(name, own.to_vec().into()).await else {
            return Ok(own.to_vec());
        };
        if error.kind() != jetstream::kv::CreateErrorKind::AlreadyExists {
            return Err(failed(&error));
        }
        for _ in 0..MAX_READS {
            if let Some(key) = bucket.get(name).await.map_err(|error| failed(&error))? {
                return Ok(key.to_vec());
            }
            tokio::time::sleep(READ_AGAIN_AFTER).await;
        }
        Err(failed(&"no server returns it"))
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
