//! A disk with a volatile cache: the view of readers, and the contents of the medium.
//!
//! Each data write and each directory operation is pending until the file or the directory is
//! synced. `loss.rs` decides which of them survive a power loss.

use crate::pages::{PAGE, Pages};
use std::collections::{BTreeMap, HashMap};

pub type Inode = u64;
pub const ROOT: Inode = 1;

/// The directory operations that a file's `fsync` makes durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Journaling {
    /// Directory operations are in one ordered journal, which the `fsync` of a new file or of any
    /// directory commits.
    Ordered,
    /// A file's `fsync` never syncs its directory entry, and directory operations are independent.
    Strict,
}

/// A change to a file that was not synced.
#[derive(Clone)]
pub enum Change {
    /// Whole pages from `start` on, as they were after the write, and the file size after it.
    Write {
        start: u64,
        bytes: Vec<u8>,
        size: u64,
    },
    Truncate(u64),
}

#[derive(Clone, Default)]
pub struct FileNode {
    pub view: Pages,
    pub stable: Pages,
    pub pending: Vec<Change>,
}

#[derive(Clone, Default)]
pub struct FolderNode {
    pub view: BTreeMap<String, Inode>,
    pub stable: BTreeMap<String, Inode>,
}

#[derive(Clone)]
pub enum Node {
    File(FileNode),
    Folder(FolderNode),
}

/// A directory operation that was not synced.
#[derive(Clone, Debug)]
pub enum EntryChange {
    Link { entry: EntryName, inode: Inode },
    Unlink { entry: EntryName },
    Rename { from: EntryName, to: EntryName },
}

/// A name in a directory.
pub type EntryName = (Inode, String);

impl EntryChange {
    /// The names that the operation changes.
    pub fn names(&self) -> Vec<&EntryName> {
        match self {
            Self::Link { entry, .. } | Self::Unlink { entry } => vec![entry],
            Self::Rename { from, to } => vec![from, to],
        }
    }

    /// Returns true if both change the same name, so that their order matters.
    pub fn depends_on(&self, earlier: &Self) -> bool {
        self.names().iter().any(|name| earlier.names().contains(name))
    }
}

/// The disk. A clone is a snapshot, which shares unchanged pages.
#[derive(Clone)]
pub struct Medium {
    pub nodes: HashMap<Inode, Node>,
    pub modes: HashMap<Inode, u32>,
    pub entries: Vec<EntryChange>,
    pub journaling: Journaling,
    next: Inode,
}

impl Medium {
    /// An empty disk.
    pub fn new(journaling: Journaling) -> Self {
        let nodes = HashMap::from([(ROOT, Node::Folder(FolderNode::default()))]);
        let modes = HashMap::from([(ROOT, 0o755)]);
        Self { nodes, modes, entries: Vec::new(), journaling, next: ROOT + 1 }
    }

    pub fn file(&self, inode: Inode) -> Option<&FileNode> {
        match self.nodes.get(&inode) {
            Some(Node::File(file)) => Some(file),
            _ => None,
        }
    }

    fn file_mut(&mut self, inode: Inode) -> Option<&mut FileNode> {
        match self.nodes.get_mut(&inode) {
            Some(Node::File(file)) => Some(file),
            _ => None,
        }
    }

    pub fn folder(&self, inode: Inode) -> Option<&FolderNode> {
        match self.nodes.get(&inode) {
            Some(Node::Folder(folder)) => Some(folder),
            _ => None,
        }
    }

    pub fn folder_mut(&mut self, inode: Inode) -> Option<&mut FolderNode> {
        match self.nodes.get_mut(&inode) {
            Some(Node::Folder(folder)) => Some(folder),
            _ => None,
        }
    }

    /// The inode that `name` has in `parent`, as readers see it.
    pub fn lookup(&self, parent: Inode, name: &str) -> Option<Inode> {
        self.folder(parent)?.view.get(name).copied()
    }

    /// Adds an empty file or directory.
    pub fn create(&mut self, parent: Inode, name: &str, node: Node, mode: u32) -> Inode {
        let inode = self.next;
        self.next += 1;
        self.nodes.insert(inode, node);
        self.modes.insert(inode, mode);
        self.change_entry(EntryChange::Link { entry: (parent, name.to_owned()), inode });
        inode
    }

    pub fn unlink(&mut self, parent: Inode, name: &str) {
        self.change_entry(EntryChange::Unlink { entry: (parent, name.to_owned()) });
    }

    pub fn rename(&mut self, from: EntryName, to: EntryName) {
        self.change_entry(EntryChange::Rename { from, to });
    }

    fn change_entry(&mut self, change: EntryChange) {
        self.apply_entry(&change, |folder| &mut folder.view);
        self.entries.push(change);
    }

