//! Rotation while the hub was not running: finds the unread rest of files, and forgets files that
//! are gone.

use super::FileFollower;
use super::file::Followed;
use super::position::{FilePosition, draft};
use super::renamed;
use crate::event::Timestamp;
use crate::source::error::SourceError;
use std::path::{Path, PathBuf};

impl FileFollower {
    /// Opens files that were rotated while the hub was not running, and files that were created and
    /// rotated after them. They all keep the original path of the first.
    pub(super) fn find_rotated(&mut self, now: Timestamp) -> Result<(), SourceError> {
        let mut known: Vec<_> = self.positions.files.values().cloned().collect();
        known.sort_by_key(|place| place.written);
        let mut later = Vec::new();
        for place in &known {
            let Some(spec) = self.specs.iter().position(|spec| spec.key() == place.tail) else {
                continue;
            };
            let name = PathBuf::from(place.real.as_ref().unwrap_or(&place.path));
            let beside = renamed::rotated_files(&name);
            let is_known = |file: &renamed::RotatedFile| {
                known.iter().any(|known| known.file == file.id && known.tail == place.tail)
            };
            // Found by inode; or by content, if the file was copied and truncated or inodes have
            // changed.
            let says_it = |file: &renamed::RotatedFile| Followed::is_at(&file.path, place);
            let by_number = |file: &renamed::RotatedFile| file.id == place.file;
            let numbered = |file: &&renamed::RotatedFile| {
                by_number(file) && (place.offset == 0 || says_it(file))
            };
            let copied = |file: &&renamed::RotatedFile| !is_known(file) && says_it(file);
            let found = beside.iter().find(numbered).or_else(|| beside.iter().find(copied));
            if let Some(file) = found {
                let is_open = self.open_as(&file.path, spec, place, Some(place));
                if is_open && !by_number(file) {
                    self.publish_moved(place, now)?;
                }
            }
            let stays = found.is_some_and(|file| file.path == name && place.offset > 0);
            let since = found.map_or(place.written, |file| file.written.min(place.written));
            let is_later = |file: &renamed::RotatedFile| {
                !stays && file.path != name && file.written > since && !is_known(file)
            };
            let found = beside.into_iter().filter(|file| is_later(file));
            later.extend(found.map(|file| (file.path, spec, place)));
        }
        // Some of these are opened for another position already.
        for (path, spec, place) in later {
            self.open_as(&path, spec, place, None);
        }
        // Files that were written first come first.
        self.files.sort_by_key(Followed::written);
        Ok(())
    }

    /// Opens a file under the original path of `called`. Returns true if it was added, as the last
    /// of `files`; a file that is open already is not added again.
    fn open_as(
        &mut self,
        path: &Path,
        spec: usize,
        called: &FilePosition,
        place: Option<&FilePosition>,
    ) -> bool {
        let follows_links = self.specs[spec].follows_links;
        let opened = Followed::open(path, spec, place, follows_links, |_| 0);
        let Ok(mut file) = opened else { return false };
        let is_new = !self.files.iter().any(|other| (other.spec, other.id) == (spec, file.id));
        if is_new {
            file.set_original_path(called);
            self.files.push(file);
        }
        is_new
    }

    /// Publishes both positions of a file whose inode has changed.
    fn publish_moved(&mut self, old: &FilePosition, now: Timestamp) -> Result<(), SourceError> {
        let Some(file) = self.files.last() else { return Ok(()) };
        let new = file.place(&self.specs[file.spec], false);
        let gone = FilePosition { gone: true, ..old.clone() };
        for place in [new, gone] {
            self.pending.push(draft(&self.own, "place", &place, now)?);
            self.positions.note(place);
        }
        Ok(())
    }

    /// Forgets files that disappeared while the hub was not running: the directory has files, but
    /// not this one.
    pub(super) fn forget_gone(&mut self, now: Timestamp) -> Result<(), SourceError> {
        let mut gone = Vec::new();
        for place in self.positions.files.values() {
            let is_open = |file: &Followed| {
                file.id == place.file && self.specs[file.spec].key() == place.tail
            };
            let is_ours = self.specs.iter().any(|spec| spec.key() == place.tail);
            let path = Path::new(&place.path);
            let folder = path.parent().unwrap_or(Path::new("."));
            let has_files =
                || std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some());
            if is_ours && !self.files.iter().any(is_open) && !path.exists() && has_files() {
                gone.push(FilePosition { gone: true, ..place.clone() });
            }
        }
        for place in gone {
            self.pending.push(draft(&self.own, "place", &place, now)?);
            self.positions.note(place);
        }
        Ok(())
    }
}
