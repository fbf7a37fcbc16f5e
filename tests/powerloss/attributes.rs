//! The attributes of files and directories that the kernel gets.

use crate::faults::State;
use crate::medium::{Inode, Node};
use crate::pages::PAGE;
use fuser::{FileAttr, FileType, INodeNo, OpenFlags};
use std::ffi::OsStr;
use std::time::UNIX_EPOCH;

/// A name in a directory.
pub fn entry_name(parent: INodeNo, name: &OsStr) -> (Inode, String) {
    (parent.0, name.to_string_lossy().into_owned())
}

/// The attributes of an inode.
pub fn describe(state: &State, inode: Inode) -> Option<FileAttr> {
    let (kind, size, allocated) = match state.medium.nodes.get(&inode)? {
        Node::File(file) => (FileType::RegularFile, file.view.size(), file.view.allocated()),
        Node::Folder(_) => (FileType::Directory, PAGE, PAGE),
    };
    Some(FileAttr {
        ino: INodeNo(inode),
        size,
        blocks: allocated / 512,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: (state.medium.modes.get(&inode)? & 0o7777) as u16,
        nlink: if kind == FileType::Directory { 2 } else { 1 },
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: PAGE as u32,
        flags: 0,
    })
}

/// Returns true if each write goes to the end of the file.
pub fn is_append(flags: OpenFlags) -> bool {
    rustix::fs::OFlags::from_bits_retain(flags.0 as u32).contains(rustix::fs::OFlags::APPEND)
}
