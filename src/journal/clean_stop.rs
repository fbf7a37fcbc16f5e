//! Proof that the last stop was clean and that the directory is the one in which it happened.
//!
//! The file `CLOSED` is written last at a clean stop and removed first at a start. It identifies
//! the file `HEAD` by properties that no copy preserves: device, inode and time of the last change.
//! A start therefore detects a directory that was restored from a copy, made with any tool, while
//! the original continued. A snapshot of the whole file system preserves all three properties.

use super::data_dir::DataDir;
use crate::disk::replace_file;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

const FILE: &str = "CLOSED";

fn path(folder: &DataDir) -> PathBuf {
    folder.join(FILE)
}

/// Returns the current identity of the file `HEAD`.
fn identity(folder: &DataDir) -> io::Result<String> {
    let head = folder.join("HEAD").metadata()?;
    let (seconds, nanoseconds) = (head.ctime(), head.ctime_nsec());
    Ok(format!("{}:{} {seconds}.{nanoseconds:09}\n", head.dev(), head.ino()))
}

/// Records a clean stop. Nothing in the directory may be written afterwards.
pub(super) fn record(folder: &DataDir) -> io::Result<()> {
    replace_file(&path(folder), identity(folder)?.as_bytes()).map(drop)
}

/// Returns true if the last stop was clean and the directory is not a copy.
pub(super) fn is_recorded(folder: &DataDir) -> bool {
    let recorded = std::fs::read_to_string(path(folder));
    recorded.is_ok_and(|recorded| identity(folder).is_ok_and(|current| current == recorded))
}

/// Removes the record, so that the next stop is unclean unless it writes a new one.
pub(super) fn remove(folder: &DataDir) -> io::Result<()> {
    match std::fs::remove_file(path(folder)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(()) => folder.sync(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn copy(arguments: &[&str], from: &std::path::Path, to: &std::path::Path) {
        let status = Command::new("cp").args(arguments).arg(from).arg(to).status();
        assert!(status.expect("cp").success());
    }

    #[test]
    fn copies_are_not_mistaken_for_the_original() {
        let temp = tempfile::tempdir().expect("a folder");
        let [data, backup] = ["data", "kept"].map(|name| temp.path().join(name));
        let open = || DataDir::open(&data, "").expect("opens");
        let folder = open();
        assert!(!is_recorded(&folder), "nothing was recorded");
        std::fs::write(data.join("HEAD"), "1").expect("writes");
        record(&folder).expect("noted");
        assert!(is_recorded(&folder));
        copy(&["-a"], &data, &backup);
        drop(folder);
        // Restore the copy over the original files, then in place of the directory.
        let original = data.join("HEAD");
        copy(&["-a", "--remove-destination"], &original, &temp.path().join("HEAD"));
        copy(&["-a"], &backup.join("."), &data);
        assert!(!is_recorded(&open()), "the files were overwritten");
        std::fs::remove_dir_all(&data).expect("removes");
        copy(&["-a"], &backup, &data);
        assert!(!is_recorded(&open()), "it is another directory");
        record(&open()).expect("noted");
        assert!(is_recorded(&open()));
        remove(&open()).expect("forgotten");
        assert!(!is_recorded(&open()));
    }
}
