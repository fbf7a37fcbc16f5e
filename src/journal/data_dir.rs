//! The data directory: its lock, its format and its permissions.

use crate::disk::{replace_file, sync_dir};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Format that this hub writes. A directory with a newer one is refused; an older one is migrated.
pub const FORMAT: u32 = 2;

/// Only the owner may read events and keys.
const FOLDER_MODE: u32 = 0o700;
const FORMAT_FILE: &str = "FORMAT";
const LOCK_FILE: &str = "LOCK";

/// Reason why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The directory cannot be read or written.
    #[error("data directory {0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// A newer Fanfare wrote it.
    #[error(
        "data directory {0} has format {1}, but this version supports only up to {FORMAT}: it was \
         written by a newer version of Fanfare"
    )]
    UnsupportedFormat(PathBuf, u32),
    /// The version file is invalid.
    #[error("data directory {0}: {FORMAT_FILE} contains {1:?}, which is not a format number")]
    Unreadable(PathBuf, String),
    /// Another hub uses the directory.
    #[error("data directory {0} is in use by {1}")]
    Locked(PathBuf, String),
}

/// A data directory, locked by this process while the value lives.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates `path` if needed, locks it and checks its format. `holder` describes this process to
    /// another hub that tries to open the directory.
    pub fn open(path: &Path, holder: &str) -> Result<Self, DataDirError> {
        let failed = |e| DataDirError::Io(path.to_owned(), e);
        create_synced(path).map_err(failed)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK_FILE))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(failed(e)),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                lock.read_to_string(&mut holder).map_err(failed)?;
                return Err(DataDirError::Locked(path.to_owned(), holder.trim().to_owned()));
            }
        }
        lock.set_len(0).map_err(failed)?;
        lock.rewind().map_err(failed)?;
        lock.write_all(holder.as_bytes()).map_err(failed)?;
        check_format(path)?;
        // Not fatal: the directory may belong to another user, who decides about its permissions.
        if let Err(error) = restrict_permissions(path) {
            let path = path.display();
            tracing::warn!(%error, %path, "failed to restrict the data directory to its owner");
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Returns the path of `name` in the directory.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Syncs the directory's entries to disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        sync_dir(&self.path)
    }
}

/// Creates the directory at `path` and those above it, each synced in its parent.
fn create_synced(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_synced(parent)?;
    }
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        created => created?,
    }
    sync_dir(parent.unwrap_or(Path::new(".")))
}

/// Removes all permissions of others from the directory at `path` and from the files in it.
fn restrict_permissions(path: &Path) -> io::Result<()> {
    let restrict = |path: &Path| {
        let mode = path.symlink_metadata()?.permissions().mode();
        let owner_mode = mode & !0o077;
        if mode == owner_mode {
            Ok(())
        } else {
            fs::set_permissions(path, Permissions::from_mode(owner_mode))
        }
    };
    restrict(path)?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if !entry.file_type()?.is_symlink() {
            restrict(&entry.path())?;
        }
    }
    Ok(())
}

fn check_format(path: &Path) -> Result<(), DataDirError> {
    let failed = |e| DataDirError::Io(path.to_owned(), e);
    let file = path.join(FORMAT_FILE);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let replaced = replace_file(&file, format!("{FORMAT}\n").as_bytes());
            return replaced.map(drop).map_err(failed);
        }
        Err(e) => return Err(failed(e)),
    };
    match text.trim().parse() {
        Ok(format) if format == FORMAT => Ok(()),
        // Format 2 extends format 1; a hub that knows only format 1 must not open the directory.
        Ok(format) if format < FORMAT => {
            replace_file(&file, format!("{FORMAT}\n").as_bytes()).map(drop).map_err(failed)
        }
        Ok(format) => Err(DataDirError::UnsupportedFormat(path.to_owned(), format)),
        Err(_) => Err(DataDirError::Unreadable(path.to_owned(), text.trim().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_hub_is_refused_with_the_holder_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = DataDir::open(folder.path(), "pid 7").expect("opens");
        let error = DataDir::open(folder.path(), "pid 8").err().expect("held").to_string();
        assert!(error.contains("pid 7"), "{error}");
        drop(first);
        assert!(DataDir::open(folder.path(), "pid 8").is_ok());
    }

    #[test]
    fn newer_format_is_refused_with_both_versions_named() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(FORMAT_FILE), "99\n").expect("writes");
        let error = DataDir::open(folder.path(), "").err().expect("refused").to_string();
        assert!(error.contains("99") && error.contains("up to 2"), "{error}");
    }

    #[test]
    fn only_the_owner_can_read_a_data_directory_and_its_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let mode = |path: &Path| path.metadata().expect("is there").permissions().mode() & 0o777;
        let (created, existing) = (folder.path().join("a/made"), folder.path().join("found"));
        fs::create_dir(&existing).expect("a folder");
        fs::write(existing.join("HEAD"), "").expect("writes");
        fs::set_permissions(&existing, Permissions::from_mode(0o755)).expect("set");
        fs::set_permissions(existing.join("HEAD"), Permissions::from_mode(0o644)).expect("set");
        for path in [&created, &existing] {
            DataDir::open(path, "").expect("opens");
            assert_eq!(mode(path), 0o700);
            assert_eq!(mode(&path.join(FORMAT_FILE)), 0o600);
        }
        assert_eq!(mode(&existing.join("HEAD")), 0o600);
    }
}