    /// Applies a directory operation to the view or to the medium.
    pub fn apply_entry(
        &mut self,
        change: &EntryChange,
        select_side: fn(&mut FolderNode) -> &mut BTreeMap<String, Inode>,
    ) {
        let mut set_entry = |name: &EntryName, inode: Option<Inode>| {
            let names = self.folder_mut(name.0).map(select_side)?;
            match inode {
                Some(inode) => names.insert(name.1.clone(), inode),
                None => names.remove(&name.1),
            }
        };
        match change {
            EntryChange::Link { entry: name, inode } => drop(set_entry(name, Some(*inode))),
            EntryChange::Unlink { entry: name } => drop(set_entry(name, None)),
            EntryChange::Rename { from, to } => {
                if let Some(inode) = set_entry(from, None) {
                    set_entry(to, Some(inode));
                }
            }
        }
    }

    /// Writes to the view; the pages that it touches are pending as a whole.
    pub fn write(&mut self, inode: Inode, offset: u64, bytes: &[u8]) {
        let Some(file) = self.file_mut(inode) else { return };
        file.view.write(offset, bytes);
        let start = offset / PAGE * PAGE;
        let end = (offset + bytes.len() as u64).div_ceil(PAGE) * PAGE;
        let (bytes, size) = (file.view.read_raw(start, end - start), file.view.size());
        file.pending.push(Change::Write { start, bytes, size });
    }

    pub fn truncate(&mut self, inode: Inode, size: u64) {
        let Some(file) = self.file_mut(inode) else { return };
        file.view.truncate(size);
        file.pending.push(Change::Truncate(size));
    }

    /// Puts a file's data and size on the medium.
    pub fn sync_file(&mut self, inode: Inode) {
        let Some(file) = self.file_mut(inode) else { return };
        for change in std::mem::take(&mut file.pending) {
            match change {
                Change::Write { start, bytes, size } => {
                    file.stable.write_raw(start, &bytes);
                    file.stable.extend(size);
                }
                Change::Truncate(size) => file.stable.truncate(size),
            }
        }
        let is_new = |change: &EntryChange| matches!(change, EntryChange::Link { inode: new, .. } if *new == inode);
        if self.journaling == Journaling::Ordered && self.entries.iter().any(is_new) {
            self.commit_entries(|_| true);
        }
    }

    /// Marks a file's pending pages clean without writing them, as Linux does when a sync fails.
    pub fn drop_pending(&mut self, inode: Inode) {
        if let Some(file) = self.file_mut(inode) {
            file.pending.clear();
        }
    }

    /// Puts a directory's entries on the medium.
    pub fn sync_folder(&mut self, inode: Inode) {
        match self.journaling {
            Journaling::Ordered => self.commit_entries(|_| true),
            Journaling::Strict => self
                .commit_entries(|change| change.names().iter().any(|(folder, _)| *folder == inode)),
        }
    }

    /// Commits the chosen directory operations and the earlier ones that they depend on.
    pub fn commit_entries(&mut self, is_chosen: impl Fn(&EntryChange) -> bool) {
        let changes = std::mem::take(&mut self.entries);
        let mut chosen: Vec<bool> = changes.iter().map(is_chosen).collect();
        for later in (0..changes.len()).rev().filter(|index| chosen[*index]).collect::<Vec<_>>() {
            mark_dependencies(&changes, later, &mut chosen);
        }
        for (change, chosen) in changes.into_iter().zip(chosen) {
            if chosen {
                self.apply_entry(&change, |folder| &mut folder.stable)
            } else {
                self.entries.push(change)
            }
        }
    }

    /// Bytes that files take, as readers see them.
    pub fn allocated(&self) -> u64 {
        let files = self.paths().into_iter().filter_map(|(_, inode)| self.file(inode));
        files.map(|file| file.view.allocated()).sum()
    }

    /// Every path that readers see, directories included.
    pub fn paths(&self) -> Vec<(String, Inode)> {
        let mut found = Vec::new();
        let mut folders = vec![(String::new(), ROOT)];
        while let Some((path, inode)) = folders.pop() {
            for (name, child) in self.folder(inode).into_iter().flat_map(|folder| &folder.view) {
                let path = format!("{path}/{name}");
                if self.folder(*child).is_some() {
                    folders.push((path.clone(), *child));
                }
                found.push((path, *child));
            }
        }
        found.sort();
        found
    }

    /// The path of an inode, for traces.
    pub fn path_of(&self, inode: Inode) -> String {
        let found = self.paths().into_iter().find(|(_, known)| *known == inode);
        found.map_or_else(|| format!("inode {inode}"), |(path, _)| path)
    }
}

fn mark_dependencies(changes: &[EntryChange], later: usize, chosen: &mut [bool]) {
    for earlier in (0..later).rev() {
        if !chosen[earlier] && changes[later].depends_on(&changes[earlier]) {
            chosen[earlier] = true;
            mark_dependencies(changes, earlier, chosen);
        }
    }
}
