//! The FUSE file system; each request goes to the disk's state.

use crate::attributes::{describe, entry_name, is_append};
use crate::disk::Control;
use crate::faults::{Operation, State, Verdict};
use crate::medium::{FileNode, FolderNode, Node};
use crate::pages::PAGE;
use fuser::{
    Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::sync::MutexGuard;
use std::time::{Duration, SystemTime};

/// The kernel must not cache anything, because a power loss changes the disk without its knowledge.
const NO_CACHE: Duration = Duration::ZERO;
const HANDLE: FileHandle = FileHandle(0);
/// The size that `statfs` reports for a disk without a bound.
const UNBOUNDED_BYTES: u64 = 1 << 40;

/// The file system that the kernel calls.
pub struct MemoryFilesystem {
    pub disk: Control,
}

/// Returns from the callback unless the request may proceed.
macro_rules! proceed {
    ($state:expr, $verdict:expr, $reply:expr) => {
        match $verdict {
            Verdict::Proceed => {}
            Verdict::Park => {
                $state.parked.push(Box::new($reply));
                return;
            }
            Verdict::Fail => return $reply.error(Errno::EIO),
        }
    };
}

impl MemoryFilesystem {
    fn state(&self) -> MutexGuard<'_, State> {
        self.disk.state()
    }
}

impl Filesystem for MemoryFilesystem {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // A smaller bound than the kernel's would only make reads of large files slow.
        let _ = config.set_max_write(1 << 20);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.state();
        proceed!(state, state.admit(), reply);
        let found = state.medium.lookup(parent.0, &name.to_string_lossy());
        match found.and_then(|inode| describe(&state, inode)) {
            Some(attributes) => reply.entry(&NO_CACHE, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let mut state = self.state();
        proceed!(state, state.admit(), reply);
        match describe(&state, inode.0) {
            Some(attributes) => reply.attr(&NO_CACHE, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state();
        let verdict = match size {
            Some(size) => state.admit_change(Operation::Truncate, |medium| {
                format!("{} to {size}", medium.path_of(inode.0))
            }),
            None => state.admit(),
        };
        proceed!(state, verdict, reply);
        if let Some(size) = size {
            state.medium.truncate(inode.0, size);
        }
        if let Some(mode) = mode {
            state.medium.modes.insert(inode.0, mode);
        }
        match describe(&state, inode.0) {
            Some(attributes) => reply.attr(&NO_CACHE, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let (mut state, (folder, name)) = (self.state(), entry_name(parent, name));
        let verdict = state.admit_change(Operation::MakeFolder, |medium| {
            format!("{}/{name}", medium.path_of(folder))
        });
        proceed!(state, verdict, reply);
        if state.medium.lookup(folder, &name).is_some() {
            return reply.error(Errno::EEXIST);
        }
        let node = Node::Folder(FolderNode::default());
        let inode = state.medium.create(folder, &name, node, mode);
        match describe(&state, inode) {
            Some(attributes) => reply.entry(&NO_CACHE, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let (mut state, (folder, name)) = (self.state(), entry_name(parent, name));
        let verdict = state
            .admit_change(Operation::Create, |medium| format!("{}/{name}", medium.path_of(folder)));
        proceed!(state, verdict, reply);
        if state.medium.lookup(folder, &name).is_some() {
            return reply.error(Errno::EEXIST);
        }
        let inode = state.medium.create(folder, &name, Node::File(FileNode::default()), mode);
        let flags = FopenFlags::FOPEN_DIRECT_IO;
        match describe(&state, inode) {
            Some(attributes) => {
                reply.created(&NO_CACHE, &attributes, Generation(0), HANDLE, flags);
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (mut state, (folder, name)) = (self.state(), entry_name(parent, name));
        let verdict = state
            .admit_change(Operation::Unlink, |medium| format!("{}/{name}", medium.path_of(folder)));
        proceed!(state, verdict, reply);
        state.medium.unlink(folder, &name);
        reply.ok();
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (mut state, (folder, name)) = (self.state(), entry_name(parent, name));
        let verdict = state
            .admit_change(Operation::Unlink, |medium| format!("{}/{name}", medium.path_of(folder)));
        proceed!(state, verdict, reply);
        let inode = state.medium.lookup(folder, &name);
        if inode.and_then(|inode| state.medium.folder(inode)).is_some_and(|f| !f.view.is_empty()) {
            return reply.error(Errno::ENOTEMPTY);
        }
        state.medium.unlink(folder, &name);
        reply.ok();
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = (entry_name(parent, name), entry_name(new_parent, new_name));
        let mut state = self.state();
        let verdict = state.admit_change(Operation::Rename, |medium| {
            format!("{}/{} to {}", medium.path_of(from.0), from.1, to.1)
        });
        proceed!(state, verdict, reply);
        match state.medium.lookup(from.0, &from.1) {
            Some(_) => {
                state.medium.rename(from, to);
                reply.ok();
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut state = self.state();
        proceed!(state, state.admit(), reply);
        match state.medium.file(inode.0) {
            Some(_) => reply.opened(HANDLE, FopenFlags::FOPEN_DIRECT_IO),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.state();
        proceed!(state, state.admit(), reply);
        match state.medium.file(inode.0) {
            Some(file) => reply.data(&file.view.read(offset, u64::from(size))),
            None => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.state();
        let Some(view) = state.medium.file(inode.0).map(|file| &file.view) else {
            return reply.error(Errno::EIO);
        };
        let offset = if is_append(flags) { view.size() } else { offset };
        let missing = view.missing(offset, data.len() as u64);
        let verdict = state.admit_change(Operation::Write, |medium| {
            format!("{} {}+{}", medium.path_of(inode.0), offset, data.len())
        });
        proceed!(state, verdict, reply);
        if !state.has_room(missing) {
            return reply.error(Errno::ENOSPC);
        }
        state.medium.write(inode.0, offset, data);
        reply.written(data.len() as u32);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut state = self.state();
        let path = state.medium.path_of(inode.0);
        let verdict = state.admit_change(Operation::Sync, |_| path.clone());
        proceed!(state, verdict, reply);
        if state.fails_sync(&path) {
            state.medium.drop_pending(inode.0);
            return reply.error(Errno::EIO);
        }
        state.medium.sync_file(inode.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut state = self.state();
        let verdict = state.admit_change(Operation::SyncFolder, |medium| medium.path_of(inode.0));
        proceed!(state, verdict, reply);
        state.medium.sync_folder(inode.0);
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut state = self.state();
        proceed!(state, state.admit(), reply);
        let Some(folder) = state.medium.folder(inode.0) else {
            return reply.error(Errno::ENOENT);
        };
        let dot_entries = [(".", inode.0), ("..", inode.0)].into_iter();
        let names = folder.view.iter().map(|(name, inode)| (name.as_str(), *inode));
        for (index, (name, inode)) in dot_entries.chain(names).enumerate().skip(offset as usize) {
            let kind = match state.medium.folder(inode) {
                Some(_) => FileType::Directory,
                None => FileType::RegularFile,
            };
            if reply.add(INodeNo(inode), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let mut state = self.state();
        proceed!(state, state.admit(), reply);
        let capacity = state.faults.capacity_bytes.unwrap_or(UNBOUNDED_BYTES);
        let free = capacity.saturating_sub(state.medium.allocated()) / PAGE;
        reply.statfs(capacity / PAGE, free, free, 1 << 20, 1 << 20, PAGE as u32, 255, PAGE as u32);
    }
}
