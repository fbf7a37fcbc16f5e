//! The chain of hashes over the messages of the log.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
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

/// Hash of all messages of the log up to one, as hubs report it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Number of the message.
    pub sequence: u64,
    /// Hash, in hexadecimal digits.
    pub hash: String,
}

impl From<ChainLink> for Checkpoint {
    fn from(link: ChainLink) -> Self {
        Self { sequence: link.sequence, hash: format!("{:032x}", link.hash) }
    }
}

/// Number of messages between links that are kept for longer.
const SPACING: u64 = 1_000;
/// Maximum number of the newest links, and of spaced ones.
const MAX_LINKS: usize = 64;

/// Links of messages that were applied: the newest, and one in a thousand of those before.
#[derive(Default, Debug)]
pub struct Checkpoints {
    newest: VecDeque<ChainLink>,
    spaced: VecDeque<ChainLink>,
}

impl Checkpoints {
    /// Adds the link of the next message.
    pub fn add(&mut self, link: ChainLink) {
        let keep = |links: &mut VecDeque<ChainLink>| {
            links.truncate(MAX_LINKS - 1);
            links.push_front(link);
        };
        keep(&mut self.newest);
        if link.sequence.is_multiple_of(SPACING) {
            keep(&mut self.spaced);
        }
    }

    /// Returns those to report: the newest that hubs which are faster or slower can compare.
    #[must_use]
    pub fn to_report(&self) -> Vec<Checkpoint> {
        self.spaced
            .front()
            .into_iter()
            .chain(self.newest.front())
            .copied()
            .map(Into::into)
            .collect()
    }

    /// Returns the last message that is known here as well, and true if the hashes up to it are equal.
    #[must_use]
    pub fn compare(&self, reported: &[Checkpoint]) -> Option<(u64, bool)> {
        reported.iter().rev().find_map(|other| {
            let mut links = self.newest.iter().chain(&self.spaced);
            let own = links.find(|link| link.sequence == other.sequence)?;
            Some((own.sequence, Checkpoint::from(*own) == *other))
        })
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

    #[test]
    fn links_are_compared_at_a_message_that_both_hubs_know() {
        let (mut fast, mut slow) = (Checkpoints::default(), Checkpoints::default());
        let mut link = ChainLink::default();
        for number in 0..5_000_u32 {
            link = link.next(&number.to_be_bytes());
            fast.add(link);
            if link.sequence <= 4_400 {
                slow.add(link);
            }
        }
        assert_eq!(slow.compare(&fast.to_report()), None, "the slow one is not as far yet");
        assert_eq!(fast.compare(&slow.to_report()), Some((4_000, true)));
        let wrong = Checkpoint { sequence: 4_000, hash: String::new() };
        assert_eq!(fast.compare(&[wrong]), Some((4_000, false)));
        assert_eq!((fast.newest.len(), fast.spaced.len()), (MAX_LINKS, 5));
    }
}
