//! The chain of hashes over the messages of the log.

use xxhash_rust::xxh3::Xxh3;

/// A message of the log and the hash of all messages up to it. Two hubs with the same hash have read the
/// same log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChainLink {
    /// Number of the message; 0 before the first.
    pub sequence: u64,
    /// Hash up to the message before.
    pub previous: u128,
    /// Hash up to this message.
    pub hash: u128,
}

impl ChainLink {
    /// Returns the link of the message that follows.
    #[must_use]
    pub fn next(&self, data: &[u8]) -> Self {
        Self { sequence: self.sequence + 1, previous: self.hash, hash: hash(self.hash, data) }
    }

    /// Returns true if this is the link of a message with this content.
    #[must_use]
    pub fn covers(&self, data: &[u8]) -> bool {
        hash(self.previous, data) == self.hash
    }
}

fn hash(previous: u128, data: &[u8]) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(&previous.to_be_bytes());
    hash.update(data);
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_covers_its_message_and_depends_on_all_before() {
        let first = ChainLink::default().next(b"a");
        let second = first.next(b"b");
        assert_eq!((first.sequence, second.sequence), (1, 2));
        assert!(first.covers(b"a") && !first.covers(b"b"));
        assert!(second.covers(b"b"));
        let other = ChainLink::default().next(b"x").next(b"b");
        assert_ne!(other.hash, second.hash);
    }
}
