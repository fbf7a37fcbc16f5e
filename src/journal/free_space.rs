//! Free space on the journal's disk.

use std::path::PathBuf;

/// Maximum bytes of the journal's files beyond the stored entries: write-ahead files, and tables
/// with dead entries.
const OVERHEAD_BYTES: u64 = 256 * 1024 * 1024;

/// Compares the free space with a reserve, below which publishes are refused.
#[derive(Clone)]
pub(super) struct FreeSpaceGuard {
    path: PathBuf,
    min_free_bytes: u64,
}

impl FreeSpaceGuard {
    pub(super) fn new(path: PathBuf, min_free_bytes: u64) -> Self {
        Self { path, min_free_bytes }
    }

    /// Returns the free bytes of the disk, if the system reports them.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.path).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Returns the free bytes above the reserve, if the system reports them.
    pub(super) fn above_reserve(&self) -> Option<u64> {
        Some(self.free_bytes()?.saturating_sub(self.min_free_bytes))
    }

    /// Returns true if most of the reserve is used up, so that nothing may be written.
    pub(super) fn is_reserve_spent(&self) -> bool {
        self.free_bytes().is_some_and(|free| free < self.spent_bytes())
    }

    /// Returns the free bytes that may be written before the reserve counts as used up.
    pub(super) fn above_spent_reserve(&self) -> Option<u64> {
        Some(self.free_bytes()?.saturating_sub(self.spent_bytes()))
    }

    fn spent_bytes(&self) -> u64 {
        self.min_free_bytes / 4
    }

    /// Returns why publishes are refused, if they are. If the system does not report free space,
    /// the disk is assumed to have enough: a write that then fails poisons the journal.
    pub(super) fn shortage(&self) -> Option<String> {
        let free = self.free_bytes()?;
        (free < self.min_free_bytes).then(|| {
            format!(
                "less than --min-free-bytes ({}) free on the disk of {}",
                self.min_free_bytes,
                self.path.display(),
            )
        })
    }

    /// Logs a warning if `max_bytes` of entries do not fit on the disk beside the reserve. The
    /// journal already takes `used` bytes of the disk.
    pub(super) fn warn_if_too_small(&self, max_bytes: u64, used: u64) {
        let Some(free) = self.free_bytes() else { return };
        let (needed_bytes, available_bytes) = (
            max_bytes.saturating_add(self.min_free_bytes).saturating_add(OVERHEAD_BYTES),
            free.saturating_add(used),
        );
        if available_bytes < needed_bytes {
            tracing::warn!(
                needed_bytes,
                available_bytes,
                path = %self.path.display(),
                "the disk is too small for --journal-max-bytes; publishes will be refused with disk_full"
            );
        }
    }
}
