//! The proof that the last stop was orderly and that the directory is still the one it happened in.
//!
//! The file `CLOSED` is written last at an orderly stop and removed first at a start. It names the
//! file `HEAD` by what no copy preserves: its device, its inode and the time of its last change. So
//! a directory that was restored from a copy, by whatever tool, is not taken for the one that
//! continued after the copy was made. A snapshot of the whole file system preserves all of these.

use super::data_dir::DataDir;
use crate::disk::replace_file;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

const FILE: &str = "CLOSED";

fn path(folder: &DataDir) -> PathBuf {
    folder.join(FILE)
}

/// Describes the file `HEAD` as it is now.
fn identity(folder: &DataDir) -> io::Result<String> {
    let head = folder.join("HEAD").metadata()?;
    let (seconds, nanoseconds) = (head.ctime(), head.ctime_nsec());
    Ok(format!("{}:{} {seconds}.{nanoseconds:09}\n", head.dev(), head.ino()))
}

/// Notes an orderly stop. Nothing in the directory may be written afterwards.
pub(super) fn note(folder: &DataDir) -> io::Result<()> {
    replace_file(&path(folder), identity(folder)?.as_bytes()).map(drop)
}

/// Returns true if the last stop was orderly and the directory is no copy.
pub(super) fn holds(folder: &DataDir) -> bool {
    let noted = std::fs::read_to_string(path(folder));
    noted.is_ok_and(|noted| identity(folder).is_ok_and(|is| is == noted))
}

/// Removes the note, so that the next stop is unclean unless it says otherwise.
pub(super) fn forget(folder: &DataDir) -> io::Result<()> {
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
        let copied = Command::new("cp").args(arguments).arg(from).arg(to).status();
        assert!(copied.expect("cp").success());
    }

    #[test]
    fn a_copy_is_not_taken_for_the_original_however_it_was_made() {
        let place = tempfile::tempdir().expect("a folder");
        let [data, kept] = ["data", "kept"].map(|name| place.path().join(name));
        let open = || DataDir::open(&data, "").expect("opens");
        let folder = open();
        assert!(!holds(&folder), "nothing was noted");
        std::fs::write(data.join("HEAD"), "1").expect("writes");
        note(&folder).expect("noted");
        assert!(holds(&folder));
        copy(&["-a"], &data, &kept);
        drop(folder);
        // Over the original files, and in place of them.
        let original = data.join("HEAD");
        copy(&["-a", "--remove-destination"], &original, &place.path().join("HEAD"));
        copy(&["-a"], &kept.join("."), &data);
        assert!(!holds(&open()), "it was written over");
        std::fs::remove_dir_all(&data).expect("removes");
        copy(&["-a"], &kept, &data);
        assert!(!holds(&open()), "it is another directory");
        note(&open()).expect("noted");
        assert!(holds(&open()));
        forget(&open()).expect("forgotten");
        assert!(!holds(&open()));
    }
}
