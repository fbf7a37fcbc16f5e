//! The data directory: whose it is and what format it has.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The format this hub writes. A directory of a newer one is refused; an older one is migrated.
pub const FORMAT: u32 = 1;

const FORMAT_FILE: &str = "FORMAT";
const LOCK_FILE: &str = "LOCK";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be read or written.
    #[error("data directory {0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// A newer Fanfare wrote it.
    #[error(
        "data directory {0} has format {1}, this hub understands up to {FORMAT}: it was written by \
         a newer Fanfare"
    )]
    Newer(PathBuf, u32),
    /// Its version file is not one.
    #[error("data directory {0}: {FORMAT_FILE} says {1:?}, which is no format number")]
    Unreadable(PathBuf, String),
    /// Another hub runs on it.
    #[error("data directory {0} is in use by {1}")]
    Held(PathBuf, String),
}

/// A data directory that is this process's alone while the value lives.
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Creates `path` where needed, locks it and checks its format. `holder` is what another hub
    /// is told of this one.
    pub fn open(path: &Path, holder: &str) -> Result<Self, FolderError> {
        let failed = |e| FolderError::Io(path.to_owned(), e);
        fs::create_dir_all(path).map_err(failed)?;
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
                return Err(FolderError::Held(path.to_owned(), holder.trim().to_owned()));
            }
        }
        lock.set_len(0).map_err(failed)?;
        lock.rewind().map_err(failed)?;
        lock.write_all(holder.as_bytes()).map_err(failed)?;
        check_format(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The path of `name` in the directory.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

fn check_format(path: &Path) -> Result<(), FolderError> {
    let failed = |e| FolderError::Io(path.to_owned(), e);
    let file = path.join(FORMAT_FILE);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            // Written aside first: half a version file would refuse every later start.
            let new = path.join(format!("{FORMAT_FILE}.new"));
            fs::write(&new, format!("{FORMAT}\n")).map_err(failed)?;
            File::open(&new).and_then(|f| f.sync_all()).map_err(failed)?;
            fs::rename(&new, &file).map_err(failed)?;
            return File::open(path).and_then(|f| f.sync_all()).map_err(failed);
        }
        Err(e) => return Err(failed(e)),
    };
    match text.trim().parse() {
        Ok(format) if format <= FORMAT => Ok(()),
        Ok(format) => Err(FolderError::Newer(path.to_owned(), format)),
        Err(_) => Err(FolderError::Unreadable(path.to_owned(), text.trim().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_hub_is_told_who_holds_the_directory() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Folder::open(folder.path(), "pid 7").expect("opens");
        let error = Folder::open(folder.path(), "pid 8").err().expect("held").to_string();
        assert!(error.contains("pid 7"), "{error}");
        drop(first);
        assert!(Folder::open(folder.path(), "pid 8").is_ok());
    }

    #[test]
    fn a_newer_format_is_refused_naming_both() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(FORMAT_FILE), "99\n").expect("writes");
        let error = Folder::open(folder.path(), "").err().expect("refused").to_string();
        assert!(error.contains("99") && error.contains("up to 1"), "{error}");
    }
}
