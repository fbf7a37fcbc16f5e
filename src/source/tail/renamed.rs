//! Rotated files: logrotate and similar programs append a number or a date to the name.

use super::position::FileId;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file that has a given name, or had it before it was rotated.
pub(super) struct RotatedFile {
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    pub(super) written: (i64, i64),
}

/// Returns true for suffixes of rotated files: none, `.1`, `-20261125`, `.2026-11-25_10:00`.
/// Compressed files and files of other programs (`.pos`, `.bak`) have other suffixes.
fn is_rotated(rest: &str) -> bool {
    let is_part = |c: char| c.is_ascii_digit() || "-_:.T".contains(c);
    rest.is_empty()
        || rest.starts_with(['.', '-', '_'])
            && rest.chars().all(is_part)
            && rest.ends_with(|c: char| c.is_ascii_digit())
}

/// Returns the file at `path` and its rotated versions, such as `app.log.1` and `app.log-20261125`,
/// sorted by the time of the last write.
pub(super) fn rotated_files(path: &Path) -> Vec<RotatedFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Some(name) = path.file_name() else { return Vec::new() };
    let name = name.to_string_lossy();
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten();
    let found = entries.flatten().filter(|entry| {
        let of_it = entry.file_name().to_string_lossy().into_owned();
        let rest = of_it.strip_prefix(&*name);
        rest.is_some_and(is_rotated)
    });
    let mut beside: Vec<RotatedFile> = found
        .filter_map(|entry| {
            let about = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            let written = (about.mtime(), about.mtime_nsec());
            Some(RotatedFile { path: entry.path(), id: FileId::of(&about), written })
        })
        .collect();
    beside.sort_by_key(|file| file.written);
    beside
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn rotated_files_are_found_in_write_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let begin = SystemTime::now() - Duration::from_secs(100);
        let names = [
            "app.log.2",
            "app.log-1",
            "app.log",
            "app.log.3.gz",
            "app.logger",
            "app.log.bak",
            "app.log.pos",
            "other",
        ];
        for (age, name) in names.into_iter().enumerate() {
            let file = std::fs::File::create(folder.path().join(name)).expect("a file");
            file.set_modified(begin + Duration::from_secs(age as u64)).expect("its time");
        }
        let found = rotated_files(&folder.path().join("app.log"));
        let found: Vec<_> = found.iter().filter_map(|file| file.path.file_name()).collect();
        assert_eq!(found, ["app.log.2", "app.log-1", "app.log"]);
    }
}
