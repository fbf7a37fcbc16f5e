//! Storage in memory, for `--durability memory`; by design it does not outlive the process.

use super::{Change, Expiry, Walk};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

/// Pairs copied under one lock, so that a long walk does not block the writer.
const WALK_CHUNK: usize = 256;

/// Pairs examined under one lock when dead pairs are dropped, so that the writer is not blocked.
const RECLAIM_CHUNK: usize = 1_024;

pub(crate) struct MemoryKv {
    map: RwLock<BTreeMap<Vec<u8>, Bytes>>,
    expiry: Arc<dyn Expiry>,
}

impl MemoryKv {
    pub(crate) fn new(expiry: Arc<dyn Expiry>) -> Self {
        Self { map: RwLock::default(), expiry }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.read().get(key).cloned()
    }

    pub(super) fn walk(&self, from: Vec<u8>, until: Vec<u8>) -> Walk<'_> {
        let mut next = Some(from);
        let chunks = std::iter::from_fn(move || {
            let from = next.take().filter(|from| *from < until)?;
            let chunk: Vec<_> = self
                .read()
                .range(from..until.clone())
                .take(WALK_CHUNK)
                .map(|(key, value)| copy(key, value))
                .collect();
            next = chunk.last().map(|(key, _)| [key, &[0][..]].concat());
            Some(chunk)
        });
        Box::new(chunks.flatten().map(Ok))
    }

    pub(super) fn walk_back(&self, from: Vec<u8>, until: Vec<u8>) -> Walk<'_> {
        let mut next = Some(until);
        let chunks = std::iter::from_fn(move || {
            let until = next.take().filter(|until| from < *until)?;
            let chunk: Vec<_> = self
                .read()
                .range(from.clone()..until)
                .rev()
                .take(WALK_CHUNK)
                .map(|(key, value)| copy(key, value))
                .collect();
            next = chunk.last().map(|(key, _)| key.to_vec());
            Some(chunk)
        });
        Box::new(chunks.flatten().map(Ok))
    }

    pub(super) fn commit(&self, changes: Vec<Change>) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            match value {
                Some(value) => map.insert(key, value.into()),
                None => map.remove(&key),
            };
        }
    }

    pub(super) fn reclaim(&self) {
        let mut from = Bound::Unbounded;
        loop {
            let chunk: Vec<_> = {
                let map = self.read();
                let range = (from, Bound::Unbounded);
                map.range::<Vec<u8>, _>(range)
                    .take(RECLAIM_CHUNK)
                    .map(|(key, value)| copy(key, value))
                    .collect()
            };
            let Some((last, _)) = chunk.last() else { return };
            from = Bound::Excluded(last.to_vec());
            let dead = chunk.iter().filter(|(key, value)| self.expiry.is_dead(key, value));
            let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
            for (key, _) in dead {
                map.remove(&key[..]);
            }
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<Vec<u8>, Bytes>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn copy(key: &[u8], value: &Bytes) -> (Bytes, Bytes) {
    (Bytes::copy_from_slice(key), value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Never;
    impl Expiry for Never {
        fn is_dead(&self, key: &[u8], _: &[u8]) -> bool {
            key == [5]
        }
    }

    #[test]
    fn walks_see_every_pair_once_in_both_directions() {
        let kv = MemoryKv::new(Arc::new(Never));
        let keys: Vec<Vec<u8>> = (0..1000u16).map(|i| i.to_be_bytes().to_vec()).collect();
        kv.commit(keys.iter().map(|k| (k.clone(), Some(k.clone()))).collect());
        let walked: Vec<_> = kv.walk(vec![0], vec![9]).map(|p| p.expect("ok").0.to_vec()).collect();
        assert_eq!(walked, keys);
        let mut back: Vec<_> =
            kv.walk_back(vec![0], vec![9]).map(|p| p.expect("ok").0.to_vec()).collect();
        back.reverse();
        assert_eq!(back, keys);
    }

    #[test]
    fn reclaim_drops_dead_pairs() {
        let kv = MemoryKv::new(Arc::new(Never));
        kv.commit(vec![(vec![4], Some(vec![])), (vec![5], Some(vec![]))]);
        kv.reclaim();
        assert!(kv.get(&[4]).is_some() && kv.get(&[5]).is_none());
    }
}
