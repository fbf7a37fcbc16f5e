//! Whether there is room on the disk for another batch.

use std::path::PathBuf;

/// Refuses below a reserve, so that compaction always has room to make more.
pub(super) struct Room {
    path: PathBuf,
    min_free_bytes: u64,
}

impl Room {
    pub(super) fn new(path: PathBuf, min_free_bytes: u64) -> Self {
        Self { path, min_free_bytes }
    }

    /// What the disk has left, where the system can tell.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.path).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Whether even the reserve is nearly spent, so that nothing at all is to be written.
    pub(super) fn is_spent(&self) -> bool {
        self.free_bytes().is_some_and(|free| free < self.min_free_bytes / 4)
    }

    /// Why there is too little room, if so. A system that cannot tell is taken to have room: a
    /// write that then fails is found out and told.
    pub(super) fn lacking(&self) -> Option<String> {
        let free = self.free_bytes()?;
        (free < self.min_free_bytes).then(|| {
            format!(
                "the disk that holds {} has less than min-free-bytes ({}) left",
                self.path.display(),
                self.min_free_bytes
            )
        })
    }
}
