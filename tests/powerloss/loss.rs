//! Power losses, with an outcome that a seed chooses, and damage to the medium.

use crate::medium::{Change, FileNode, Inode, Journaling, Medium, Node, ROOT};
use crate::pages::{PAGE, SECTOR};
use rand::Rng;
use rand::rngs::SmallRng;
use std::collections::HashSet;

/// The fate of changes that were not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsynced {
    /// Each operation survives whole, torn or not at all, as the seed determines.
    Chosen,
    /// The first half of each write survives, and no directory operation.
    Torn,
    /// Nothing survives.
    Lost,
    /// Everything survives.
    Kept,
}

impl Medium {
    /// Drops the changes that were not synced and do not survive, and shows the rest.
    pub fn lose_power(&mut self, unsynced: Unsynced, random: &mut SmallRng) {
        self.lose_entries(unsynced, random);
        let mut inodes: Vec<Inode> = self.nodes.keys().copied().collect();
        inodes.sort_unstable();
        for inode in inodes {
            if let Some(Node::File(file)) = self.nodes.get_mut(&inode) {
                lose_writes(file, unsynced, random);
            }
        }
        self.show_medium();
    }

    fn lose_entries(&mut self, unsynced: Unsynced, random: &mut SmallRng) {
        let changes = std::mem::take(&mut self.entries);
        let ordered = random.random_range(0..=changes.len());
        let mut lost = Vec::new();
        for (index, change) in changes.into_iter().enumerate() {
            let survives = match (unsynced, self.journaling) {
                (Unsynced::Kept, _) => true,
                (Unsynced::Lost | Unsynced::Torn, _) => false,
                (Unsynced::Chosen, Journaling::Ordered) => index < ordered,
                (Unsynced::Chosen, Journaling::Strict) => random.random(),
            };
            if survives && !lost.iter().any(|earlier| change.depends_on(earlier)) {
                self.apply_entry(&change, |folder| &mut folder.stable)
            } else {
                lost.push(change)
            }
        }
    }

    /// Resets the view to the medium, and drops inodes that no directory names.
    fn show_medium(&mut self) {
        let (mut reached, mut pending) = (HashSet::new(), vec![ROOT]);
        while let Some(inode) = pending.pop() {
            reached.insert(inode);
            match self.nodes.get_mut(&inode) {
                Some(Node::Folder(folder)) => {
                    folder.view.clone_from(&folder.stable);
                    pending.extend(folder.stable.values());
                }
                Some(Node::File(file)) => file.view = file.stable.clone(),
                None => {}
            }
        }
        self.nodes.retain(|inode, _| reached.contains(inode));
    }

    /// Flips one bit of a file on the medium.
    pub fn flip_bit(&mut self, inode: Inode, offset: u64, bit: u32) {
        let Some(Node::File(file)) = self.nodes.get_mut(&inode) else { return };
        let flipped = file.stable.read_raw(offset, 1)[0] ^ (1 << (bit % 8));
        file.stable.write_raw(offset, &[flipped]);
        file.view = file.stable.clone();
    }

    /// Overwrites the 4 KiB block at `offset` with noise, or with zeros if `noise` is `None`, as a
    /// disk may do if a write is cut short.
    pub fn destroy_block(&mut self, inode: Inode, offset: u64, noise: Option<&mut SmallRng>) {
        let Some(Node::File(file)) = self.nodes.get_mut(&inode) else { return };
        let mut block = [0; PAGE as usize];
        if let Some(noise) = noise {
            noise.fill(&mut block[..]);
        }
        file.stable.write_raw(offset / PAGE * PAGE, &block);
        file.view = file.stable.clone();
    }
}

fn lose_writes(file: &mut FileNode, unsynced: Unsynced, random: &mut SmallRng) {
    for change in std::mem::take(&mut file.pending) {
        let fate = match unsynced {
            Unsynced::Kept => 0,
            Unsynced::Torn => 1,
            Unsynced::Lost => 2,
            Unsynced::Chosen => random.random_range(0..3),
        };
        match (change, fate) {
            (Change::Write { start, bytes, size }, 0) => {
                file.stable.write_raw(start, &bytes);
                file.stable.extend(size);
            }
            (Change::Write { start, bytes, size }, 1) => {
                let half = bytes.len().div_ceil(2 * SECTOR as usize);
                for (n, sector) in bytes.chunks(SECTOR as usize).enumerate() {
                    let survives = match unsynced {
                        Unsynced::Torn => n < half,
                        _ => random.random(),
                    };
                    if survives {
                        file.stable.write_raw(start + n as u64 * SECTOR, sector);
                    }
                }
                // The size may be on the medium before the data.
                if random.random() {
                    file.stable.extend(size)
                } else {
                    file.stable.truncate(file.stable.size())
                }
            }
            (Change::Write { .. }, _) => {}
            (Change::Truncate(size), 0) => file.stable.truncate(size),
            // Later writes depend on blocks that the truncation freed or allocated.
            (Change::Truncate(_), _) => return,
        }
    }
}
