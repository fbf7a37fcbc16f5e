//! A mounted disk and the operations of scenarios on it.

use crate::faults::{Faults, Phase, State};
use crate::filesystem::MemoryFilesystem;
use crate::loss::Unsynced;
use crate::medium::{Journaling, Medium};
use fuser::{BackgroundSession, Config, MountOption};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;

/// A mounted disk; dropping it unmounts it.
pub struct Disk {
    control: Control,
    folder: TempDir,
    session: Option<BackgroundSession>,
}

/// The disk's state, shared with the file system.
#[derive(Clone)]
pub struct Control(Arc<Mutex<State>>);

impl Control {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_frozen(&self) -> bool {
        self.state().phase == Phase::Frozen
    }

    /// Fails every request from now on, including those that wait.
    pub fn disconnect(&self) {
        let parked = {
            let mut state = self.state();
            state.phase = Phase::Dead;
            std::mem::take(&mut state.parked)
        };
        // Dropping a reply answers it.
        drop(parked);
    }
}

/// Returns true if disks can be mounted here; otherwise prints why not.
pub fn is_available() -> bool {
    let reason = match std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Err(error) => format!("/dev/fuse cannot be opened: {error}"),
        Ok(_) if !rustix::process::geteuid().is_root() => "mounting needs root".to_owned(),
        Ok(_) => return true,
    };
    // Bypasses the output capture of the test harness, so that a skip is always visible.
    let _ = writeln!(std::io::stderr(), "SKIPPED: power loss is not tested, because {reason}");
    false
}

impl Disk {
    /// Mounts an empty disk.
    pub fn mount(journaling: Journaling) -> Self {
        let control = Control(Arc::new(Mutex::new(State::new(journaling))));
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("powerloss".into())];
        let filesystem = MemoryFilesystem { disk: control.clone() };
        let session = fuser::spawn_mount(filesystem, folder.path(), &config).unwrap();
        Self { control, folder, session: Some(session) }
    }

    /// The path of the hub's data directory, which does not exist at first.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.control.state()
    }

    /// A handle for other threads.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Returns true if the operation to stop at was reached since the last start.
    pub fn has_stopped(&self) -> bool {
        self.state().has_stopped
    }

    /// Serves requests again and restarts the count of operations.
    pub fn resume(&self, faults: Faults) {
        self.state().restart(faults);
    }

    /// Fails every request from now on, including those that wait.
    pub fn disconnect(&self) {
        self.control.disconnect();
    }

    /// Drops unsynced changes except those that survive. No process may use the disk.
    pub fn lose_power(&self, unsynced: Unsynced, seed: u64) {
        let mut random = SmallRng::seed_from_u64(seed);
        self.state().medium.lose_power(unsynced, &mut random);
    }

    /// Returns a snapshot of the disk, for [`Self::restore`].
    pub fn snapshot(&self) -> Medium {
        self.state().medium.clone()
    }

    /// Returns to a snapshot. No process may use the disk.
    pub fn restore(&self, medium: &Medium) {
        self.state().medium = medium.clone();
    }

    /// Empties the disk. No process may use it.
    pub fn format(&self) {
        let journaling = self.state().medium.journaling;
        self.state().medium = Medium::new(journaling);
    }

    /// The paths on the disk, without a leading slash.
    pub fn paths(&self) -> Vec<String> {
        let paths = self.state().medium.paths();
        paths.into_iter().map(|(path, _)| path[1..].to_owned()).collect()
    }
}

/// The inode of a path without a leading slash.
pub fn inode_of(medium: &Medium, path: &str) -> Option<u64> {
    medium.paths().into_iter().find(|(known, _)| &known[1..] == path).map(|(_, inode)| inode)
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.disconnect();
        // Lazy, because a process that is still ending may hold a file.
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
        drop(self.session.take());
    }
}
