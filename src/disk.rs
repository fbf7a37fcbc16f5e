//! Writing files and directories so that they survive power loss.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Syncs the entries of the directory at `path` to disk.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Syncs the directory at `path` and everything in it to disk, deepest first.
pub(crate) fn sync_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_dir(path)
}

/// Writes `content` to the file at `path`, which only its owner may read, and syncs the file.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(file)
}

/// Replaces the file at `path` atomically, by a rename of a file beside it. Returns the new file,
/// open for writing at its end.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<File> {
    let made = path.with_extension("new");
    let file = write_file(&made, content)?;
    fs::rename(&made, path)?;
    path.parent().map_or(Ok(()), sync_dir)?;
    Ok(file)
}
